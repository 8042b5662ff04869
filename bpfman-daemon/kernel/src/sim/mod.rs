//! In-memory kernel with the rules and errors of the real one, for tests of the engine and for simulated fleets.
//!
//! It cannot run packets: tests set results ([`SimKernel::answer_test_runs`]). It can fail the n-th call
//! ([`SimKernel::fail_call`]), refuse programs, reboot, and show its contents as one value ([`SimKernel::snapshot`]).

mod control;
mod create;
mod extension;
mod filters;
mod groups;
mod held_namespaces;
mod hooks;
mod implementation;
mod links;
mod map_walks;
mod maps;
mod network;
mod network_watch;
mod objects;
mod pins;
mod snapshot;
mod struct_ops;
mod targets;
mod third_party;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bpfman_model::{Held, Holder, NetnsId, ProgramId, RunCounts};

use self::filters::Filters;
use self::network::SimNetwork;
use self::objects::Objects;
use self::pins::SimPins;
use self::targets::SimTargets;
use crate::{Features, KernelError, TestRunResult};

pub use self::objects::SimHandle;
pub use self::snapshot::{SimFilter, SimLink, SimProgram, SimSnapshot};

const PAGE: u32 = 4096;

/// Options of a simulated kernel.
#[derive(Clone, Debug)]
pub struct SimOptions {
    pub features: Features,
    /// BTF of the kernel, raw. `None` if it was built without BTF.
    pub btf: Option<Vec<u8>>,
    /// Identity of the network namespace of the daemon.
    pub own_namespace: NetnsId,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            features: Features {
                release: "6.18.0-sim".to_owned(),
                version: (6, 18),
                patch: 0,
                switched_off: Vec::new(),
                tcx: true,
                perf_links: true,
                frames_by_16: true,
                long_jumps: true,
                freplace: true,
                device_bound: true,
                kprobes: true,
                uprobes: true,
                kprobe_multi: true,
                kprobe_session: true,
                uprobe_multi: true,
                uprobe_session: true,
                sockmap_links: true,
                netkit: true,
                struct_ops_links: true,
                trampoline_cookies: true,
                raw_cookies: true,
                netfilter: true,
                netfilter_defragment: true,
                cgroup_order: true,
                netfilter_held: true,
                netns_cookies: true,
                xdp_contexts: true,
                map_batches: true,
                btf_float: true,
                btf_decl_tag: true,
                btf_type_tag: true,
                btf_enum64: true,
                possible_cpus: 4,
                page_size: PAGE,
            },
            btf: None,
            own_namespace: NetnsId { inode: 4_026_531_840, cookie: 1 },
        }
    }
}

impl SimOptions {
    /// Returns a kernel of version 6.1: no tcx, no long jumps.
    #[must_use]
    pub fn linux_6_1() -> Self {
        let current = Self::default();
        Self {
            features: Features {
                release: "6.1.0-sim".to_owned(),
                version: (6, 1),
                tcx: false,
                frames_by_16: false,
                long_jumps: false,
                device_bound: false,
                kprobe_session: false,
                uprobe_multi: false,
                uprobe_session: false,
                sockmap_links: false,
                netkit: false,
                struct_ops_links: false,
                raw_cookies: false,
                netfilter: false,
                netfilter_defragment: false,
                cgroup_order: false,
                netfilter_held: false,
                ..current.features
            },
            ..current
        }
    }
}

/// Kernel in memory.
#[derive(Debug)]
pub struct SimKernel {
    features: Features,
    btf: Option<Vec<u8>>,
    state: Arc<Mutex<SimState>>,
    changed: Arc<Condvar>,
}

#[derive(Debug)]
struct SimState {
    objects: Objects,
    pins: SimPins,
    network: SimNetwork,
    filters: Filters,
    refused: BTreeSet<String>,
    /// Programs of which the next is refused.
    refused_next: BTreeSet<String>,
    /// Number of loads that were refused, by name.
    refused_loads: BTreeMap<String, usize>,
    refusal_time: Duration,
    verification_time: Duration,
    empties_arrays: bool,
    /// Limit of instructions; longer programs are refused.
    longest: Option<usize>,
    /// Limit of instructions of programs that are loaded without `CAP_PERFMON`.
    longest_without_perfmon: Option<usize>,
    /// Instructions that the verifier walks through, whatever a program has.
    walked: Option<u32>,
    constants: BTreeMap<i32, LoadsSeen>,
    holders: Vec<(Held, Holder)>,
    runs: BTreeMap<String, TestRunResult>,
    run_counts: BTreeMap<ProgramId, RunCounts>,
    clock: SimClock,
    tcx: bool,
    online_cpus: Vec<u32>,
    targets: SimTargets,
    faults: Faults,
}

/// Results of loads of programs with a constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadsSeen {
    pub asked: u64,
    /// Number of loads that the verifier accepted, including trials.
    pub accepted: u64,
    /// Set if the verifier refuses them.
    pub refused: bool,
}

#[derive(Debug)]
struct SimClock {
    since_boot: Duration,
    wall: SystemTime,
}

impl Default for SimClock {
    fn default() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Self { since_boot: Duration::from_secs(10), wall }
    }
}

#[derive(Debug, Default)]
struct Faults {
    calls: Vec<&'static str>,
    record: bool,
    countdown: Option<u64>,
    lasting: bool,
}

impl SimKernel {
    /// Returns a kernel without programs, pins and interfaces.
    #[must_use]
    pub fn new(options: SimOptions) -> Self {
        Self {
            changed: Arc::new(Condvar::new()),
            btf: options.btf,
            state: Arc::new(Mutex::new(SimState {
                objects: Objects::default(),
                pins: SimPins::default(),
                network: SimNetwork::new(options.own_namespace, options.features.netns_cookies),
                filters: Filters::default(),
                refused: BTreeSet::new(),
                refused_next: BTreeSet::new(),
                refused_loads: BTreeMap::new(),
                refusal_time: Duration::ZERO,
                verification_time: Duration::ZERO,
                empties_arrays: false,
                longest: None,
                longest_without_perfmon: None,
                walked: None,
                constants: BTreeMap::new(),
                holders: Vec::new(),
                runs: BTreeMap::new(),
                run_counts: BTreeMap::new(),
                clock: SimClock::default(),
                tcx: options.features.tcx,
                online_cpus: (0..options.features.possible_cpus).collect(),
                targets: SimTargets::of(&options.features),
                faults: Faults::default(),
            })),
            features: options.features,
        }
    }

    /// A panic leaves the state complete enough for a test to read.
    fn state(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, call: &'static str) -> Result<MutexGuard<'_, SimState>, KernelError> {
        let mut state = self.state();
        if state.faults.record {
            state.faults.calls.push(call);
        }
        match &mut state.faults.countdown {
            Some(1) => {
                if !state.faults.lasting {
                    state.faults.countdown = None;
                }
                Err(KernelError::call("simulate", format!("\"{call}\""), errno::error(errno::EIO)))
            }
            Some(left) => {
                *left -= 1;
                Ok(state)
            }
            None => Ok(state),
        }
    }

    fn handle(&self, state: &mut SimState, key: objects::Key) -> SimHandle {
        state.objects.hold(key);
        SimHandle { state: Arc::clone(&self.state), generation: state.objects.generation, key }
    }
}

impl Default for SimKernel {
    fn default() -> Self {
        Self::new(SimOptions::default())
    }
}

mod errno {
    pub const EPERM: i32 = 1;
    pub const ENOENT: i32 = 2;
    pub const EIO: i32 = 5;
    pub const E2BIG: i32 = 7;
    pub const EBADF: i32 = 9;
    pub const EACCES: i32 = 13;
    pub const EBUSY: i32 = 16;
    pub const EEXIST: i32 = 17;
    pub const ENODEV: i32 = 19;
    pub const ENOTDIR: i32 = 20;
    pub const EISDIR: i32 = 21;
    pub const EINVAL: i32 = 22;
    pub const ENOTEMPTY: i32 = 39;
    pub const ENOLINK: i32 = 67;
    pub const EOPNOTSUPP: i32 = 95;
    pub const ETIMEDOUT: i32 = 110;

    pub fn error(number: i32) -> super::io::Error {
        super::io::Error::from_raw_os_error(number)
    }
}

fn refuse(action: &'static str, subject: impl Into<String>, number: i32) -> KernelError {
    KernelError::call(action, subject, errno::error(number))
}
