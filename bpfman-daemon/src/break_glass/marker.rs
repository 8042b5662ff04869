//! The break-glass marker file: no daemon attaches anything while it exists.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const NAME: &str = "break-glass";
const MAX_CHARACTERS: usize = 512;

/// Two files: the one of the state folder survives a reboot, the one of the runtime folder needs no disk.
#[derive(Clone, Debug)]
pub struct Marker {
    files: [PathBuf; 2],
}

impl Marker {
    pub fn new(state: &Path, runtime: &Path) -> Self {
        Self { files: [state.join(NAME), runtime.join(NAME)] }
    }

    /// Returns the reason if a file exists or cannot be examined. It may be empty: a full disk takes no text.
    pub fn read(&self) -> Option<String> {
        let there = self.files.iter().filter(|file| {
            fs::symlink_metadata(file).map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true)
        });
        let texts: Vec<String> = there.map(|file| fs::read_to_string(file).unwrap_or_default()).collect();
        let said = texts.iter().find(|text| !text.trim().is_empty()).or_else(|| texts.first())?;
        let text: String =
            said.trim().chars().filter(|character| !character.is_control()).take(MAX_CHARACTERS).collect();
        Some(if text.is_empty() { "root started break-glass".to_owned() } else { text })
    }

    pub fn write(&self, text: &str) -> (Vec<&Path>, Vec<String>) {
        let (mut written, mut problems) = (Vec::new(), Vec::new());
        for file in &self.files {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o644);
            let opened = options.open(file);
            match opened {
                Ok(mut opened) => {
                    // A failed write is ignored, since an empty file is enough.
                    let _no_room = writeln!(opened, "{text}").and_then(|()| opened.sync_all());
                    let _no_room = file.parent().map(|folder| fs::File::open(folder)?.sync_all());
                    written.push(file.as_path());
                }
                Err(error) => problems.push(format!("{}: {error}", file.display())),
            }
        }
        (written, problems)
    }

    pub fn remove(&self) -> io::Result<()> {
        for file in &self.files {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_marker_file_counts_even_if_it_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let (state, runtime) = (folder.path().join("state"), folder.path().join("run"));
        fs::create_dir_all(&runtime).unwrap();
        let marker = Marker::new(&state, &runtime);
        assert_eq!(marker.read(), None);
        let (written, problems) = marker.write("since noon\u{1b}[2J");
        assert_eq!((written.len(), problems.len()), (1, 1));
        assert_eq!(marker.read().as_deref(), Some("since noon[2J"));
        fs::write(runtime.join(NAME), "").unwrap();
        assert_eq!(marker.read().as_deref(), Some("root started break-glass"));
        marker.remove().unwrap();
        assert_eq!(marker.read(), None);
    }
}
