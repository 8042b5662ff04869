use std::os::fd::OwnedFd;
use std::path::Path;

use crate::linux::LinuxKernel;
use crate::{FolderLock, KernelError, KernelPins, PinIdentity};

impl KernelPins for LinuxKernel {
    fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.make_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.remove_folder(path)
    }

    fn is_folder(&self, path: &Path) -> Result<bool, KernelError> {
        self.pins.is_folder(path)
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        self.pins.list(path)
    }

    fn pin(&self, handle: &OwnedFd, path: &Path) -> Result<(), KernelError> {
        self.pins.pin(handle, path)
    }

    fn open_pin(&self, path: &Path) -> Result<Option<OwnedFd>, KernelError> {
        self.pins.get(path)
    }

    fn pin_identity(&self, path: &Path) -> Result<Option<PinIdentity>, KernelError> {
        self.pins.identity(path)
    }

    fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        self.pins.unpin(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.pins.rename(from, to)
    }

    fn check_pins(&self) -> Result<(), KernelError> {
        self.pins.check_mounted()
    }

    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError> {
        self.pins.lock(path)
    }
}
