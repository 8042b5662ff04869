//! Programs of an application on this machine that were loaded for a state object that is not there any more: the node
//! was renamed, its objects were deleted with it, or somebody let the state object go.
//!
//! Beside them the programs of the new state object would run a second time. They are taken for an older version, and
//! replaced by it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bpfman_apply::content::{PROGRAM_NAME_KEY, PROGRAM_NAMESPACE_KEY};
use bpfman_apply::failure::{Unreachable, refusal};
use bpfman_proto::ext::v1::ListProgramsRequest;
use bpfman_proto::v1::ListRequest;

use super::Shared;
use super::leftovers::owner;
use super::state::StateObject;
use bpfman_application::scope::ApplicationKey;

/// Uids of state objects of which it is known that nobody was before them. Nobody comes to be that later: programs are
/// loaded for objects of this node by this agent alone.
#[derive(Debug, Default)]
pub struct Settled(Mutex<HashSet<String>>);

impl Settled {
    fn has(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }

    /// Their programs were replaced, or there were none.
    pub fn note(&self, uid: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Uids are never used again. It is cheap to look once more.
        if all.len() >= 4096 {
            all.clear();
        }
        all.insert(uid.to_owned());
    }
}

/// Uids of the owners before a state object.
///
/// # Errors
/// [`Unreachable`].
pub async fn predecessors(
    shared: &Shared,
    key: &ApplicationKey,
    state: &StateObject,
) -> Result<Vec<String>, Unreachable> {
    if shared.settled.has(&state.uid) {
        return Ok(Vec::new());
    }
    let named = HashMap::from([(PROGRAM_NAME_KEY.to_owned(), key.name.clone())]);
    let select = ListRequest { match_metadata: named, ..ListRequest::default() };
    let request = ListProgramsRequest { select: Some(select), ..ListProgramsRequest::default() };
    shared.metrics.daemon_calls.add("ListPrograms", 1);
    let programs = match shared.daemon.ext().list_programs(request).await {
        Ok(answer) => answer.into_inner().programs,
        // It does not tell: the call that follows says why.
        Err(status) => return refusal(&shared.daemon, &status).map(|_| Vec::new()),
    };
    let here: HashSet<String> = {
        let known = shared.world.known();
        known.states.values().flat_map(BTreeMap::values).map(|state| state.uid.clone()).collect()
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
