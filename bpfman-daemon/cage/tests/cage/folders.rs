use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use bpfmand_cage::{Landlock, WritableFolders};

/// Runs `work` on a thread that may write only in the folder; `None` if the kernel lacks this Landlock version.
fn confined<T: Send>(folder: &Path, needed: i32, test: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let confine = || match WritableFolders::new(vec![folder.to_owned()]).confine_thread().unwrap() {
            Landlock::There { version } if version >= needed => Some(work()),
            found => {
                eprintln!("SKIPPED(landlock {needed}: {found:?}): {test}");
                None
            }
        };
        scope.spawn(confine).join().unwrap()
    })
}

fn refused<T: std::fmt::Debug>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

#[test]
fn files_are_written_in_its_folders_and_nowhere_else() {
    let base = tempfile::tempdir().unwrap();
    let (inside, outside) = (base.path().join("in/side"), base.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("there"), "x").unwrap();
    let work = || {
        fs::write(inside.join("file"), "x").unwrap();
        fs::create_dir(inside.join("folder")).unwrap();
        fs::rename(inside.join("file"), inside.join("renamed")).unwrap();
        fs::remove_file(inside.join("renamed")).unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        assert_eq!(fs::read(outside.join("there")).unwrap(), b"x");
        [
            fs::write(outside.join("new"), "x"),
            fs::write(outside.join("there"), "y"),
            fs::write(inside.join("link/new"), "x"),
            fs::create_dir(outside.join("folder")),
            fs::remove_file(outside.join("there")),
            symlink("/etc", outside.join("link")),
            fs::rename(outside.join("there"), inside.join("taken")),
            Command::new("true").status().map(drop),
        ]
        .map(refused)
    };
    let Some(results) = confined(&inside, 1, "files_are_written_in_its_folders_and_nowhere_else", work)
    else {
        return;
    };
    assert_eq!(results, [true; 8]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    fs::write(outside.join("new"), "x").unwrap();
}

#[test]
fn confined_thread_cannot_listen_but_can_connect() {
    let base = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let work = || (refused(TcpListener::bind("127.0.0.1:0")), TcpStream::connect(address).is_ok());
    let Some(ends) = confined(base.path(), 4, "confined_thread_cannot_listen_but_can_connect", work) else {
        return;
    };
    assert_eq!(ends, (true, true));
}

/// For this reason, threads that inspect containers or mount volumes are not confined.
#[test]
fn the_kernel_keeps_other_processes_and_mounts_from_it_too() {
    let base = tempfile::tempdir().unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let network = format!("/proc/{}/ns/net", other.id());
    assert!(fs::metadata(&network).is_ok());
    let work = || (fs::metadata(&network).is_err(), refused_mount(base.path()));
    let ends = confined(base.path(), 1, "the_kernel_keeps_other_processes_and_mounts_from_it_too", work);
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(ends.is_none_or(|ends| ends == (true, true)), "{ends:?}");
}

fn refused_mount(at: &Path) -> bool {
    use rustix::mount::{MountFlags, mount};
    mount("none", at, "tmpfs", MountFlags::empty(), None) == Err(rustix::io::Errno::PERM)
}
