//! Messages between the fleet and the processes that run its nodes: one JSON line in each direction.

use serde::{Deserialize, Serialize};

use crate::link::Line;
use crate::version::Version;

/// Order with the nodes that it is for. The answer is a list, or an error message.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    pub order: Order,
    /// Numbers of nodes, ascending.
    pub nodes: Vec<usize>,
}

/// Order, with the list that it returns.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum Order {
    /// Start of the agents; no result.
    StartAgents,
    /// Stop of the agents; no result.
    StopAgents,
    /// Query for the first agent that is not ready: its reason, if there is one.
    Unready,
    /// Query for the first agent that has made fewer reconciliations, or has pending ones: a message, if there is
    /// one.
    Busy(u64),
    /// Query for the first node that has a program of a version: its name, if there is one.
    FirstWith(Version),
    /// Query for the sum of the agents' requests and writes.
    Totals,
    Writes,
    /// Query for the kernel ids of the attached programs of each node.
    Running,
    /// Rename of the nodes, with a stop of their agents; no result.
    Rename,
    /// Query for the ids of the loaded programs of each node, from the daemon's records.
    Loaded,
    /// Query for the [`Loads`] of a version on each node.
    Loads(Version),
    /// Query for whether each node has a program of a version, from the daemon's records.
    Runs(Version),
    /// Change of the verifier: a version is rejected, or accepted again; no result.
    Refuse(Version, bool),
    /// Change of the state of the line to the API server; no result.
    Line(Line),
    /// Query for the [`Needs`] of the process.
    Needs,
}

/// Number of loads of a version on a node.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Loads {
    /// Requested, including dry runs.
    pub asked: u64,
    /// Accepted by the verifier, including dry runs.
    pub accepted: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Needs {
    /// Memory, in KiB.
    pub resident_kib: u64,
    pub threads: u64,
    pub open_files: u64,
}
