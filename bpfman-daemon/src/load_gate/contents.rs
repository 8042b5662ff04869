//! Contents of the gate's maps. The structures are those of packaging/gate/gate.bpf.c.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bpfmand_kernel::MapEntry;
use bpfmand_kernel::linux::{ExecutableId, executable};
use rustix::time::{ClockId, clock_gettime};

use super::settings::GateSettings;

/// Mount points of the cgroup v2 hierarchy, beside v1 or alone.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

const YES: [u8; 4] = [1, 0, 0, 0];

/// Checks that the kernel calls LSM programs, and that gate and daemon share a clock.
pub fn check_support() -> anyhow::Result<()> {
    const LIST: &str = "/sys/kernel/security/lsm";
    let list =
        std::fs::read_to_string(LIST).with_context(|| format!("{LIST} cannot be read: mount securityfs"))?;
    if !list.trim().split(',').any(|name| name == "bpf") {
        bail!(
            "this kernel was started without LSM \"bpf\": put it into the list of the kernel's parameter lsm="
        );
    }
    let clock = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/time")).ok();
    if clock("self") != clock("1") {
        bail!("this process has a time namespace of its own, and the gate another clock");
    }
    Ok(())
}

/// Returns the monotonic clock, which stops during suspend, when the timer cannot be renewed either.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

pub struct Exceptions {
    pub executables: Entries,
    pub groups: Entries,
    pub missing: Vec<String>,
}

/// Resolves the exceptions. An error if the daemon's own executable cannot be identified uniquely.
pub fn exceptions(settings: &GateSettings) -> anyhow::Result<Exceptions> {
    let own = executable(Path::new("/proc/self/exe")).context("the daemon's own executable")?;
    let mut executables = Entries::from([(key(own), YES.to_vec())]);
    let mut missing = Vec::new();
    for path in &settings.executables {
        match executable(path) {
            Ok(id) => drop(executables.insert(key(id), YES.to_vec())),
            Err(error) => missing.push(format!("{} ({error})", path.display())),
        }
    }
    let root = HIERARCHIES.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists());
    let mut groups = Entries::new();
    for path in &settings.groups {
        // The id of a cgroup is the inode of its folder.
        let id = root.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).and_then(|root| {
            let inside = path.strip_prefix("/").unwrap_or(path);
            Ok(std::fs::metadata(root.join(inside))?.ino())
        });
        match id {
            Ok(id) => drop(groups.insert(id.to_ne_bytes().to_vec(), YES.to_vec())),
            Err(error) => missing.push(format!("cgroup {} ({error})", path.display())),
        }
    }
    Ok(Exceptions { executables, groups, missing })
}

fn key(ExecutableId { inode, device }: ExecutableId) -> Vec<u8> {
    [&inode.to_ne_bytes()[..], &device.to_ne_bytes(), &[0; 4]].concat()
}

/// Warns if process 1 is no exception: systemd would start units without their eBPF filters.
pub fn warn_of_the_first_process(settings: &GateSettings) {
    let Ok(first) = executable(Path::new("/proc/1/exe")) else { return };
    if !settings.executables.iter().any(|path| executable(path).is_ok_and(|id| id == first)) {
        tracing::warn!(
            "gate: process 1 is no exception; if it is systemd, units start without their device and address filters"
        );
    }
}

/// Value in place of a program's type for an attempt to open a map of the gate.
const OWN_MAP: u32 = u32::MAX;
/// Value for an attempt to attach or run a program.
const USE: u32 = u32::MAX - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateRefusals {
    /// Name of the process, which it chooses itself.
    pub command: String,
    pub user: u32,
    pub process: u32,
    /// The kernel's `enum bpf_prog_type`, or any number that the caller passed; [`OWN_MAP`] and [`USE`] for other attempts.
    pub program_type: u32,
    pub count: u64,
}

impl fmt::Display for GateRefusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, user, process, program_type, count } = self;
        match *program_type {
            OWN_MAP => f.write_str("opening a map of the gate for writing")?,
            USE => f.write_str("attaching or running a program")?,
            number => write!(f, "a program of type {number}")?,
        }
        write!(f, " by {command:?} of user {user}, process {process}")?;
        if *count > 1 { write!(f, ", {count} times") } else { Ok(()) }
    }
}

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
    fn refused_process_is_reported_in_one_escaped_line() {
        let key =
            [&b"evil\n\"x\"\0\0\0\0\0\0\0\0"[..], &1000_u32.to_ne_bytes(), &6_u32.to_ne_bytes()].concat();
        let value = [&3_u64.to_ne_bytes()[..], &77_u32.to_ne_bytes(), &[0; 4]].concat();
        let refusals = refused(&MapEntry { key: key.clone(), value }).unwrap();
        assert_eq!((refusals.user, refusals.program_type, refusals.process), (1000, 6, 77));
        let text = refusals.to_string();
        assert!(!text.contains('\n') && text.ends_with("3 times"), "{text}");
        let used = GateRefusals { program_type: USE, ..refusals }.to_string();
        assert!(used.starts_with("attaching or running a program by \"evil"), "{used}");
        assert_eq!(refused(&MapEntry { key, value: vec![0; 4] }), None);
    }

    #[test]
    fn exceptions_that_are_not_there_are_named_and_the_others_count() {
        let settings = GateSettings {
            image: String::new(),
            executables: vec!["/nowhere/at/all".into(), "/bin/true".into()],
            groups: vec!["/no/such/group".into()],
            fail_open: Duration::from_secs(60),
        };
        let found = exceptions(&settings).unwrap();
        assert_eq!((found.executables.len(), found.groups.len(), found.missing.len()), (2, 0, 2));
        assert!(found.missing[0].starts_with("/nowhere/at/all"), "{:?}", found.missing);
    }
}
