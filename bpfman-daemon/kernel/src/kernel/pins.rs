use std::path::Path;

use crate::{FolderLock, KernelError, KernelObjects, PinIdentity};

/// Pins and their folders. Paths are relative to the implementation's root, or absolute in a third-party bpffs.
pub trait KernelPins: KernelObjects {
    /// Creates a folder with its parents (only itself at an absolute path); an existing one is no error.
    fn make_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Removes an empty folder; a missing one is no error.
    fn remove_folder(&self, path: &Path) -> Result<(), KernelError>;

    /// Returns whether there is a folder at the path: `false` for a pin, or if there is nothing.
    fn is_folder(&self, path: &Path) -> Result<bool, KernelError>;

    /// Returns the names in a folder, sorted; empty if it is missing.
    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError>;

    /// Pins an object. The path must be free.
    fn pin(&self, handle: &Self::Handle, path: &Path) -> Result<(), KernelError>;

    /// Opens a pinned object; `None` if nothing is pinned there.
    fn open_pin(&self, path: &Path) -> Result<Option<Self::Handle>, KernelError>;

    /// Returns the identity of a pin, which always belongs to one object; `None` if there is no pin. Takes one system
    /// call; [`KernelPins::open_pin`] and reading the object's id take eight.
    fn pin_identity(&self, path: &Path) -> Result<Option<PinIdentity>, KernelError>;

    /// Removes a pin; a missing one is no error.
    fn unpin(&self, path: &Path) -> Result<(), KernelError>;

    /// Moves a pin or a folder of pins; the new path must be free.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError>;

    /// Locks a folder exclusively (`flock`); waits some seconds. A simulated kernel locks nothing.
    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError>;

    /// Checks that the path of the bpffs leads to it. [`KernelError::NotMounted`]: operations on pins still work.
    fn check_pins(&self) -> Result<(), KernelError>;
}
