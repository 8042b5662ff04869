//! Undo of completed steps, in reverse order, when a later step fails.

use std::path::{Path, PathBuf};

use bpfmand_kernel::Mounts;

use crate::CsiError;

enum Step {
    Unmount(PathBuf),
    RemoveFolder(PathBuf),
}

pub struct MountUndo<'a> {
    mounts: &'a dyn Mounts,
    steps: Vec<Step>,
}

impl<'a> MountUndo<'a> {
    pub fn new(mounts: &'a dyn Mounts) -> Self {
        Self { mounts, steps: Vec::new() }
    }

    pub fn mounted(&mut self, at: &Path) {
        self.steps.push(Step::Unmount(at.to_owned()));
    }

    pub fn made(&mut self, folder: &Path) {
        self.steps.push(Step::RemoveFolder(folder.to_owned()));
    }

    /// Undoes all steps, even after one fails, and returns the cause with the errors.
    pub fn because_of(self, cause: CsiError) -> CsiError {
        let mut failures = Vec::new();
        for step in self.steps.into_iter().rev() {
            let done =
                match &step {
                    Step::Unmount(at) => self.mounts.unmount(at).map_err(CsiError::from),
                    Step::RemoveFolder(folder) => std::fs::remove_dir(folder).map_err(|source| {
                        CsiError::Files { action: "remove folder", path: folder.clone(), source }
                    }),
                };
            failures.extend(done.err().map(|error| error.to_string()));
        }
        if failures.is_empty() { cause } else { CsiError::NotUndone { cause: Box::new(cause), failures } }
    }
}
