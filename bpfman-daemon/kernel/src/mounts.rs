//! Folders of map pins for applications: each a bpffs of its own, shown at a second place by a bind mount.

use std::path::{Path, PathBuf};

use bpfman_model::MapId;

use crate::KernelError;

/// One line of the table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// "major:minor" of the file system: the same for all its mounts.
    pub device: String,
    pub point: PathBuf,
    /// Type of the file system: "bpf".
    pub file_system: String,
    /// Source that its first mount was made with.
    pub source: String,
    /// Set if this mount is read-only.
    pub read_only: bool,
    /// Set if the file system is read-only for all its mounts.
    pub sealed: bool,
    /// Group of mounts, of any namespace, that share new mounts below them; `None` if alone.
    pub peers: Option<u32>,
    /// Group from which it receives new mounts without sending its own.
    pub master: Option<u32>,
}

impl Mount {
    /// Returns whether the mount outlives this process. The first process (`is_first`) ends with its container: then
    /// the mount must be shared.
    #[must_use]
    pub fn outlives(table: &[Self], point: &Path, first: &[Self], is_first: bool) -> bool {
        // The last mount at a point hides the others.
        let Some(own) = table.iter().rev().find(|mount| mount.point == point) else { return true };
        if is_first { own.peers.is_some() } else { first.iter().any(|mount| mount.device == own.device) }
    }
}

/// Mount operations. All paths are absolute and without symbolic links.
pub trait Mounts: Send + Sync + 'static {
    /// Returns all mounts that this process sees, in the order of the kernel.
    fn table(&self) -> Result<Vec<Mount>, KernelError>;

    /// Mounts a new bpffs: nosuid, nodev, noexec, for root alone (0700). `source` names it in the table.
    fn mount_bpffs(&self, at: &Path, source: &str) -> Result<(), KernelError>;

    /// Sets group and mode of a pin or folder.
    fn set_access(&self, path: &Path, group: u32, mode: u32) -> Result<(), KernelError>;

    /// Makes the bpffs read-only for all mounts and users, including root: its maps open only with `BPF_F_RDONLY`.
    fn seal(&self, at: &Path) -> Result<(), KernelError>;

    /// Shows the contents of `from` also at `to`.
    fn bind(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Shows the contents of `from` also at `to`, with all mounts below.
    fn bind_tree(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Makes the mount read-only; it stays nosuid, nodev, noexec.
    fn bind_read_only(&self, at: &Path) -> Result<(), KernelError>;

    /// Removes the topmost mount at once, with all mounts below, even if in use.
    fn unmount(&self, at: &Path) -> Result<(), KernelError>;

    /// Opens a pinned map for reading; `None` if nothing is there. Fails if it is no map.
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
        assert!(!outlives(&[other.clone(), own.clone()], std::slice::from_ref(&other), false));
        let elsewhere = Mount { point: "/host/run/bpfman/fs".into(), ..own.clone() };
        assert!(outlives(std::slice::from_ref(&own), &[elsewhere], false));
        assert!(!outlives(std::slice::from_ref(&own), std::slice::from_ref(&own), true));
        let shared = bpffs("0:50", Some(7));
        assert!(outlives(std::slice::from_ref(&shared), std::slice::from_ref(&shared), true));
    }
}
