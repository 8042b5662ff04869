use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::LinkNameSpaceType;

use super::hierarchies::FIRST_GROUPS;
use super::processes;

const OWN: &str = "/proc/thread-self/ns/cgroup";

/// Enters the cgroup namespace of the node's first process: in its own, a process sees outer cgroups as `/../..`. Must
/// run before other threads start, which inherit it. Needs `CAP_SYS_ADMIN` there.
pub fn enter_cgroup_namespace_of_node() -> io::Result<()> {
    // All cgroups are visible already. Skip the first process, which a security module may hide.
    if fs::metadata(OWN).is_ok_and(|own| own.ino() == FIRST_GROUPS) {
        return Ok(());
    }
    enter(&processes::root().join("1/ns/cgroup"))
}

fn enter(path: &Path) -> io::Result<()> {
    let own = match fs::metadata(OWN) {
        Ok(own) => own.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if fs::metadata(path)?.ino() == own {
        return Ok(());
    }
    let file = File::open(path)?;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::ControlGroup))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn namespace_of_another_process_is_entered() {
        let mut other = Command::new("unshare")
            .args(["--cgroup", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        other.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        other.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let path = format!("/proc/{}/ns/cgroup", other.id());
        let inode = |path: &str| fs::metadata(path).unwrap().ino();
        let wanted = inode(&path);
        let own = inode("/proc/self/ns/cgroup");
        assert_ne!(wanted, own);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                enter(Path::new(&path)).unwrap();
                assert_eq!(inode("/proc/thread-self/ns/cgroup"), wanted);
                assert!(enter(Path::new("/proc/thread-self/ns/net")).is_err());
                assert_eq!(inode("/proc/thread-self/ns/cgroup"), wanted);
            });
        });
        assert_eq!(inode("/proc/self/ns/cgroup"), own);
        assert_eq!(enter(Path::new("/proc/0/ns/cgroup")).unwrap_err().kind(), io::ErrorKind::NotFound);
        enter(Path::new("/proc/self/ns/cgroup")).unwrap();
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
