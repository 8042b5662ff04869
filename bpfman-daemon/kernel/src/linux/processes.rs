use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const HOST: &str = "/host/proc";

/// Returns `/host/proc` if it shows the host's processes and this process has its own pid namespace; else `/proc`.
pub fn root() -> PathBuf {
    root_of(Path::new("/proc"), Path::new(HOST))
}

fn root_of(own: &Path, host: &Path) -> PathBuf {
    let numbering = |process: PathBuf| std::fs::metadata(process.join("ns/pid")).map(|file| file.ino());
    match (numbering(own.join("self")), numbering(host.join("1"))) {
        (Ok(here), Ok(there)) if here != there => host.to_owned(),
        _ => own.to_owned(),
    }
}

pub fn all(root: &Path) -> io::Result<Vec<u32>> {
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(std::fs::read_dir(root)?.filter_map(number).collect())
}

pub fn began(root: &Path, pid: u32) -> Option<u64> {
    let text = std::fs::read(root.join(pid.to_string()).join("stat")).ok()?;
    began_in(&String::from_utf8_lossy(&text))
}

/// Returns the start time, the 22nd field. The second field, a name, may contain brackets and blanks.
pub(super) fn began_in(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_hosts_processes_are_taken_where_the_numbering_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path();
        let own = Path::new("/proc");
        assert_eq!(root_of(own, host), own, "nothing is mounted there");
        let process = |pid: u32| {
            let _before = std::fs::remove_dir_all(host.join("1"));
            std::fs::create_dir_all(host.join("1/ns")).unwrap();
            std::os::unix::fs::symlink(format!("/proc/{pid}/ns/pid_for_children"), host.join("1/ns/pid"))
                .unwrap();
        };
        process(std::process::id());
        assert_eq!(root_of(own, host), own, "the same numbering");
        let mut other = Command::new("unshare")
            .args(["--pid", "--fork", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let began = std::time::Instant::now();
        while root_of(own, host) == own {
            assert!(began.elapsed() < std::time::Duration::from_secs(30));
            process(other.id());
            std::thread::yield_now();
        }
        assert_eq!(root_of(own, host), host);
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }

    #[test]
    fn the_beginning_of_a_process_is_read_behind_its_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(began_in(stat), Some(4242));
        assert_eq!(began_in("7 (a"), None);
        assert!(began(Path::new("/proc"), std::process::id()).is_some_and(|ticks| ticks > 0));
    }
}
