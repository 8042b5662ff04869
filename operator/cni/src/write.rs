//! Atomic writes of files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Writes a value as JSON, atomically for readers.
pub fn json(file: &Path, value: &impl Serialize) -> io::Result<()> {
    atomically(file, &serde_json::to_vec_pretty(value)?, 0o644)
}

/// Replaces a file atomically. The temporary file has an extension that no container runtime reads.
pub(crate) fn atomically(file: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside(file);
    let result = begin(&temporary, mode).and_then(|mut written| {
        written.write_all(contents)?;
        written.sync_all()?;
        fs::rename(&temporary, file)
    });
    if result.is_err() {
        let _gone = fs::remove_file(&temporary);
    }
    result
}

fn begin(temporary: &Path, mode: u32) -> io::Result<File> {
    let file = File::options().create(true).truncate(true).write(true).mode(mode).open(temporary)?;
    // The umask or a file left by an interrupted write may differ.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.bpfman-new"))
}
