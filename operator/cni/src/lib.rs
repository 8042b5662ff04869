//! What the CNI plugin and the node agent say to each other, and the plugin's decisions.
//!
//! The plugin runs as the container runtime calls it, once for each pod, before any of the pod's processes. It asks
//! the agent over a unix socket to attach what the pod is to have, and answers only then.
