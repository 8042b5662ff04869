//! Watching the interfaces of a simulated namespace.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_core::{InterfaceEvent, NetnsId};

use super::World;
use crate::watch::Known;
use crate::{InterfaceWatch, KernelError};

#[derive(Debug)]
pub(super) struct SimWatch {
    world: Arc<Mutex<World>>,
    changed: Arc<Condvar>,
    path: Option<PathBuf>,
    namespace: NetnsId,
    known: Known,
    overruns: u64,
}

impl SimWatch {
    pub fn open(
        world: &Arc<Mutex<World>>,
        changed: &Arc<Condvar>,
        inside: &World,
        path: Option<&Path>,
    ) -> Result<Self, KernelError> {
        let namespace = inside.network.namespace(path)?;
        Ok(Self {
            world: Arc::clone(world),
            changed: Arc::clone(changed),
            path: path.map(Path::to_owned),
            namespace: namespace.id,
            known: Known::new(namespace.list()),
            overruns: inside.network.overruns,
        })
    }

    /// What there is to tell now.
    fn look(&mut self, world: &World) -> Vec<InterfaceEvent> {
        let namespace = world.network.namespace(self.path.as_deref()).ok();
        let Some(namespace) = namespace.filter(|found| found.id == self.namespace) else {
            return vec![InterfaceEvent::NamespaceGone];
        };
        if self.overruns != world.network.overruns {
            self.overruns = world.network.overruns;
            self.known = Known::new(namespace.list());
            return vec![InterfaceEvent::Lost];
        }
        self.known.see(namespace.list());
        self.known.take()
    }
}

impl InterfaceWatch for SimWatch {
    fn next(&mut self, timeout: Duration) -> Result<Vec<InterfaceEvent>, KernelError> {
        let deadline = Instant::now() + timeout;
        let (world, changed) = (Arc::clone(&self.world), Arc::clone(&self.changed));
        let mut inside = world.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let events = self.look(&inside);
            let left = deadline.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            (inside, _) = changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
