//! Programs that were loaded for a state object that no longer exists, as after a node's renaming. The agent
//! replaces them like an older version; otherwise, the new programs would run beside them.

use std::collections::{HashMap, HashSet};

use bpfman_apply::content::{PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY};
use bpfman_apply::failure::Unreachable;
use bpfman_proto::v1::ListRequest;

use super::leftovers::owner;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

/// Returns the uids of earlier state objects whose programs remain.
pub async fn predecessors(shared: &Shared, state: &StateObject) -> Result<Vec<String>, Unreachable> {
    let key = &state.application;
    let named = HashMap::from([(PROGRAM_NAME_KEY.to_owned(), key.name.clone())]);
    let select = ListRequest { match_metadata: named, ..ListRequest::default() };
    // If the daemon does not list programs, the following call reports the reason.
    let Some(programs) = shared.programs(select).await? else { return Ok(Vec::new()) };
    let here: HashSet<String> = {
        let known = shared.cache.known();
        known.states.values().map(|state| state.uid.clone()).collect()
    };
    let all = programs.into_iter().filter_map(|program| Some(program.info?.metadata));
    let mut uids: Vec<String> = all
        .filter(|metadata| metadata.get(PROGRAM_NAMESPACE_KEY) == key.namespace.as_ref())
        .filter_map(|metadata| owner(&metadata))
        .map(|owner| owner.uid)
        .filter(|uid| *uid != state.uid && !here.contains(uid))
        .collect();
    uids.sort();
    uids.dedup();
    Ok(uids)
}
