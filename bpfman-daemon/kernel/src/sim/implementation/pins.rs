use std::path::Path;

use crate::sim::{SimHandle, SimKernel, errno::ENOENT, refuse};
use crate::{FolderLock, KernelError, KernelPins, PinIdentity};

fn pin_error(action: &'static str, path: &Path) -> impl Fn(i32) -> KernelError {
    move |number| refuse(action, path.display().to_string(), number)
}

impl KernelPins for SimKernel {
    fn make_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.enter("make_folder")?.pins.make_folder(path).map_err(pin_error("create folder", path))
    }

    fn remove_folder(&self, path: &Path) -> Result<(), KernelError> {
        self.enter("remove_folder")?.pins.remove_folder(path).map_err(pin_error("remove folder", path))
    }

    fn is_folder(&self, path: &Path) -> Result<bool, KernelError> {
        Ok(self.enter("is_folder")?.pins.is_folder(path))
    }

    fn list_folder(&self, path: &Path) -> Result<Vec<String>, KernelError> {
        self.enter("list_folder")?.pins.list(path).map_err(pin_error("list", path))
    }

    fn pin(&self, handle: &SimHandle, path: &Path) -> Result<(), KernelError> {
        let mut state = self.enter("pin")?;
        state.object(handle.key)?;
        state.pins.pin(handle.key, path).map_err(pin_error("pin", path))?;
        state.objects.hold(handle.key);
        Ok(())
    }

    fn open_pin(&self, path: &Path) -> Result<Option<SimHandle>, KernelError> {
        let mut state = self.enter("open_pin")?;
        let found = state.pins.get(path).map_err(pin_error("open pin", path))?;
        Ok(found.map(|key| self.handle(&mut state, key)))
    }

    fn pin_identity(&self, path: &Path) -> Result<Option<PinIdentity>, KernelError> {
        let state = self.enter("pin_identity")?;
        let Ok(Some(key)) = state.pins.get(path) else { return Ok(None) };
        let device = state.objects.generation;
        Ok(Some(PinIdentity { device, inode: key, changed: 0 }))
    }

    fn unpin(&self, path: &Path) -> Result<(), KernelError> {
        let mut state = self.enter("unpin")?;
        if let Some(key) = state.pins.unpin(path).map_err(pin_error("remove pin", path))? {
            state.let_go(key);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), KernelError> {
        self.enter("rename")?.pins.rename(from, to).map_err(pin_error("move pin to", to))
    }

    fn check_pins(&self) -> Result<(), KernelError> {
        Ok(())
    }

    fn lock_folder(&self, path: &Path) -> Result<FolderLock, KernelError> {
        drop(self.enter("lock_folder")?);
        match self.list_folder(path)?.is_empty() && self.open_pin(path).is_ok() {
            true => Err(refuse("lock", path.display().to_string(), ENOENT)),
            false => Ok(FolderLock { _held: None }),
        }
    }
}
