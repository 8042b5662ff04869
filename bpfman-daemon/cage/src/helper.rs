//! What processes for images and objects give up: nearly everything.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, setrlimit};

use crate::files::RULES;
use crate::seccomp::helpers::{FETCHER, VERIFIER};
use crate::{CageError, CageMode, CallFilters};

/// What a process for images or objects does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperRights {
    /// Starts the others.
    Starter,
    /// Speaks to registries.
    Fetcher,
    /// Reads what was fetched.
    Verifier,
    /// Reads object files.
    Reader,
}

/// How a process for images or objects is held, as root wants it.
#[derive(Clone, Debug)]
pub struct HelperCage {
    /// What it does.
    pub rights: HelperRights,
    /// Whether its system calls are filtered.
    pub seccomp: CageMode,
    /// Whether its files are.
    pub landlock: bool,
    /// What a fetcher reads besides the system's own files: certificates that the environment names.
    pub reads: Vec<PathBuf>,
}

/// What a fetcher reads: how names are resolved, and which authorities the machine trusts.
const SYSTEM_FILES: [&str; 9] = [
    "/etc",
    "/usr/share",
    "/usr/lib",
    "/usr/local/share/ca-certificates",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
];

/// Bytes of memory that one of them may write to: some times the largest layer with its object.
const MEMORY: u64 = 1 << 30;
/// Seconds of a processor that a reader may take: the largest object takes a few.
const CPU_SECONDS: u64 = 60;
/// Descriptors of one.
const DESCRIPTORS: u64 = 64;
/// Ended before others when memory is short.
const OOM_SCORE: &str = "800";

/// Has this process lose what its work does not need. To be called first, in a process of one thread that was started for
/// this alone.
///
/// # Errors
/// The kernel keeps what is to go: the process must end.
pub fn confine_helper(cage: &HelperCage) -> Result<(), CageError> {
    let fail = |right| move |source| CageError::Helper { right, source };
    rustix::thread::set_no_new_privs(true).map_err(CageError::NewPrivileges)?;
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &CapsHashSet::new())
            .map_err(|source| CageError::Capabilities { action: "drop capabilities of a helper", source })?;
    }
    if cage.rights != HelperRights::Starter {
        // The starter itself is needed as long as the daemon. A kernel that does not let it: they are only ended later.
        // Before what follows, after which this file is root's.
        // Written to as it is: the starter's Landlock rules hold here as well, and let nobody empty a file.
        let file = OpenOptions::new().write(true).open("/proc/self/oom_score_adj");
        let _told = file.and_then(|mut file| file.write_all(OOM_SCORE.as_bytes()));
    }
    // Its memory may hold a password: it is for nobody to read, others of its user included.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail("core dumps"))?;
    // With whoever started it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(fail("life of its own"))?;
    let limit = |resource, most: u64, right| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(fail(right))
    };
    limit(Resource::Core, 0, "core dumps")?;
    if cage.rights == HelperRights::Starter {
        return if cage.landlock { write_nothing() } else { Ok(()) };
    }
    limit(Resource::Data, MEMORY, "memory")?;
    limit(Resource::Nofile, DESCRIPTORS, "descriptors")?;
    if cage.rights == HelperRights::Reader {
        limit(Resource::Cpu, CPU_SECONDS, "time of processors")?;
    }
    if cage.landlock {
        hold_files(cage)?;
    }
    let more = if cage.rights == HelperRights::Fetcher { FETCHER } else { &[] };
    let groups = VERIFIER.iter().chain(more);
    match CallFilters::of_helper(cage.seccomp, std::process::id(), groups)? {
        Some(filters) => filters.put_on(),
        None => Ok(()),
    }
}

/// Holds it, and all that it starts, to reading and executing; what they have no use for goes to `/dev/null`. Those that
/// it starts tell the kernel that they are ended first, which is a file below `/proc`: as root, more of those would do as
/// they are told, so there it is left out.
fn write_nothing() -> Result<(), CageError> {
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_write(RULES))?.create()?.no_new_privs(false);
    if let Ok(null) = PathFd::new("/dev/null") {
        rules = rules.add_rule(PathBeneath::new(null, AccessFs::WriteFile))?;
    }
    if !rustix::process::geteuid().is_root()
        && let Ok(proc) = PathFd::new("/proc")
    {
        rules = rules.add_rule(PathBeneath::new(proc, AccessFs::WriteFile))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// True if a process that is started from here can have another user and group.
///
/// # Errors
/// The kernel does not tell.
pub fn can_change_users() -> Result<bool, CageError> {
    let has = |capability| {
        caps::has_cap(None, CapSet::Effective, capability)
            .map_err(|source| CageError::Capabilities { action: "read capabilities", source })
    };
    Ok(has(Capability::CAP_SETUID)? && has(Capability::CAP_SETGID)?)
}

fn hold_files(cage: &HelperCage) -> Result<(), CageError> {
    let connects = cage.rights == HelperRights::Fetcher;
    let mut net = BitFlags::from(AccessNet::BindTcp);
    if !connects {
        net |= AccessNet::ConnectTcp;
    }
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(net)?
        .scope(Scope::from_all(RULES))?
        .create()?
        .no_new_privs(false);
    if connects {
        let system = SYSTEM_FILES.iter().map(Path::new);
        for path in system.chain(cage.reads.iter().map(PathBuf::as_path)) {
            // What is not there needs no rule.
            let Ok(opened) = PathFd::new(path) else { continue };
            let is_folder = path.is_dir();
            let mut reads = BitFlags::from(AccessFs::ReadFile);
            if is_folder {
                reads |= AccessFs::ReadDir;
            }
            rules = rules.add_rule(PathBeneath::new(opened, reads))?;
        }
    }
    rules.restrict_self()?;
    Ok(())
}
