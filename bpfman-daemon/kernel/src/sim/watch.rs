use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_model::{InterfaceEvent, NetnsId};

use super::SimState;
use crate::watch::Known;
use crate::{InterfaceWatch, KernelError};

#[derive(Debug)]
pub(super) struct SimWatch {
    state: Arc<Mutex<SimState>>,
    changed: Arc<Condvar>,
    path: Option<PathBuf>,
    namespace: NetnsId,
    known: Known,
    overruns: u64,
}

impl SimWatch {
    pub fn open(
        state: &Arc<Mutex<SimState>>,
        changed: &Arc<Condvar>,
        inside: &SimState,
        path: Option<&Path>,
    ) -> Result<Self, KernelError> {
        let namespace = inside.network.namespace(path)?;
        Ok(Self {
            state: Arc::clone(state),
            changed: Arc::clone(changed),
            path: path.map(Path::to_owned),
            namespace: namespace.id,
            known: Known::new(namespace.list()),
            overruns: inside.network.overruns,
        })
    }

    fn observe(&mut self, state: &SimState) -> Vec<InterfaceEvent> {
        let namespace = state.network.namespace(self.path.as_deref()).ok();
        let Some(namespace) = namespace.filter(|found| found.id == self.namespace) else {
            return vec![InterfaceEvent::NamespaceGone];
        };
        if self.overruns != state.network.overruns {
            self.overruns = state.network.overruns;
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
        let (state, changed) = (Arc::clone(&self.state), Arc::clone(&self.changed));
        let mut inside = state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let events = self.observe(&inside);
            let left = deadline.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            (inside, _) = changed.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
