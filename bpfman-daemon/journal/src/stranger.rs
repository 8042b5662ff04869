//! A process that is no caller of the daemon's, and did something with eBPF all the same.

use bpfmand_core::audit_text;
use serde::{Deserialize, Serialize};

/// Who did it, as the kernel told at that moment, and what `/proc` said of the process right after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StrangerActor {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, as the machine counts; 0: several processes.
    pub pid: u32,
    /// The name that the process gave itself, at most 15 bytes.
    pub command: String,
    /// Path of its executable; empty if that could not be seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executable: String,
    /// Control group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup: String,
    /// systemd unit, by the control group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// Uid of the pod, by the control group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Id of the container, by the control group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// It had ended before anybody could look at it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl StrangerActor {
    /// Cuts texts that are too long for an entry.
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
