use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::{AddressedInterface, NetnsId};

use super::SimState;
use crate::{KernelError, NetworkWatch};

type Seen = (NetnsId, Vec<AddressedInterface>);

#[derive(Debug)]
pub(super) struct Networks {
    state: Arc<Mutex<SimState>>,
    changed: Arc<Condvar>,
    seen: BTreeMap<Option<PathBuf>, Seen>,
}

impl Networks {
    pub fn new(state: &Arc<Mutex<SimState>>, changed: &Arc<Condvar>) -> Self {
        Self { state: Arc::clone(state), changed: Arc::clone(changed), seen: BTreeMap::new() }
    }
}

fn observe(state: &SimState, path: &Option<PathBuf>) -> Option<Seen> {
    let namespace = state.network.namespace(path.as_deref()).ok()?;
    Some((namespace.id, namespace.addressed()))
}

impl NetworkWatch for Networks {
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError> {
        let state = Arc::clone(&self.state);
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.retain(|path, seen| {
            namespaces.contains(path) && observe(&state, path).is_some_and(|(id, _)| id == seen.0)
        });
        let mut begun = BTreeSet::new();
        for path in namespaces.iter().filter(|path| !self.seen.contains_key(path)).collect::<Vec<_>>() {
            if let Some(seen) = observe(&state, path) {
                self.seen.insert(path.clone(), seen);
                begun.insert(path.clone());
            }
        }
        Ok(begun)
    }

    fn followed(&self) -> BTreeSet<Option<PathBuf>> {
        self.seen.keys().cloned().collect()
    }

    fn wait(&mut self, timeout: Duration) -> Result<BTreeSet<Option<PathBuf>>, KernelError> {
        let deadline = Instant::now() + timeout;
        let (state, changed) = (Arc::clone(&self.state), Arc::clone(&self.changed));
        let mut inside = state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut changed_now = BTreeSet::new();
            for (path, seen) in &mut self.seen {
                if let Some(now) = observe(&inside, path).filter(|now| now != seen) {
                    *seen = now;
                    changed_now.insert(path.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !changed_now.is_empty() || left.is_zero() {
                return Ok(changed_now);
            }
            (inside, _) = changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
