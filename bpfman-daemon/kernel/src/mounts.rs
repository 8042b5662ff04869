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

    /// Makes the file system that is mounted at `at` read-only for all its mounts and for everybody: its pins can be
    /// opened for reading maps alone (`BPF_F_RDONLY`), also by root.
    ///
    /// # Errors
    /// The kernel refuses.
    fn seal(&self, at: &Path) -> Result<(), KernelError>;

    /// Shows what is at `from` also at `to`.
    ///
    /// # Errors
    /// A folder is missing, or the kernel refuses.
    fn bind(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Lets nothing be written through the mount at `at`, which stays nosuid, nodev, noexec.
    ///
    /// # Errors
    /// Nothing is mounted there, or the kernel refuses.
    fn bind_read_only(&self, at: &Path) -> Result<(), KernelError>;

    /// Takes the topmost mount at `at` away at once, also when a process is inside.
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
