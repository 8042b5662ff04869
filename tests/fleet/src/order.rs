//! Messages between the fleet and the processes that run its nodes: one JSON line in each direction.

use serde::{Deserialize, Serialize};

use crate::link::Line;
use crate::version::Version;

/// Order with the nodes that it is for. The answer is a list, or an error message.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    pub order: Order,
    pub nodes: Vec<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum Order {
    StartAgents,
    StopAgents,
    Unready,
    /// Query for the first agent with fewer reconciliations or with pending ones; a message, if there is one.
    Busy(u64),
    FirstWith(Version),
    Totals,
    Writes,
    Running,
    Rename,
    Loaded,
    Loads(Version),
    Runs(Version),
    Refuse(Version, bool),
    Line(Line),
    Needs,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Loads {
    /// Requested loads, including dry runs.
    pub asked: u64,
    pub accepted: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Needs {
    pub resident_kib: u64,
    pub threads: u64,
    pub open_files: u64,
}
