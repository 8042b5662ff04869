//! Watching many simulated namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_core::{AddressedInterface, NetnsId};

use super::World;
use crate::{KernelError, NetworkWatch};

type Seen = (NetnsId, Vec<AddressedInterface>);

#[derive(Debug)]
pub(super) struct Networks {
    world: Arc<Mutex<World>>,
    changed: Arc<Condvar>,
    seen: BTreeMap<Option<PathBuf>, Seen>,
}

impl Networks {
    pub fn new(world: &Arc<Mutex<World>>, changed: &Arc<Condvar>) -> Self {
        Self { world: Arc::clone(world), changed: Arc::clone(changed), seen: BTreeMap::new() }
    }
}

fn look(world: &World, path: &Option<PathBuf>) -> Option<Seen> {
    let namespace = world.network.namespace(path.as_deref()).ok()?;
    Some((namespace.id, namespace.addressed()))
}

impl NetworkWatch for Networks {
    fn follow(
        &mut self,
        namespaces: &BTreeSet<Option<PathBuf>>,
    ) -> Result<BTreeSet<Option<PathBuf>>, KernelError> {
        let world = Arc::clone(&self.world);
        let world = world.lock().unwrap_or_else(PoisonError::into_inner);
        self.seen.retain(|path, seen| {
            namespaces.contains(path) && look(&world, path).is_some_and(|(id, _)| id == seen.0)
        });
        let mut begun = BTreeSet::new();
        for path in namespaces.iter().filter(|path| !self.seen.contains_key(path)).collect::<Vec<_>>() {
            if let Some(seen) = look(&world, path) {
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
        let (world, changed) = (Arc::clone(&self.world), Arc::clone(&self.changed));
        let mut inside = world.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut told = BTreeSet::new();
            for (path, seen) in &mut self.seen {
                if let Some(now) = look(&inside, path).filter(|now| now != seen) {
                    *seen = now;
                    told.insert(path.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !told.is_empty() || left.is_zero() {
                return Ok(told);
            }
            (inside, _) = changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
