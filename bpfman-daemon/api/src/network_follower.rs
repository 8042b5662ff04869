//! Interfaces of this machine, for clients that follow them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::AddressedInterface;
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::{Kernel, KernelError, NetworkWatch};

/// Interfaces with their addresses, by network namespace; `None` is the daemon's own.
pub type NetworkState = BTreeMap<Option<PathBuf>, Vec<AddressedInterface>>;

/// Follower of the interfaces in the daemon's own network namespace, in all named ones, and in the requested ones.
pub struct NetworkFollower<K: Kernel> {
    engine: Arc<Engine<K>>,
    asked: BTreeSet<PathBuf>,
    watch: Box<dyn NetworkWatch>,
    state: NetworkState,
}

impl<K: Kernel> NetworkFollower<K> {
    /// Reads all interfaces. Files that do not lead to a namespace are skipped, and tried again at every update.
    pub fn begin(engine: Arc<Engine<K>>, asked: BTreeSet<PathBuf>) -> Result<Self, EngineError> {
        let watch = engine.kernel().watch_network();
        let mut follower = Self { engine, asked, watch, state: NetworkState::new() };
        follower.look(BTreeSet::new())?;
        Ok(follower)
    }

    #[must_use]
    pub const fn state(&self) -> &NetworkState {
        &self.state
    }

    /// Waits until something may have changed, at most for `timeout`, then updates. Returns whether the state changed.
    pub fn next(&mut self, timeout: Duration) -> Result<bool, EngineError> {
        let told = self.watch.wait(timeout)?;
        self.look(told)
    }

    fn look(&mut self, mut told: BTreeSet<Option<PathBuf>>) -> Result<bool, EngineError> {
        let named = self.engine.kernel().named_namespaces().into_iter();
        let wanted = named.chain(self.asked.iter().cloned()).map(Some).chain([None]).collect();
        // Watch before reading, so that no change between the two is missed.
        told.extend(self.watch.follow(&wanted)?);
        let followed = self.watch.followed();
        let before = self.state.len();
        self.state.retain(|netns, _| followed.contains(netns));
        let mut changed = self.state.len() != before;
        for netns in told.intersection(&followed) {
            match self.engine.kernel().addressed_interfaces(netns.as_deref()) {
                Ok(now) => changed |= self.state.insert(netns.clone(), now.clone()) != Some(now),
                // The namespace was removed in the meantime.
                Err(KernelError::NoNamespace { .. }) => changed |= self.state.remove(netns).is_some(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(changed)
    }
}
