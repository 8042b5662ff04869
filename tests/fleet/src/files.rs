//! Limit of open files: how many nodes fit into one process, and how many connections the API server can have.

use anyhow::{Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Open files of a node: two of its store, two of the connection to the daemon, one of the agent's lock, and one of
/// the agent's connection to the API server, two while it is replaced.
const OF_A_NODE: usize = 7;

const OF_ALL: usize = 500;

pub fn nodes_in_a_process(nodes: usize) -> Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without privileges the call may fail; the limit then stays as it is.
    let _as_it_was = setrlimit(Resource::Nofile, limit);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // The API server has one connection per agent, and two while one is replaced.
    let of_the_server = 2 * nodes + OF_ALL;
    if of_the_server > limit {
        bail!(
            "{nodes} agents take {of_the_server} open files of the API server, and {limit} are allowed: raise the \
             limit (`ulimit -n {of_the_server}`), or simulate at most {} nodes (`--nodes`)",
            limit.saturating_sub(OF_ALL) / 2
        );
    }
    let fit = limit.saturating_sub(OF_ALL) / OF_A_NODE;
    if fit == 0 {
        bail!(
            "a node takes {OF_A_NODE} open files and its process {OF_ALL}, but {limit} are allowed: `ulimit -n`"
        );
    }
    Ok(fit)
}
