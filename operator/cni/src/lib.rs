//! CNI plugin, and its protocol with the node agent.
//!
//! The runtime calls the plugin before any of a pod's processes start. The plugin asks the agent over a unix socket to
//! attach the pod's programs, and returns only then. Without an agent it decides by the agent's last [`rules`].

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

/// Default file of the rules. Not below `/run`: after a boot the kubelet restarts pods before there is an agent.
pub const STATE_FILE: &str = "/var/lib/bpfman-agent/protect.json";

/// Default namespaces whose pods may start without an agent: needed for the cluster's network, and for the agent.
pub const EXEMPT: [&str; 2] = ["kube-system", "bpfman"];
