//! What the fleet tells the processes that run its nodes, and asks of them: one JSON line each way.

use serde::{Deserialize, Serialize};

use crate::link::Line;
use crate::version::Version;

/// An order, and the nodes that it is about. The answer is a list, or a sentence that says why there is none.
#[derive(Debug, Deserialize, Serialize)]
pub struct Message {
    /// What to do.
    pub order: Order,
    /// Numbers of nodes, in order.
    pub nodes: Vec<usize>,
}

/// What to do, and what is in the list that answers.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum Order {
    /// Start their agents: nothing.
    StartAgents,
    /// End them: nothing.
    StopAgents,
    /// Why the first one whose agent is not ready is not: one sentence, or nothing.
    Unready,
    /// The first one whose agent has not looked at as many applications as that, or has more to look at: one sentence,
    /// or nothing.
    Busy(u64),
    /// The first one that has a program of a version: one name, or nothing.
    FirstWith(Version),
    /// What their agents asked and wrote: one sum.
    Totals,
    /// What the agent of each wrote: a number for each.
    Writes,
    /// The programs that are attached on each: the kernel's ids, for each.
    Running,
    /// They have other names from now on, and their agents end: nothing.
    Rename,
    /// The programs that the daemon has loaded, by its records: their ids, for each.
    Loaded,
    /// What became of loads of a version: [`Loads`], for each.
    Loads(Version),
    /// Whether each has a program of a version, as far as the records go.
    Runs(Version),
    /// The verifier refuses a version from now on, or accepts it again: nothing.
    Refuse(Version, bool),
    /// Their line to the API server is like that from now on: nothing.
    Line(Line),
    /// What the process needs: one [`Needs`].
    Needs,
}

/// What became of loads of a version on a node.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Loads {
    /// Asked for.
    pub asked: u64,
    /// Accepted by the verifier, trials included.
    pub accepted: u64,
}

/// What a process needs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Needs {
    /// Memory, in KiB.
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open files.
    pub open_files: u64,
}
