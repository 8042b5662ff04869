//! Diagnosis of a daemon that does not answer: socket, unit, lock and pins, as far as this user may read them.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::Hint;

use crate::args::Global;
use crate::finding_class::FindingClass;
use crate::show::diagnosis::Diagnosis;

pub fn examine(global: &Global, error: &io::Error, diagnosis: &mut Diagnosis) {
    let (runtime, state) = folders();
    let socket = global.socket_path.display().to_string();
    let (what, why) = match error.kind() {
        ErrorKind::NotFound => ("there is no such socket", "no daemon was started, or it listens elsewhere"),
        ErrorKind::ConnectionRefused => (
            "the socket is there, and no process listens",
            "the daemon ended without removing it: it was killed",
        ),
        _ => ("the socket cannot be used", "no daemon can be asked"),
    };
    let start = Hint::StartDaemon.command();
    diagnosis.because(FindingClass::DAEMON_DEAD, socket, format!("{what}: {error}"), why, start);
    unit(diagnosis);
    lock(&state, diagnosis);
    pins(&runtime.join("fs"), diagnosis);
    for marker in [state.join("break-glass"), runtime.join("break-glass")] {
        if marker.exists() {
            diagnosis.because(
                FindingClass::DETACHED,
                marker.display().to_string(),
                "root detached everything of bpfman",
                "a daemon that starts attaches nothing until this ends",
                Hint::EndBreakGlass.command(),
            );
        }
    }
    for folder in [&state, &runtime] {
        let Ok(room) = rustix::fs::statvfs(folder) else { continue };
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < 16 << 20 {
            let (subject, what) = (folder.display().to_string(), format!("{} KiB are free", free / 1024));
            let fix = Hint::FreeSpace(folder.clone()).command();
            diagnosis.because(FindingClass::DISK, subject, what, "changes are refused when it is full", fix);
        }
    }
}

/// Returns runtime and state folder. Without `BPFMAN_STATE_DIR`, a custom runtime folder contains the state folder.
fn folders() -> (PathBuf, PathBuf) {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let runtime = given("BPFMAN_RUNTIME_DIR");
    let state = given("BPFMAN_STATE_DIR").or_else(|| Some(runtime.as_ref()?.join("state")));
    (
        runtime.unwrap_or_else(|| PathBuf::from("/run/bpfman")),
        state.unwrap_or_else(|| PathBuf::from("/var/lib/bpfman")),
    )
}

fn unit(diagnosis: &mut Diagnosis) {
    let asked = Command::new("systemctl")
        .args(["show", "bpfmand.service", "--property=LoadState,ActiveState,SubState,Result"])
        .output();
    let Ok(answer) = asked else { return };
    let text = String::from_utf8_lossy(&answer.stdout);
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    if let (Some("loaded"), Some(active)) = (of("LoadState"), of("ActiveState")) {
        let what = format!(
            "the unit is {active} ({}), result {}",
            of("SubState").unwrap_or_default(),
            of("Result").unwrap_or_default()
        );
        diagnosis.found(FindingClass::DAEMON_DEAD, "bpfmand.service", what, &Hint::ReadLog);
    }
}

/// Reads the kernel's list of locks, because taking the lock could keep a daemon from starting.
fn lock(state: &Path, diagnosis: &mut Diagnosis) {
    let path = state.join("store/lock");
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            diagnosis.note("store", format!("{}: only root can look: {error}", state.display()));
            return;
        }
        // No daemon has run here.
        Err(_) => return,
    };
    if let Some(pid) = fs::read_to_string("/proc/locks").ok().and_then(|locks| holder(&locks, found.ino())) {
        diagnosis.because(
            FindingClass::DAEMON_DEAD,
            path.display().to_string(),
            format!("process {pid} has the records locked"),
            "a daemon runs, and does not listen on this socket: it starts, ends, hangs, or listens elsewhere",
            Hint::ProcessOf { pid }.command(),
        );
    }
}

/// Returns the process that locks a file, by lines of `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 123 08:01:4567 0 EOF`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let of_inode = fields.get(5)?.rsplit(':').next()?.parse() == Ok(inode);
        (of_inode && fields.get(1) == Some(&"FLOCK")).then(|| fields.get(4)?.parse().ok())?
    })
}

/// Adds programs that still run: their pins keep them without the daemon.
fn pins(fs_root: &Path, diagnosis: &mut Diagnosis) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let root = fs_root.display().to_string();
    let is_bpffs = |line: &str| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(root.as_str()) && words.next() == Some("bpf")
    };
    if !mounts.lines().any(is_bpffs) {
        diagnosis.because(
            FindingClass::KERNEL,
            root,
            "no bpffs is mounted there",
            "nothing of bpfman is pinned: nothing of it runs, unless somebody unmounted it",
            Hint::MountBpffs.command(),
        );
        return;
    }
    match fs::read_dir(fs_root) {
        Ok(all) => {
            let is_program = |entry: &io::Result<fs::DirEntry>| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("prog_"))
            };
            let count = all.filter(is_program).count();
            diagnosis.note("pins", format!("{count} programs are pinned in {root}: they run on"));
        }
        Err(error) => diagnosis.note("pins", format!("{root}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_holder_is_read_from_proc_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:4567 0 EOF\n2: FLOCK  ADVISORY  WRITE 123 08:01:4567 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 124 08:01:4567 0 EOF\n3: FLOCK  ADVISORY  WRITE 9 00:19:45 0 EOF\n";
        assert_eq!(holder(locks, 4567), Some(123));
        assert_eq!(holder(locks, 45), Some(9));
        assert_eq!(holder(locks, 1), None);
    }
}
