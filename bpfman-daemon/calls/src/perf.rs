//! perf_event_open(2).

use serde::{Deserialize, Serialize};

/// Number of bytes of `struct perf_event_attr` that are understood: all of Linux 6.18.
pub const PERF_ATTR: usize = 136;

/// Arguments of perf_event_open(2) beside its attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerfCall {
    /// Processes that the event counts.
    pub process: PerfProcess,
    /// CPU; -1 for all.
    pub cpu: i32,
    pub flags: u64,
    /// Index of the leader's descriptor.
    pub group: Option<usize>,
    /// Place of the probe, if the attribute points to its name.
    pub probe: Option<PerfProbe>,
}

/// Processes that an event counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PerfProcess {
    All,
    /// One process, by its id as the receiver sees it.
    One(i32),
    /// All of a cgroup; the index of its descriptor.
    Group(usize),
}

/// Place of a probe that the caller gave as a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PerfProbe {
    Function(String),
    /// File, by the index of its descriptor.
    File(usize),
}
