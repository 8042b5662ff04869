//! Third-party actors: processes that used eBPF without calling the daemon.

use bpfman_model::audit_text;
use serde::{Deserialize, Serialize};

/// Third-party actor: the kernel's data at the moment of the action, and `/proc` right after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThirdPartyActor {
    pub uid: u32,
    pub gid: u32,
    /// Process id in the machine's pid namespace; 0 for several processes.
    pub pid: u32,
    /// Command name of the process, at most 15 bytes.
    pub command: String,
    /// Path of the executable; empty if unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executable: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup: String,
    /// systemd unit, derived from the cgroup.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Uid of the pod, derived from the cgroup.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Id of the container, derived from the cgroup.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Set if the process had ended before `/proc` could be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl ThirdPartyActor {
    pub(crate) fn cut(&mut self) {
        for text in [
            &mut self.command,
            &mut self.executable,
            &mut self.cgroup,
            &mut self.unit,
            &mut self.pod,
            &mut self.container,
        ] {
            *text = audit_text(text);
        }
    }
}
