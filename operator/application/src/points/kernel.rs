//! Attach points in the kernel: tracepoints, functions, system calls and counters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pattern of the names of tracepoints and system calls.
pub const IDENTIFIER: &str = "^[a-zA-Z0-9_]+$";

/// Pattern of kernel function names and globs.
pub const FUNCTION: &str = "^[a-zA-Z0-9_.*?]+$";

/// Pattern of perf event names.
pub const EVENT: &str = "^[a-z][a-z-]*$";

/// A trace point, by its name alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RawTracepointLink {
    /// Without a category: `sched_switch`.
    #[schemars(length(min = 1, max = 127), regex(pattern = IDENTIFIER))]
    pub name: String,
}

/// Many kernel functions, by one link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KprobeMultiLink {
    /// Names, and patterns with `*` and `?`, which match the functions that can be traced when the program is
    /// attached. At most 100 of them are patterns.
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 128), regex(pattern = FUNCTION)))]
    pub functions: Vec<String>,
}

/// A system call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KsyscallLink {
    /// Name of its manual page: `openat`.
    #[schemars(length(min = 1, max = 64), regex(pattern = IDENTIFIER))]
    pub name: String,
}

/// A counter, and how often the program runs. Exactly one of `frequency` and `period` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerfEventLink {
    /// Name of the event in perf: `cpu-clock`, `page-faults`, `cycles`.
    #[schemars(length(min = 1, max = 64), regex(pattern = EVENT))]
    pub event: String,
    /// Runs per second, approximately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub frequency: Option<i64>,
    /// Number of events between two runs; for clocks, nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub period: Option<i64>,
    /// On this CPU only; absent, and without `pid`: on each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// For this thread of the node only, and for threads and processes that it creates later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub pid: Option<i32>,
}
