//! Identity of the file, process, kernel module or cgroup that a link was attached to.
//!
//! A path, a number or a name can later lead to another object. The identity distinguishes the two.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::process_names::process_in;
use crate::{AttachPoint, Peer, ProcessScope};

/// Identity of an object that a link's target led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TargetIdentity {
    /// File with the probed code.
    File(FileIdentity),
    /// Process that the target names by its PID.
    Process(ProcessIdentity),
    /// Kernel module with the function.
    Module(ModuleIdentity),
    /// Cgroup, by its id: no later cgroup of this boot has it.
    Group {
        /// Inode of its folder.
        id: u64,
    },
}

/// File, as it was at the attachment.
///
/// Two files that exist at the same time differ in device or inode. A file overwritten in place differs in size or
/// modification time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// Size, in bytes.
    pub size: u64,
    /// Modification time of its contents, in nanoseconds since 1970.
    pub modified: i64,
}

/// Process, in the boot of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// PID on the host.
    pub pid: u32,
    /// Start time, in ticks of 10 ms since boot.
    pub began: u64,
}

/// Loaded kernel module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleIdentity {
    /// Name of the module.
    pub name: String,
    /// Inode of its folder in sysfs, which differs after each load.
    pub inode: u64,
}

/// User and groups with which a caller could read the file that it probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileReader {
    /// User id; 0 may read everything.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// True to open files of containers as root: the node agent attaches probes there, but is no user there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_root_in_containers: bool,
}

impl From<&Peer> for FileReader {
    fn from(peer: &Peer) -> Self {
        Self { uid: peer.uid, gid: peer.gid, groups: peer.groups.clone(), is_root_in_containers: false }
    }
}

/// Caller with whose permissions a probed file is opened, at the first attachment and at each later one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<FileReader>", into = "Option<FileReader>")]
pub enum ProbeReader {
    /// Unknown: the link is of an earlier version, or probes no file.
    #[default]
    Unknown,
    /// Root of the machine.
    Root,
    /// Another user.
    Caller(FileReader),
}

impl ProbeReader {
    /// Returns whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }
}

impl From<FileReader> for ProbeReader {
    fn from(reader: FileReader) -> Self {
        if reader.uid == 0 { Self::Root } else { Self::Caller(reader) }
    }
}

impl From<Option<FileReader>> for ProbeReader {
    fn from(reader: Option<FileReader>) -> Self {
        reader.map_or(Self::Unknown, Self::from)
    }
}

impl From<ProbeReader> for Option<FileReader> {
    fn from(reader: ProbeReader) -> Self {
        match reader {
            ProbeReader::Unknown => None,
            ProbeReader::Root => Some(FileReader::default()),
            ProbeReader::Caller(reader) => Some(reader),
        }
    }
}

impl AttachPoint {
    /// Returns the probed binary and its processes; `None` for points in no binary.
    #[must_use]
    pub fn binary(&self) -> Option<(&str, &ProcessScope)> {
        match self {
            Self::Uprobe { target, scope, .. }
            | Self::UprobeMulti { target, scope, .. }
            | Self::Usdt { target, scope, .. } => Some((target, scope)),
            _ => None,
        }
    }

    /// Returns the binary that is followed: when its path leads to another file, the probe moves there.
    ///
    /// `None` for points that name a process: a process runs the file that it was started from, and file systems of a
    /// container may never answer.
    #[must_use]
    pub fn followed_binary(&self) -> Option<&str> {
        let (target, _) = self.binary()?;
        let in_proc = |path: &Path| {
            let path =
                path.strip_prefix("/host").map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest));
            path.starts_with("/proc")
        };
        (!self.names_process() && !in_proc(Path::new(target))).then_some(target)
    }

    /// Returns the PIDs that a probe or perf event names, on the host.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Self::PerfEvent { place } => place.pid.into_iter().collect(),
            _ => self.binary().map_or_else(Vec::new, |(target, scope)| processes_of(target, scope)),
        }
    }
}

/// Returns the PIDs in the path of a binary and in the scope of its probe.
#[must_use]
pub fn processes_of(target: &str, scope: &ProcessScope) -> Vec<u32> {
    // A path below the root of a container names no process of the host.
    let in_path = process_in(Path::new(target)).filter(|_| scope.container_pid.is_none());
    let mut all: Vec<u32> = scope.pid.into_iter().chain(scope.container_pid).chain(in_path).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uprobe(target: &str, pid: Option<u32>, container_pid: Option<u32>) -> AttachPoint {
        AttachPoint::Uprobe {
            target: target.to_owned(),
            function: None,
            offset: 0,
            scope: ProcessScope { pid, container_pid },
        }
    }

    #[test]
    fn only_files_of_the_host_without_process_are_followed() {
        for target in ["/usr/bin/app", "libc", "/process/1"] {
            assert_eq!(uprobe(target, None, None).followed_binary(), Some(target));
            assert_eq!(uprobe(target, Some(7), None).followed_binary(), None);
            assert_eq!(uprobe(target, None, Some(7)).followed_binary(), None);
        }
        for target in ["/proc/7/exe", "/proc/self/exe", "/host/proc/7/root/bin/sh", "//proc/./self/exe"] {
            assert_eq!(uprobe(target, None, None).followed_binary(), None, "{target}");
        }
        assert_eq!(AttachPoint::Fentry.followed_binary(), None);
    }

    #[test]
    fn records_without_a_reader_are_not_of_root() {
        let caller = FileReader { uid: 7, gid: 8, groups: vec![9], ..FileReader::default() };
        for (record, reader) in [
            (None, ProbeReader::Unknown),
            (Some(FileReader::default()), ProbeReader::Root),
            (Some(caller.clone()), ProbeReader::Caller(caller)),
        ] {
            assert_eq!(ProbeReader::from(record.clone()), reader);
            assert_eq!(Option::<FileReader>::from(reader), record);
        }
    }

    #[test]
    fn processes_are_named_by_scope_and_path() {
        assert_eq!(uprobe("/proc/7/exe", Some(8), None).processes(), [7, 8]);
        assert_eq!(uprobe("/proc/7/exe", Some(7), None).processes(), [7]);
        assert_eq!(uprobe("/proc/7/exe", None, Some(9)).processes(), [9], "a path inside of the container");
        assert_eq!(uprobe("/bin/sh", None, None).processes(), [0; 0]);
    }
}
