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
    /// Starts the agents. Returns nothing.
    StartAgents,
    /// Stops the agents. Returns nothing.
    StopAgents,
    /// Returns the reason of the first agent that is not ready, if there is one.
    Unready,
    /// Returns a message about the first agent that has made fewer reconciliations, or has pending ones, if there is
    /// one.
    Busy(u64),
    /// Returns the name of the first node that has a program of a version, if there is one.
    FirstWith(Version),
    /// Returns the sum of the agents' requests and writes.
    Totals,
    /// Returns each agent's number of writes.
    Writes,
    /// Returns the kernel ids of the attached programs of each node.
    Running,
    /// Renames the nodes and stops their agents. Returns nothing.
    Rename,
    /// Returns the ids of the loaded programs of each node, from the daemon's records.
    Loaded,
    /// Returns the [`Loads`] of a version on each node.
    Loads(Version),
    /// Returns whether each node has a program of a version, from the daemon's records.
    Runs(Version),
    /// Makes the verifier reject a version, or accept it again. Returns nothing.
    Refuse(Version, bool),
    /// Changes the state of the line to the API server. Returns nothing.
    Line(Line),
    /// Returns the [`Needs`] of the process.
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

/// Resources that a process uses.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Needs {
    /// Memory, in KiB.
    pub resident_kib: u64,
    pub threads: u64,
    pub open_files: u64,
}
