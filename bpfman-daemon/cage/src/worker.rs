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
use crate::seccomp::workers::{FETCHER, VERIFIER};
use crate::{CageError, CageMode, CallFilters};

/// Role of a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerRights {
    /// Process that starts all other workers.
    Starter,
    /// Connects to registries.
    Fetcher,
    /// Parses fetched content.
    Verifier,
    /// Parses object files.
    Reader,
    /// Speaks TLS with one client of the metrics.
    Tls,
}

/// Restrictions of worker processes, passed as their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerRestrictions {
    /// Mode of the seccomp filter.
    pub seccomp: CageMode,
    /// Set if Landlock is used.
    pub landlock: bool,
}

impl WorkerRestrictions {
    /// Returns the restrictions as arguments.
    #[must_use]
    pub fn arguments(self) -> [String; 2] {
        [self.seccomp.to_string(), self.landlock.to_string()]
    }

    /// Parses the restrictions from arguments; `None` if the arguments have another form.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [seccomp, landlock] = arguments else { return None };
        Some(Self { seccomp: seccomp.parse().ok()?, landlock: landlock.parse().ok()? })
    }
}

/// Sandbox settings of a worker process.
#[derive(Clone, Debug)]
pub struct WorkerCage {
    pub rights: WorkerRights,
    /// Restrictions that all workers share.
    pub restrictions: WorkerRestrictions,
    /// Further files that a fetcher reads: certificates named in the environment.
    pub reads: Vec<PathBuf>,
}

/// Files and folders that a fetcher reads, for name resolution and the machine's certificate authorities.
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

/// Limit of a worker's memory, in bytes: several times the largest layer with its object.
const MEMORY: u64 = 1 << 30;
/// Limit of a reader's CPU time, in seconds: the largest object takes a few.
const CPU_SECONDS: u64 = 60;
const DESCRIPTORS: u64 = 64;
/// Workers are killed before other processes.
const OOM_SCORE: &str = "800";

/// Drops everything that this single-threaded process does not need. Call it first; exit after an error.
pub fn confine_worker(cage: &WorkerCage) -> Result<(), CageError> {
    let fail = |right| move |source| CageError::Worker { right, source };
    rustix::thread::set_no_new_privs(true).map_err(CageError::NewPrivileges)?;
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &CapsHashSet::new())
            .map_err(|source| CageError::Capabilities { action: "drop capabilities of a worker", source })?;
    }
    if cage.rights != WorkerRights::Starter {
        // The starter keeps its score, since the daemon needs it. Write before the process becomes non-dumpable,
        // because root then owns this file, and do not truncate, because Landlock forbids it. An error is harmless.
        let file = OpenOptions::new().write(true).open("/proc/self/oom_score_adj");
        let _told = file.and_then(|mut file| file.write_all(OOM_SCORE.as_bytes()));
    }
    // A worker's memory may hold a password: no other process may read it, not even of the same user.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(fail("core dumps"))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(fail("life of its own"))?;
    let limit = |resource, most: u64, right| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).map_err(fail(right))
    };
    limit(Resource::Core, 0, "core dumps")?;
    if cage.rights == WorkerRights::Starter {
        return if cage.restrictions.landlock { write_nothing() } else { Ok(()) };
    }
    limit(Resource::Data, MEMORY, "memory")?;
    limit(Resource::Nofile, DESCRIPTORS, "descriptors")?;
    if cage.rights == WorkerRights::Reader {
        limit(Resource::Cpu, CPU_SECONDS, "time of processors")?;
    }
    if cage.restrictions.landlock {
        hold_files(cage)?;
    }
    let more = if cage.rights == WorkerRights::Fetcher { FETCHER } else { &[] };
    let groups = VERIFIER.iter().chain(more);
    match CallFilters::of_worker(cage.restrictions.seccomp, std::process::id(), groups)? {
        Some(filters) => filters.put_on(),
        None => Ok(()),
    }
}

/// Allows writes only to `/dev/null` and, for the OOM score of children, to `/proc`; as root, not to `/proc`,
/// where root could change other files.
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

/// Returns whether processes started from here can change user and group.
pub fn can_change_users() -> Result<bool, CageError> {
    let has = |capability| {
        caps::has_cap(None, CapSet::Effective, capability)
            .map_err(|source| CageError::Capabilities { action: "read capabilities", source })
    };
    Ok(has(Capability::CAP_SETUID)? && has(Capability::CAP_SETGID)?)
}

fn hold_files(cage: &WorkerCage) -> Result<(), CageError> {
    let connects = cage.rights == WorkerRights::Fetcher;
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
