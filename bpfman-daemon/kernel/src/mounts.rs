//! Folders of map pins for others: each a bpffs of its own, shown at a second place by a bind mount.

use std::path::{Path, PathBuf};

use bpfmand_core::MapId;

use crate::KernelError;

/// One line of the table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// "major:minor" of what is mounted: the same for all mounts of one file system.
    pub device: String,
    /// Where.
    pub point: PathBuf,
    /// Type of the file system: "bpf".
    pub file_system: String,
    /// The word that the first mount of it was made with.
    pub source: String,
    /// Nothing can be written through this mount.
    pub read_only: bool,
    /// Nothing can be written to the file system by any mount of it.
    pub sealed: bool,
    /// The group of mounts, of any namespace, that all show what is mounted below one of them; none if it is alone.
    pub peers: Option<u32>,
    /// The group that it receives from without giving back.
    pub master: Option<u32>,
}

impl Mount {
    /// Returns whether what is mounted at `point` is still there when the process that mounted it has ended: the first
    /// process of the machine, or of the container, sees the same file system. For that process itself (`is_first`), which
    /// ends with its container, the mount has to be shared with others.
    #[must_use]
    pub fn outlives(table: &[Self], point: &Path, first: &[Self], is_first: bool) -> bool {
        // The last mount at a point hides the others.
        let Some(own) = table.iter().rev().find(|mount| mount.point == point) else { return true };
        if is_first { own.peers.is_some() } else { first.iter().any(|mount| mount.device == own.device) }
    }
}

/// What a folder of pins takes from the kernel. All paths are absolute and without symbolic links.
pub trait Mounts: Send + Sync + 'static {
    /// All mounts that this process sees, in the kernel's order.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn table(&self) -> Result<Vec<Mount>, KernelError>;

    /// Mounts a new bpffs: nosuid, nodev, noexec, for root alone (0700). `source` names it in the table.
    ///
    /// # Errors
    /// The folder is missing, or the kernel refuses.
    fn mount_bpffs(&self, at: &Path, source: &str) -> Result<(), KernelError>;

    /// Sets group and mode of a pin or folder.
    ///
    /// # Errors
    /// It is missing, or the kernel refuses.
    fn set_access(&self, path: &Path, group: u32, mode: u32) -> Result<(), KernelError>;

    /// Makes the bpffs that is mounted at `at` read-only for all its mounts and for everybody: nothing is made in it, and its
    /// pins can be opened for reading maps alone (`BPF_F_RDONLY`), also by root.
    ///
    /// # Errors
    /// The kernel refuses.
    fn seal(&self, at: &Path) -> Result<(), KernelError>;

    /// Shows what is at `from` also at `to`.
    ///
    /// # Errors
    /// A folder is missing, or the kernel refuses.
    fn bind(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Shows what is at `from` also at `to`, with all that is mounted below.
    ///
    /// # Errors
    /// A folder is missing, or the kernel refuses.
    fn bind_tree(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Lets nothing be written through the mount at `at`, which stays nosuid, nodev, noexec.
    ///
    /// # Errors
    /// Nothing is mounted there, or the kernel refuses.
    fn bind_read_only(&self, at: &Path) -> Result<(), KernelError>;

    /// Takes the topmost mount at `at` away at once, with all that is mounted below, also when a process is inside.
    ///
    /// # Errors
    /// Nothing is mounted there, or the kernel refuses.
    fn unmount(&self, at: &Path) -> Result<(), KernelError>;

    /// The map that is pinned at a path, opened for reading; none if nothing is there.
    ///
    /// # Errors
    /// It is no map, or the kernel refuses.
    fn pinned_map(&self, path: &Path) -> Result<Option<MapId>, KernelError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bpffs(device: &str, peers: Option<u32>) -> Mount {
        Mount {
            device: device.to_owned(),
            point: "/run/bpfman/fs".into(),
            file_system: "bpf".to_owned(),
            source: "bpffs".to_owned(),
            read_only: false,
            sealed: false,
            peers,
            master: None,
        }
    }

    #[test]
    fn a_mount_that_the_first_process_does_not_see_ends() {
        let outlives = |table: &[Mount], first: &[Mount], is_first| {
            Mount::outlives(table, Path::new("/run/bpfman/fs"), first, is_first)
        };
        let (own, other) = (bpffs("0:50", None), bpffs("0:40", None));
        assert!(outlives(std::slice::from_ref(&own), std::slice::from_ref(&own), false));
        assert!(!outlives(std::slice::from_ref(&own), std::slice::from_ref(&other), false), "another one");
        assert!(!outlives(std::slice::from_ref(&own), &[], false));
        // The last one counts.
        assert!(!outlives(&[other.clone(), own.clone()], std::slice::from_ref(&other), false));
        // At another place it is the same file system.
        let elsewhere = Mount { point: "/host/run/bpfman/fs".into(), ..own.clone() };
        assert!(outlives(std::slice::from_ref(&own), &[elsewhere], false));
        // A container's own first process.
        assert!(!outlives(std::slice::from_ref(&own), std::slice::from_ref(&own), true));
        let shared = bpffs("0:50", Some(7));
        assert!(outlives(std::slice::from_ref(&shared), std::slice::from_ref(&shared), true));
    }
}
