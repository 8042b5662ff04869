//! File access checks with a caller's permissions: the daemon's own would reveal files that the caller cannot see.

use std::io;
use std::path::{Path, PathBuf};

use bpfman_model::FileReader;

use super::sys;
use crate::KernelError;

/// Runs `work` on a thread with the caller's user, groups and rights to files, which opened files keep.
pub fn as_caller<T: Send>(caller: &FileReader, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let work = || {
            sys::become_caller(caller)?;
            work()
        };
        let thread = std::thread::Builder::new().name("as-caller".to_owned()).stack_size(256 << 10);
        match thread.spawn_scoped(scope, work)?.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Returns the first path that the caller may not reach or, if `read`, not read. Absent paths do not count.
pub fn first_hidden(
    caller: &FileReader,
    paths: &[PathBuf],
    read: bool,
) -> Result<Option<usize>, KernelError> {
    let fail = |path: &Path, source| {
        KernelError::call("check what the caller may see at", path.display().to_string(), source)
    };
    let Some(first) = paths.first() else { return Ok(None) };
    let look = || {
        let hidden = paths.iter().enumerate().find_map(|(place, path)| match may_reach(path, read) {
            Ok(true) => None,
            Ok(false) => Some(Ok(place)),
            Err(source) => Some(Err(fail(path, source))),
        });
        Ok(hidden.transpose())
    };
    as_caller(caller, look).map_err(|source| fail(first, source))?
}

fn may_reach(path: &Path, read: bool) -> io::Result<bool> {
    match sys::access(path, read) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Ok(false),
            // The caller also sees that a path is absent or invalid (contains a zero byte).
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) | None => Ok(true),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn the_kernel_says_what_another_user_may_see() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let (open, roots, groups) = (at("open", 0o644), at("roots", 0o600), at("groups", 0o640));
        chown(&groups, Some(0), Some(4242)).unwrap();
        let hidden = folder.path().join("hidden");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("file"), "x").unwrap();
        fs::set_permissions(&hidden, Permissions::from_mode(0o700)).unwrap();
        let other = FileReader { uid: 4711, gid: 4711, ..FileReader::default() };
        let member = FileReader { groups: vec![7, 4242], ..other.clone() };
        let paths = [
            open,
            roots.clone(),
            groups,
            hidden.join("file"),
            hidden.join("absent"),
            folder.path().join("absent"),
        ];
        let answers = |caller: &FileReader| {
            [0, 1, 2, 3, 4, 5].map(|at| {
                [false, true].map(|read| first_hidden(caller, &paths[at..=at], read).unwrap().is_none())
            })
        };
        let [all, seen, none] = [[true, true], [true, false], [false, false]];
        assert_eq!(answers(&other), [all, seen, seen, none, none, all]);
        assert_eq!(answers(&member)[2], [true, true]);
        assert_eq!([false, true].map(|read| first_hidden(&other, &paths, read).unwrap()), [Some(3), Some(1)]);
        assert_eq!(first_hidden(&other, &[], true).unwrap(), None);
        // The thread is gone; this one still has its own credentials.
        assert!(fs::read(&roots).is_ok());
        let net = format!("/proc/{}/ns/net", std::process::id());
        assert_eq!(first_hidden(&other, &[net.into()], false).unwrap(), None);
    }
}
