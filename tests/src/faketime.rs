//! Wrong clock for one process, with Debian's `faketime`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Clock of a process that can be set; monotonic clocks and the kernel's timestamps of files are not affected.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    /// Returns a clock that is wrong by an offset such as `-20400d`; `None`, and a skip line, without `faketime`.
    #[must_use]
    pub fn wrong_by(offset: &str, test: &str) -> Option<Self> {
        let mut libraries = ["x86_64", "aarch64"].into_iter().map(|machine| {
            Path::new("/usr/lib").join(format!("{machine}-linux-gnu/faketime/libfaketimeMT.so.1"))
        });
        let Some(library) = libraries.find(|path| path.exists()) else {
            eprintln!("SKIPPED(faketime): {test}");
            return None;
        };
        let clock = Self { library, folder: tempfile::tempdir().unwrap() };
        clock.put(offset);
        Some(clock)
    }

    pub fn put(&self, offset: &str) {
        // Replace the file atomically: the library reads it at each reading of the clock.
        let new = self.folder.path().join("new");
        std::fs::write(&new, offset).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
