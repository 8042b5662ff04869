//! The file that a command executes: found as execvp(3) does, held open, and hashed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use sha2::{Digest as _, Sha256};

/// Search path of execvp(3) if `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// Maximum size of a hashed file, in bytes: a larger one would delay the start by seconds.
const MAX_HASHED: u64 = 1 << 30;
/// Folder of the link to a held file, in the session's own `/run`.
const LINKS: &str = "/run/bpfman-exec";

#[derive(Debug)]
pub struct Executable {
    pub path: PathBuf,
    file: Option<File>,
}

impl Executable {
    /// Finds the file of a command by its first word, with the user's rights.
    pub fn find(program: &OsStr, search: Option<&OsStr>) -> Self {
        let is_path = program.as_bytes().contains(&b'/');
        let search = search.unwrap_or_else(|| OsStr::new(DEFAULT_PATH));
        let candidates: Vec<PathBuf> = if is_path {
            vec![program.into()]
        } else {
            std::env::split_paths(search).map(|folder| folder.join(program)).collect()
        };
        let executes = |path: &&PathBuf| {
            accessat(CWD, *path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
                && fs::metadata(path).is_ok_and(|found| found.is_file())
        };
        let Some(path) = candidates.iter().find(executes) else {
            return Self { path: program.into(), file: None };
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty()).ok().map(|descriptor: OwnedFd| File::from(descriptor));
        let file = file.filter(|file| file.metadata().is_ok_and(|found| found.is_file()));
        Self { path: path.clone(), file }
    }

    /// Returns whether the file is an ELF program for another processor than this one, or of 32 bits. The kernel may execute it.
    pub fn is_foreign(&self) -> bool {
        const MAGIC: &[u8] = b"\x7fELF";
        const OF_64_BITS: u8 = 2;
        let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        let mut head = [0; 20];
        let is_read = self.file.as_ref().is_some_and(|file| file.read_exact_at(&mut head, 0).is_ok());
        is_read && head.starts_with(MAGIC) && (head[4] != OF_64_BITS || head[18..] != machine.to_le_bytes())
    }

    /// Returns the SHA-256 of the content, as hexadecimal digits.
    pub fn sha256(&self) -> Option<String> {
        let mut file = self.file.as_ref()?.try_clone().ok()?;
        if file.metadata().ok()?.len() > MAX_HASHED {
            return None;
        }
        let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 << 10]);
        let mut left = MAX_HASHED;
        while left > 0 {
            let read = file.read(&mut piece).ok()?;
            if read == 0 {
                return Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hash.update(&piece[..read]);
            left = left.saturating_sub(read as u64);
        }
        None
    }

    /// Returns the reason, if the user can make another program run than the hashed one.
    pub fn swap_risk(&self, uid: u32) -> Option<String> {
        let path = self.path.display();
        let Some(file) = &self.file else { return Some(format!("{path} cannot be read by user {uid}")) };
        let is_writable = accessat(CWD, self.descriptor()?, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        if is_writable || file.metadata().is_ok_and(|found| found.uid() == uid) {
            return Some(format!("user {uid} can change {path}; have root install it"));
        }
        let mut start = [0; 2];
        let is_script = file.read_exact_at(&mut start, 0).is_ok() && start == *b"#!";
        is_script.then(|| format!("{path} is a script; its interpreter has to be the command"))
    }

    fn descriptor(&self) -> Option<PathBuf> {
        Some(format!("/proc/self/fd/{}", self.file.as_ref()?.as_raw_fd()).into())
    }

    /// Returns a path that leads to the held file. Its last part names the process.
    pub fn held_path(&self) -> io::Result<PathBuf> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let (target, name) = (self.descriptor().ok_or_else(gone)?, self.path.file_name().ok_or_else(gone)?);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(LINKS)?;
        fs::set_permissions(LINKS, fs::Permissions::from_mode(0o700))?;
        let link = Path::new(LINKS).join(name);
        std::os::unix::fs::symlink(target, &link)?;
        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn file_is_found_as_by_a_shell_and_hashed() {
        let found = Executable::find(OsStr::new("true"), Some(OsStr::new("/nowhere:/usr/bin:/bin")));
        assert_eq!(found.path, Path::new("/usr/bin/true"));
        assert_eq!(Executable::find(OsStr::new("true"), None).path.file_name(), Some(OsStr::new("true")));
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("run");
        fs::write(&script, "abc").unwrap();
        let missing = Executable::find(script.as_os_str(), None);
        assert!(missing.sha256().is_none() && missing.swap_risk(1).unwrap().contains("cannot be read"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let found = Executable::find(script.as_os_str(), None);
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(found.sha256().as_deref(), Some(expected));
        assert!(found.swap_risk(fs::metadata(&script).unwrap().uid()).unwrap().contains("can change"));
    }
}
