//! List of the programs that a command loads, for the key `programs` of a grant.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::tell;
use crate::error::CliError;

/// File to which missing lines are appended.
pub struct Recording {
    path: PathBuf,
    file: File,
    known: BTreeSet<String>,
}

impl Recording {
    /// Opens the file before the command starts.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |source| CliError::Recording { path: path.to_path_buf(), source };
        let known = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(failed)?,
        };
        let mut file = File::options().append(true).create(true).open(path).map_err(failed)?;
        if known.is_empty() {
            let head = "# Programs of commands under `bpfman run-as`: kernel, digest, type, name.\n";
            file.write_all(head.as_bytes()).map_err(failed)?;
        }
        let known = known.lines().map(str::to_owned).collect();
        Ok(Self { path: path.to_path_buf(), file, known })
    }

    /// Adds a line, and returns no exit status.
    pub fn add(&mut self, line: String) -> Option<i32> {
        if self.known.insert(line.clone())
            && let Err(error) = writeln!(self.file, "{line}")
        {
            tell(format_args!("cannot record a program in {}: {error}", self.path.display()));
        }
        None
    }
}
