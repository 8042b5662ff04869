//! Folders and names that stay after power loss. A file's own sync says nothing about the folder entry that names it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::engine::EngineError;

/// Makes `folder` (mode 0700) and what it lacks above, and syncs the names of all it made.
pub(crate) fn make_folder(folder: &Path) -> Result<(), EngineError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(EngineError::io("creating the folder", folder)(error))
        }
        // Another process may have made it meanwhile; its sync is not ours to rely on.
        _ => sync_name(folder),
    }
}

/// Syncs a folder: after it, the names in it are on disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), EngineError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(EngineError::io("syncing the folder", folder))
}

/// Syncs the folder that names `path`.
pub(crate) fn sync_name(path: &Path) -> Result<(), EngineError> {
    match path.parent() {
        None => Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
    }
}

/// Syncs every file below `folder`, and the folders.
pub(crate) fn sync_all_below(folder: &Path) -> Result<(), EngineError> {
    for entry in fs::read_dir(folder).map_err(EngineError::io("listing", folder))? {
        let entry = entry.map_err(EngineError::io("listing", folder))?;
        let path = entry.path();
        if path.is_dir() {
            sync_all_below(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(EngineError::io("syncing", &path))?;
        }
    }
    sync_folder(folder)
}

/// Renames within one folder; the new name is on disk when it returns.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), EngineError> {
    fs::rename(from, to).map_err(EngineError::io("renaming", from))?;
    sync_name(to)
}
