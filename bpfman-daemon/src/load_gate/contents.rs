//! What stands in the gate's maps. The structures are those of packaging/gate/gate.bpf.c.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bpfmand_kernel::MapEntry;
use bpfmand_kernel::linux::{ExecutableId, executable};
use rustix::time::{ClockId, clock_gettime};

/// Where systemd and others mount the hierarchy of version 2: alone, or beside those of version 1.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Keys and values.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// True if the kernel asks programs of type LSM; also where nobody can tell.
pub fn kernel_asks_programs() -> bool {
    let list = std::fs::read_to_string("/sys/kernel/security/lsm");
    list.map_or(true, |list| list.trim().split(',').any(|name| name == "bpf"))
}

/// What the kernel's clock since boot says, time in sleep included.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Entries of the executables, the daemon's own first, and those that are not there.
///
/// # Errors
/// The daemon's own is not found.
pub fn executables(paths: &[PathBuf]) -> anyhow::Result<(Entries, Vec<String>)> {
    let own = executable(Path::new("/proc/self/exe")).context("the daemon's own executable is not found")?;
    let mut entries = vec![(key(own), vec![1, 0, 0, 0])];
    let mut missing = Vec::new();
    for path in paths {
        match executable(path) {
            Ok(id) => entries.push((key(id), vec![1, 0, 0, 0])),
            Err(error) => missing.push(format!("{} ({error})", path.display())),
        }
    }
    Ok((entries, missing))
}

fn key(ExecutableId { inode, device }: ExecutableId) -> Vec<u8> {
    [&inode.to_ne_bytes()[..], &device.to_ne_bytes(), &[0; 4]].concat()
}

/// Entries of control groups, and those that are not there. The id of a group is its folder's inode.
pub fn groups(paths: &[PathBuf]) -> (Entries, Vec<String>) {
    let root = HIERARCHIES.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists());
    let mut entries = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        let id = root.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).and_then(|root| {
            let inside = path.strip_prefix("/").unwrap_or(path);
            Ok(std::fs::metadata(root.join(inside))?.ino())
        });
        match id {
            Ok(id) => entries.push((id.to_ne_bytes().to_vec(), vec![1, 0, 0, 0])),
            Err(error) => missing.push(format!("group {} ({error})", path.display())),
        }
    }
    (entries, missing)
}

/// Who was refused, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRefusals {
    /// The name that the process gave itself.
    pub command: String,
    /// Its user.
    pub user: u32,
    /// The last process of that name.
    pub process: u32,
    /// The kernel's `enum bpf_prog_type`; 0: a map of the gate's own.
    pub program_type: u32,
    /// How often.
    pub count: u64,
}

impl fmt::Display for GateRefusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, user, process, program_type, count } = self;
        match program_type {
            0 => f.write_str("writing to its own maps")?,
            number => write!(f, "a program of type {number}")?,
        }
        write!(f, " by {command:?} of user {user}, process {process}")?;
        if *count > 1 { write!(f, ", {count} times") } else { Ok(()) }
    }
}

/// Reads an entry of the map `refused`.
pub fn refused(entry: &MapEntry) -> Option<GateRefusals> {
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let command = entry.key.get(..16)?;
    let end = command.iter().position(|byte| *byte == 0).unwrap_or(command.len());
    Some(GateRefusals {
        command: String::from_utf8_lossy(&command[..end]).into_owned(),
        user: word(&entry.key, 16)?,
        program_type: word(&entry.key, 20)?,
        count: u64::from_ne_bytes(entry.value.get(..8)?.try_into().ok()?),
        process: word(&entry.value, 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_is_told_in_one_line_whatever_it_calls_itself() {
        let key =
            [&b"evil\n\"x\"\0\0\0\0\0\0\0\0"[..], &1000_u32.to_ne_bytes(), &6_u32.to_ne_bytes()].concat();
        let value = [&3_u64.to_ne_bytes()[..], &77_u32.to_ne_bytes(), &[0; 4]].concat();
        let refusals = refused(&MapEntry { key: key.clone(), value }).unwrap();
        assert_eq!((refusals.user, refusals.program_type, refusals.process), (1000, 6, 77));
        let text = refusals.to_string();
        assert!(!text.contains('\n') && text.ends_with("3 times"), "{text}");
        assert_eq!(refused(&MapEntry { key, value: vec![0; 4] }), None);
    }

    #[test]
    fn exceptions_that_are_not_there_are_named_and_the_others_count() {
        let (entries, missing) = executables(&["/nowhere/at/all".into(), "/bin/true".into()]).unwrap();
        assert_eq!((entries.len(), missing.len()), (2, 1));
        assert!(missing[0].starts_with("/nowhere/at/all"), "{missing:?}");
        assert_eq!(groups(&["/no/such/group".into()]).1.len(), 1);
    }
}
