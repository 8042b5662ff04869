//! Unloads programs of missing state objects, whose finalizers were removed while no agent ran. Programs of
//! applications with a new state object here ([`super::predecessors`]), and of other tools, stay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_apply::content::{CONTENT_KEY, PROGRAM_NAME_KEY, UUID_KEY};
use bpfman_apply::desired::{Desired, ProgramOwner};
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::ReportedLoad;
use bpfman_proto::v1::ListRequest;

use crate::agent::shared::Shared;
use bpfman_runtime::backoff::jittered;

const SOON: Duration = Duration::from_secs(1);

const LOCAL: &str = "local:";

/// Sweeps at the start, then every `2 * grace`. Unloads programs whose owner was missing in the cache for
/// `grace`, and is missing in the database.
pub async fn sweep(shared: Arc<Shared>, grace: Duration) {
    let mut found = Found::default();
    loop {
        let wait = if shared.cache.known().complete() && shared.daemon_link.now().up {
            match round(&shared, &mut found, grace).await {
                Ok(()) => found.next(Instant::now(), grace),
                Err(away) => {
                    tracing::debug!(%away, "programs of state objects that are gone are not looked for");
                    jittered(grace)
                }
            }
        } else {
            SOON
        };
        tokio::time::sleep(wait).await;
    }
}

async fn round(shared: &Shared, found: &mut Found, grace: Duration) -> Result<(), Unreachable> {
    let mut owners = loaded(shared).await?;
    {
        let known = shared.cache.known();
        for state in known.states.values() {
            owners.remove(&state.uid);
        }
    }
    let due = found.due(owners, Instant::now(), grace);
    if due.is_empty() {
        return Ok(());
    }
    // The watch may lag behind the database, or hang without an event.
    let there = match shared.cluster.state_uids().await {
        Ok(there) => there,
        Err(error) => {
            tracing::warn!(%error, "programs whose state object seems to be gone are kept");
            return Ok(());
        }
    };
    for owner in due.into_iter().filter(|owner| !there.contains(&owner.uid)) {
        tracing::warn!(
            application = owner.name,
            uid = owner.uid,
            "its state object is gone, and no other agent unloads its programs"
        );
        let uid = owner.uid.clone();
        let report = shared.make(&Desired::nothing(owner), None).await?;
        if report.load == ReportedLoad::NotWanted {
            found.forget(&uid);
        } else {
            let why = report.failure.map(|failure| failure.message).unwrap_or_default();
            tracing::warn!(uid, why, "they cannot be unloaded, and are tried again");
        }
    }
    Ok(())
}

async fn loaded(shared: &Shared) -> Result<BTreeMap<String, ProgramOwner>, Unreachable> {
    let select = ListRequest { bpfman_programs_only: Some(true), ..ListRequest::default() };
    let programs = shared.programs(select).await?.unwrap_or_default();
    let metadata = programs.into_iter().filter_map(|program| Some(program.info?.metadata));
    Ok(metadata.filter_map(|metadata| owner(&metadata)).map(|owner| (owner.uid.clone(), owner)).collect())
}

pub(super) fn owner(metadata: &HashMap<String, String>) -> Option<ProgramOwner> {
    let uid = metadata.get(UUID_KEY).filter(|uid| !uid.is_empty() && !uid.starts_with(LOCAL))?;
    metadata.get(CONTENT_KEY)?;
    let name = metadata.get(PROGRAM_NAME_KEY)?;
    Some(ProgramOwner { namespace: None, name: name.clone(), uid: uid.clone() })
}

#[derive(Debug, Default)]
struct Found(HashMap<String, Instant>);

impl Found {
    fn due(
        &mut self,
        owners: BTreeMap<String, ProgramOwner>,
        now: Instant,
        grace: Duration,
    ) -> Vec<ProgramOwner> {
        self.0.retain(|uid, _| owners.contains_key(uid));
        let mut due = Vec::new();
        for (uid, owner) in owners {
            let since = *self.0.entry(uid).or_insert(now);
            if now.saturating_duration_since(since) >= grace {
                due.push(owner);
            }
        }
        due
    }

    fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    fn next(&self, now: Instant, grace: Duration) -> Duration {
        let left = |since: &Instant| (*since + grace).saturating_duration_since(now);
        // An owner that could not be unloaded is tried again after the whole grace period.
        let due = self.0.values().map(left).filter(|left| !left.is_zero()).min();
        due.unwrap_or_else(|| jittered(grace * if self.0.is_empty() { 2 } else { 1 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_programs_of_an_agent_are_managed() {
        let ours = [(UUID_KEY, "0-1"), (CONTENT_KEY, "aa"), (PROGRAM_NAME_KEY, "filter")];
        let found = owner(&metadata(&ours)).unwrap();
        assert_eq!((found.uid.as_str(), found.name.as_str()), ("0-1", "filter"));
        for without in 0..3 {
            let mut less = ours.to_vec();
            less.remove(without);
            assert_eq!(owner(&metadata(&less)), None, "{less:?}");
        }
        let local = [(UUID_KEY, "local:ClusterBpfApplication/filter"), ours[1], ours[2]];
        assert_eq!(owner(&metadata(&local)), None);
    }

    #[test]
    fn owner_without_state_object_is_due_after_grace() {
        let (mut found, start, grace) = (Found::default(), Instant::now(), Duration::from_secs(300));
        let owners = |uids: &[&str]| -> BTreeMap<String, ProgramOwner> {
            let owner = |uid: &&str| {
                ((*uid).to_owned(), ProgramOwner { uid: (*uid).to_owned(), ..ProgramOwner::default() })
            };
            uids.iter().map(owner).collect()
        };
        let mut due = |uids: &[&str], seconds| {
            let now = start + Duration::from_secs(seconds);
            let due = found.due(owners(uids), now, grace);
            let uids: Vec<String> = due.into_iter().map(|owner| owner.uid).collect();
            (uids, found.next(now, grace).as_secs())
        };
        assert_eq!(due(&["a"], 0), (vec![], 300));
        assert_eq!(due(&["a", "b"], 100), (vec![], 200));
        assert_eq!(due(&["b"], 200), (vec![], 200));
        assert_eq!(due(&["a", "b"], 400).0, ["b"]);
        let (none, wait) = due(&[], 500);
        assert!(none.is_empty() && (480..=720).contains(&wait), "{wait}");
    }
}
