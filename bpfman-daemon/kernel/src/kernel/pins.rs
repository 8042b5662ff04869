//! Pins and their folders.

use std::path::Path;

use crate::{FolderLock, KernelError, KernelObjects};

/// Pins and their folders.
///
/// Paths are relative to the root that the implementation was made with; absolute ones are in a bpffs of others.
pub trait KernelPins: KernelObjects {
    /// Makes a folder for pins and its parents; an existing one is fine. At an absolute path, in a bpffs of others, only
    /// the folder itself is made.
    ///
    /// # Errors
    /// The file system refuses.
    fn make_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Removes an empty folder; an absent one is fine.
    ///
    /// # Errors
    /// It is not empty, or the file system refuses.
    fn remove_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Names in a folder, sorted; none if it is absent.
    ///
    /// # Errors
    /// The file system refuses.
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError>;

    /// Pins an object. The path must be free.
    ///
    /// # Errors
    /// The path is taken, or the kernel refuses.
    fn pin(&self, handle: &Self::Handle, path: &Path) -> Result<(), KernelError>;

    /// Holds a pinned object; none if nothing is pinned there.
    ///
    /// # Errors
    /// The kernel refuses.
    fn open_pin(&self, path: &Path) -> Result<Option<Self::Handle>, KernelError>;

    /// Removes a pin; an absent one is fine.
    ///
    /// # Errors
    /// The file system refuses.
    fn unpin(&self, path: &Path) -> Result<(), KernelError>;

    /// Moves a pin or a folder of pins; the new path must be free.
    ///
    /// # Errors
    /// The file system refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Holds a folder of pins alone (`flock`), which is how those who share one agree on who changes it. Waits for
    /// others some seconds at most. A simulated kernel has no others and no locks.
    ///
    /// # Errors
    /// There is no such folder, or others do not let go of it.
    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError>;

    /// Looks whether users reach the pins by the path they know.
    ///
    /// # Errors
    /// [`KernelError::NotMounted`]: the path leads elsewhere by now. Calls on pins work all the same.
    fn check_pins(&self) -> Result<(), KernelError>;
}
