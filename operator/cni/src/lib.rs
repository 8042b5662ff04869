//! What the CNI plugin and the node agent say to each other, and the plugin's decisions.
//!
//! The plugin runs as the container runtime calls it, once for each pod, before any of the pod's processes. It asks
//! the agent over a unix socket to attach what the pod is to have, and answers only then. Where nobody can be asked,
//! it decides by the [`rules`] that the agent left.

pub mod ask;
pub mod conflist;
pub mod environment;
pub mod error;
pub mod install;
pub mod network;
pub mod plugin;
pub mod protocol;
pub mod rules;
pub mod write;

/// Name of the binary, and the plugin's type in network configurations.
pub const PLUGIN: &str = "bpfman-cni";

/// Where the agent listens.
pub const SOCKET: &str = "/run/bpfman-agent/cni.sock";

/// Where the agent writes its rules. Not below `/run`: after a boot the kubelet starts the pods of before again,
/// before there is an agent.
pub const STATE_FILE: &str = "/var/lib/bpfman-agent/protect.json";

/// Namespaces in which pods start while no agent answers, unless a configuration names others. Without the pods of the
/// first a cluster's network does not come back; without those of the second the agent itself does not.
pub const EXEMPT: [&str; 2] = ["kube-system", "bpfman"];
