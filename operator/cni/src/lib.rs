//! CNI plugin, and its protocol with the node agent.
//!
//! The container runtime calls the plugin once for each pod, before any of the pod's processes start. The plugin asks
//! the agent over a unix socket to attach the pod's programs, and returns only then. If the agent cannot be reached,
//! the plugin decides by the [`rules`] that the agent wrote before.

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

/// Name of the binary, and type of the plugin in network configurations.
pub const PLUGIN: &str = "bpfman-cni";

/// Default socket of the agent.
pub const SOCKET: &str = "/run/bpfman-agent/cni.sock";

/// Default file of the agent's rules. Not below `/run`: after a boot the kubelet restarts the previous pods before
/// there is an agent.
pub const STATE_FILE: &str = "/var/lib/bpfman-agent/protect.json";

/// Default namespaces whose pods may start while the agent does not answer. The pods of the first are needed for the
/// cluster's network, those of the second for the agent itself.
pub const EXEMPT: [&str; 2] = ["kube-system", "bpfman"];
