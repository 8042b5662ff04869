use serde::Deserialize;

/// Names of capabilities, in the order of their numbers, as of Linux 5.9.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Capability(pub u32);

impl TryFrom<String> for Capability {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let upper = text.to_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        (0..)
            .zip(NAMES)
            .find(|(_, known)| *known == name)
            .map(|(number, _)| Self(number))
            .ok_or_else(|| format!("{text:?} is no capability"))
    }
}

pub fn names(set: u64) -> Vec<String> {
    (0..)
        .zip(NAMES)
        .filter(|(number, _)| set & (1 << number) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}
