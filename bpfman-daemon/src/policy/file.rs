//! Bounded reading of files that only root can change.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

/// Maximum size of a file that root writes (policies, keys, trusted roots, configuration), in bytes.
pub const MAX_ROOT_FILE: u64 = 1 << 20;
/// Time without changes before a file is read: editors truncate a file before they write it.
const QUIET: Duration = Duration::from_millis(50);
/// Maximum number of such waits. A file that changes all the time is read as it is.
const MAX_WAITS: usize = 5;

/// Inode, size and time of a file; a difference means changed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    inode: (u64, u64),
    size: u64,
    changed: (i64, i64),
    is_roots: bool,
}

impl FileStamp {
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let is_roots = others_can_change(path, &metadata).is_none();
        Some(Self { inode: (metadata.dev(), metadata.ino()), size: metadata.size(), changed, is_roots })
    }

    /// Waits until a file has not changed for a while. A missing file that existed before may be on its way back, since
    /// some editors rename the old file and write a new one. A file that others can change is refused without waiting.
    pub fn settled(path: &Path, was_there: bool) -> Option<Self> {
        let mut stamp = Self::of(path);
        if stamp.is_none() && was_there {
            std::thread::sleep(QUIET);
            stamp = Self::of(path);
        }
        for _ in 0..MAX_WAITS {
            let waits = stamp.filter(|stamp| stamp.is_roots);
            let Some(wait) = waits.and_then(|stamp| QUIET.checked_sub(stamp.age()?)) else { break };
            std::thread::sleep(wait);
            stamp = Self::of(path);
        }
        stamp
    }

    /// Returns the time since the last change; `None` if it is in the future, as after a clock change.
    fn age(&self) -> Option<Duration> {
        let (seconds, nanoseconds) = self.changed;
        let since_epoch = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + since_epoch).ok()
    }
}

/// Returns whether an existing folder lacks the name. A dangling link, or an unmounted folder, may lead to a file.
pub fn is_absent(path: &Path) -> bool {
    let is_missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    std::fs::symlink_metadata(path).is_err_and(is_missing) && path.parent().is_some_and(Path::is_dir)
}

pub fn read_root_file(path: &Path) -> io::Result<String> {
    let (text, metadata) = read_bounded(path, MAX_ROOT_FILE)?;
    match others_can_change(path, &metadata) {
        Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
        None => Ok(text),
    }
}

pub fn others_can_change(path: &Path, metadata: &Metadata) -> Option<String> {
    let is_roots = metadata.uid() == 0 && metadata.mode() & 0o022 == 0;
    (!is_roots).then(|| format!("{} must belong to root and be writable by no other user", path.display()))
}

/// Reads a regular file of at most `most` bytes. Others are refused at once: opening a FIFO would block.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<(String, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("{} is not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("{} has more than {most} bytes", path.display())));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| io::Error::other(format!("{} is not UTF-8 text", path.display())))?;
    Ok((text, metadata))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn special_or_large_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let refused = || read_bounded(&path, 8).unwrap_err().to_string();
        fs::create_dir(&path).unwrap();
        assert!(refused().contains("is not a regular file"));
        fs::remove_dir(&path).unwrap();
        let mode = rustix::fs::Mode::from_bits_truncate(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(refused().contains("is not a regular file"));
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert!(refused().contains("is not a regular file"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "123456789").unwrap();
        assert!(refused().contains("more than 8 bytes"));
        fs::write(&path, b"\xff").unwrap();
        assert!(refused().contains("not UTF-8"));
        fs::write(&path, "12345678").unwrap();
        assert_eq!(read_bounded(&path, 8).unwrap().0, "12345678");
    }

    /// Editors truncate a file before they write it, and the empty file is a valid policy.
    #[test]
    fn file_that_changed_just_now_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert_eq!(FileStamp::settled(&path, false), None);
        assert_eq!(FileStamp::settled(&path, true), None);
        fs::write(&path, "").unwrap();
        let settled = FileStamp::settled(&path, true).unwrap();
        assert!(settled.age().is_some_and(|age| age >= QUIET));
        assert_eq!(FileStamp::of(&path), Some(settled));
    }
}
