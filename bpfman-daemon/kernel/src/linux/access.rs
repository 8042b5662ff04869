//! File access checks with a caller's permissions. The daemon opens files as root: without these checks, its answers
//! would reveal files that the caller cannot see.

use std::io;
use std::path::{Path, PathBuf};

use bpfmand_core::Peer;

use super::{processes, sys};
use crate::KernelError;

/// Returns the index of the first path that is hidden from this caller. For all others, the caller can see whether they
/// exist, and with `read` may read them. The kernel decides, on a thread with the caller's user and groups and without
/// root's file capabilities.
pub fn first_hidden(peer: &Peer, paths: &[PathBuf], read: bool) -> Result<Option<usize>, KernelError> {
    let fail = |path: &Path, source| {
        KernelError::call("check what the caller may see at", path.display().to_string(), source)
    };
    let Some(first) = paths.first() else { return Ok(None) };
    std::thread::scope(|scope| {
        let work = || {
            sys::become_caller(peer).map_err(|source| fail(first, source))?;
            for (place, path) in paths.iter().enumerate() {
                if !may_reach(path, read).map_err(|source| fail(path, source))? {
                    return Ok(Some(place));
                }
            }
            Ok(None)
        };
        let thread = std::thread::Builder::new().name("as-caller".to_owned()).stack_size(256 << 10);
        match thread.spawn_scoped(scope, work).map_err(|source| fail(first, source))?.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Returns whether nothing about a path is hidden from this thread.
fn may_reach(path: &Path, read: bool) -> io::Result<bool> {
    match sys::access(path, read) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Ok(false),
            // The caller also sees that a path does not exist or is invalid (contains a zero byte).
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) | None => Ok(true),
            _ => Err(error),
        },
    }
}

/// Returns whether a process is in a container: in another mount namespace than the host's first process. If the kernel
/// hides the latter's namespaces from the daemon, the daemon's own is used.
pub fn is_contained(pid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let root = processes::root();
    let files = |process: &str| std::fs::metadata(root.join(process).join("ns/mnt")).map(|file| file.ino());
    match (files(&pid.to_string()), files("1").or_else(|_| files("self"))) {
        (Ok(own), Ok(first)) => own != first,
        _ => false,
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
        let other = Peer { uid: 4711, gid: 4711, ..Peer::default() };
        let member = Peer { groups: vec![7, 4242], ..other.clone() };
        let paths = [
            open,
            roots.clone(),
            groups,
            hidden.join("file"),
            hidden.join("absent"),
            folder.path().join("absent"),
        ];
        let answers = |peer: &Peer| {
            [0, 1, 2, 3, 4, 5].map(|at| {
                [false, true].map(|read| first_hidden(peer, &paths[at..=at], read).unwrap().is_none())
            })
        };
        let [all, seen, none] = [[true, true], [true, false], [false, false]];
        assert_eq!(answers(&other), [all, seen, seen, none, none, all]);
        assert_eq!(answers(&member)[2], [true, true]);
        // The first of all.
        assert_eq!([false, true].map(|read| first_hidden(&other, &paths, read).unwrap()), [Some(3), Some(1)]);
        assert_eq!(first_hidden(&other, &[], true).unwrap(), None);
        // The thread is gone, and this one still has its own credentials.
        assert!(fs::read(&roots).is_ok());
        // An agent names network namespaces of other processes.
        let net = format!("/proc/{}/ns/net", std::process::id());
        assert_eq!(first_hidden(&other, &[net.into()], false).unwrap(), None);
    }

    #[test]
    fn a_process_of_the_host_is_in_no_container() {
        assert!(!is_contained(std::process::id()));
        assert!(!is_contained(u32::MAX));
    }
}
