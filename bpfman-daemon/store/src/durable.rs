//! Folders and file names that survive power loss. Syncing a file does not sync the folder entry with its name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::engine::StorageError;

/// Creates `folder` (mode 0700) and its missing parents, and syncs their names.
pub(crate) fn make_folder(folder: &Path) -> Result<(), StorageError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StorageError::io("creating the folder", folder)(error))
        }
        // Another process may have created it meanwhile, and may not have synced it.
        _ => sync_name(folder),
    }
}

/// Syncs every parent: a service manager may just have created it. Inaccessible ones are older: skip them.
pub(crate) fn sync_ancestors(folder: &Path) {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    for ancestor in absolute.ancestors().skip(1) {
        if let Err(error) = sync_folder(ancestor) {
            tracing::debug!(%error, "a folder above the state folder was not synced");
        }
    }
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StorageError::io("syncing the folder", folder))
}

/// Refuses a read-only file system. One can become read-only while files are open for writing (a disk error); ext4 then
/// still accepts writes and reports successful syncs, without writing anything.
pub(crate) fn refuse_read_only(folder: &Path) -> Result<(), StorageError> {
    let flags = statvfs(folder).map(|disk| disk.f_flag);
    match flags {
        Ok(flags) if flags.contains(StatVfsMountFlags::RDONLY) => {
            Err(StorageError::io("writing below", folder)(rustix::io::Errno::ROFS.into()))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(StorageError::io("looking at the file system of", folder)(error.into())),
    }
}

pub(crate) fn sync_name(path: &Path) -> Result<(), StorageError> {
    match path.parent() {
        None => Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
    }
}

pub(crate) fn sync_all_below(folder: &Path) -> Result<(), StorageError> {
    for entry in fs::read_dir(folder).map_err(StorageError::io("listing", folder))? {
        let entry = entry.map_err(StorageError::io("listing", folder))?;
        let path = entry.path();
        if path.is_dir() {
            sync_all_below(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(StorageError::io("syncing", &path))?;
        }
    }
    sync_folder(folder)
}

/// Rewrites `path` (a file, or all files below a folder) with its own contents, and syncs it.
///
/// After a failed sync, Linux marks the unwritten pages as clean: no later sync retries them, and a commit based on
/// them could be lost.
pub(crate) fn write_again(path: &Path) -> Result<(), StorageError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(StorageError::io("listing", path))? {
            write_again(&entry.map_err(StorageError::io("listing", path))?.path())?;
        }
        return sync_folder(path);
    }
    let again = || -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut chunk = vec![0; 256 * 1024];
        let mut at = 0;
        loop {
            match file.read_at(&mut chunk, at)? {
                0 => return file.sync_all(),
                read => {
                    write_blocks(&file, &chunk[..read], at)?;
                    at += read as u64;
                }
            }
        }
    };
    again().map_err(StorageError::io("writing once more", path))
}

/// Writes blocks. A hole that cannot be written on a full disk is skipped: it reads as zeros anyway.
fn write_blocks(file: &File, chunk: &[u8], at: u64) -> io::Result<()> {
    const BLOCK: usize = 4096;
    for (block, at) in chunk.chunks(BLOCK).zip((at..).step_by(BLOCK)) {
        match file.write_all_at(block, at) {
            Err(error)
                if error.kind() == io::ErrorKind::StorageFull && block.iter().all(|byte| *byte == 0) => {}
            written => written?,
        }
    }
    Ok(())
}

/// Renames a file within its folder, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::rename(from, to).map_err(StorageError::io("renaming", from))?;
    sync_name(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        make_folder(&deep).unwrap();
        let bytes: Vec<u8> = (0..600_000u32).map(|n| (n % 251) as u8).collect();
        for (name, length) in [("empty", 0), ("short", 10), ("two chunks", 512 * 1024), ("odd", 600_000)] {
            fs::write(deep.join(name), &bytes[..length]).unwrap();
        }
        write_again(folder.path()).unwrap();
        for (name, length) in [("empty", 0), ("short", 10), ("two chunks", 512 * 1024), ("odd", 600_000)] {
            assert_eq!(fs::read(deep.join(name)).unwrap(), &bytes[..length], "{name}");
        }
        let missing = write_again(&deep.join("missing")).unwrap_err();
        assert!(missing.to_string().contains("a/b/missing"), "{missing}");
    }
}
