use std::path::Path;

use crate::{FolderLock, KernelError, KernelObjects};

/// Pins and their folders.
///
/// Paths are relative to the root of the implementation; absolute ones are in a third-party bpffs.
pub trait KernelPins: KernelObjects {
    /// Creates a folder for pins with its parents; an existing one is no error. At an absolute path, in a third-party
    /// bpffs, only the folder itself is created. Fails if the file system refuses.
    fn make_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Removes an empty folder; a missing one is no error. Fails if it is not empty, or the file system refuses.
    fn remove_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Returns the names in a folder, sorted; empty if it is missing. Fails if the file system refuses.
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError>;

    /// Pins an object. The path must be free. Fails if the path exists, or the kernel refuses.
    fn pin(&self, handle: &Self::Handle, path: &Path) -> Result<(), KernelError>;

    /// Opens a pinned object; `None` if nothing is pinned there. Fails if the kernel refuses.
    fn open_pin(&self, path: &Path) -> Result<Option<Self::Handle>, KernelError>;

    /// Removes a pin; a missing one is no error. Fails if the file system refuses.
    fn unpin(&self, path: &Path) -> Result<(), KernelError>;

    /// Moves a pin or a folder of pins; the new path must be free. Fails if the file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Locks a folder of pins exclusively (`flock`), by which the users of a shared folder coordinate changes. Waits
    /// for others at most some seconds. A simulated kernel has no locks. Fails if the folder is missing, or others keep
    /// the lock.
    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError>;

    /// Checks that the path of the bpffs still leads to it. Errors: [`KernelError::NotMounted`]: the path leads
    /// elsewhere. Operations on pins still work.
    fn check_pins(&self) -> Result<(), KernelError>;
}
