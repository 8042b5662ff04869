use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bpfman_model::HeldNetns;

use super::held_processes::HeldProcess;
use super::process_groups::ProcessGroups;
use super::processes;

/// Process that made a connection, in its present state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerProcess {
    pub groups: ProcessGroups,
    /// Network namespace; `None` if it cannot be opened.
    pub netns: Option<HeldNetns>,
}

/// Returns the process that made a connection, by recorded pid and user, if it still exists. Since Linux 6.5, the
/// socket leads to the process itself; before, a later process with the same pid and user is mistaken for it.
#[must_use]
pub fn caller_process(socket: impl AsFd, pid: u32, uid: u32) -> Option<CallerProcess> {
    caller(bpfmand_notify::peer_process(socket), pid, uid)
}

fn caller(peer: std::io::Result<OwnedFd>, pid: u32, uid: u32) -> Option<CallerProcess> {
    if let Err(error) = &peer
        && !is_old_kernel(error)
    {
        tracing::debug!(pid, uid, %error, "the process of a caller is not known: it has neither unit, pod nor namespace");
        return None;
    }
    let held = HeldProcess::open(Path::new("/proc"), pid)?;
    let began = held.began()?;
    let is_caller = || match &peer {
        // The peer still has the pid, so the opened folder is that of the peer.
        Ok(process) => number_of(process) == Some(pid),
        Err(_) => user_of(&held) == Some(uid),
    };
    if !is_caller() {
        return None;
    }
    let groups = ProcessGroups::of_held(&held).unwrap_or_default();
    let netns = held.open_file("ns/net").and_then(held_netns);
    let now = processes::began(Path::new("/proc"), pid);
    (is_caller() && now == Some(began)).then_some(CallerProcess { groups, netns })
}

fn is_old_kernel(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOPROTOOPT)
}

fn held_netns(file: OwnedFd) -> Option<HeldNetns> {
    let file = File::from(file);
    let inode = file.metadata().ok()?.ino();
    Some(HeldNetns::new(inode, file))
}

fn number_of(process: &OwnedFd) -> Option<u32> {
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    facts.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

fn user_of(process: &HeldProcess) -> Option<u32> {
    let status = process.read("status")?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use super::super::namespaces;
    use super::*;

    const CONNECT: &str = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
                           connect(S, pack_sockaddr_un($ARGV[0])) or die; print \"connected\\n\"; <STDIN>;";

    fn listener(folder: &tempfile::TempDir) -> UnixListener {
        UnixListener::bind(folder.path().join("socket")).unwrap()
    }

    fn idle() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    fn with_number(pid: u32) -> Option<Child> {
        for _ in 0..100 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let child = idle();
            if child.id() == pid {
                return Some(child);
            }
            end(child);
        }
        None
    }

    #[test]
    fn another_process_with_the_number_is_not_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let listener = listener(&folder);
        let mut client = Command::new("perl")
            .args(["-e", CONNECT])
            .arg(folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = client.id();
        assert!(client.wait().unwrap().success());
        let Some(other) = with_number(pid) else {
            eprintln!(
                "SKIPPED(no number of a process can be chosen: /proc/sys/kernel/ns_last_pid): {}",
                module_path!()
            );
            return;
        };
        let (stream, _) = listener.accept().unwrap();
        if !matches!(bpfmand_notify::peer_process(&stream), Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT))
        {
            assert_eq!(caller_process(&stream, pid, 0), None);
        }
        let before = || Err(Error::from_raw_os_error(libc::ENOPROTOOPT));
        assert_eq!(caller(before(), pid, 4711), None);
        end(other);
        assert_eq!(caller_process(&stream, pid, 0), None, "it is gone");
    }

    #[test]
    fn caller_is_known_while_it_lives() {
        let folder = tempfile::tempdir().unwrap();
        let listener = listener(&folder);
        let client = Command::new("perl")
            .args(["-e", CONNECT])
            .arg(folder.path().join("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let found = caller_process(&stream, client.id(), 0).unwrap();
        assert!(found.groups.best.is_some());
        assert!(namespaces::leads_to(None, found.netns.as_ref().unwrap().id()));
        let before = Err(Error::from_raw_os_error(libc::ENOPROTOOPT));
        assert_eq!(caller(before, client.id(), 0), Some(found));
        assert_eq!(caller(Err(Error::from_raw_os_error(libc::EINVAL)), client.id(), 0), None);
        end(client);
    }

    fn netns_of(child: &Child) -> u64 {
        std::fs::metadata(format!("/proc/{}/ns/net", child.id())).unwrap().ino()
    }

    #[test]
    fn namespace_of_a_caller_keeps_its_inode_while_held() {
        let folder = tempfile::tempdir().unwrap();
        let listener = listener(&folder);
        // The socket is older than the namespace, and does not keep it alive.
        let script = "use Socket; $^F = 255; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
                      exec('unshare', '-n', 'perl', '-e', 'use Socket; open(S, \"+<&=\", $ARGV[1]) or die; \
                      connect(S, pack_sockaddr_un($ARGV[0])) or die; <STDIN>;', $ARGV[0], fileno(S));";
        let client = Command::new("perl")
            .args(["-e", script])
            .arg(folder.path().join("socket"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let held = caller_process(&stream, client.id(), 0).unwrap().netns.unwrap();
        assert_eq!(held.id().inode, netns_of(&client));
        assert!(!namespaces::leads_to(None, held.id()));
        end(client);
        // The kernel reuses inode numbers of namespaces at once, but none of these has that of the held one.
        for _ in 0..50 {
            let mut command = Command::new("unshare");
            command.args(["-n", "cat"]).arg0("unshare").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut other = command.spawn().unwrap();
            let mut echo = [0];
            std::io::Write::write_all(other.stdin.as_mut().unwrap(), b"x").unwrap();
            std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut echo).unwrap();
            let path = format!("/proc/{}/ns/net", other.id());
            assert!(!namespaces::leads_to(Some(Path::new(&path)), held.id()));
            end(other);
        }
    }
}
