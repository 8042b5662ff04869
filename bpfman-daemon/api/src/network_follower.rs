//! The interfaces of this machine for those who follow them from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfmand_core::AddressedInterface;
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::{Kernel, KernelError, NetworkWatch};

/// All interfaces with their addresses, by namespace; none stands for the daemon's own.
pub type NetworkState = BTreeMap<Option<PathBuf>, Vec<AddressedInterface>>;

/// Follows the interfaces of the daemon's own namespace, of all that have a name, and of some more.
pub struct NetworkFollower<K: Kernel> {
    engine: Arc<Engine<K>>,
    asked: BTreeSet<PathBuf>,
    watch: Box<dyn NetworkWatch>,
    state: NetworkState,
}

impl<K: Kernel> NetworkFollower<K> {
    /// Looks at all of them. Files that lead to no namespace, or to none any more, are left out; they are looked at again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin(engine: Arc<Engine<K>>, asked: BTreeSet<PathBuf>) -> Result<Self, EngineError> {
        let watch = engine.kernel().watch_network();
        let mut follower = Self { engine, asked, watch, state: NetworkState::new() };
        follower.look(BTreeSet::new())?;
        Ok(follower)
    }

    /// All interfaces, as they were at the last look.
    #[must_use]
    pub const fn state(&self) -> &NetworkState {
        &self.state
    }

    /// Waits until something may have changed, at most so long, and looks. Answers whether the state is another now.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn next(&mut self, timeout: Duration) -> Result<bool, EngineError> {
        let told = self.watch.wait(timeout)?;
        self.look(told)
    }

    /// Looks into these namespaces again, and into those that are new.
    fn look(&mut self, mut told: BTreeSet<Option<PathBuf>>) -> Result<bool, EngineError> {
        let named = self.engine.kernel().named_namespaces().into_iter();
        let wanted = named.chain(self.asked.iter().cloned()).map(Some).chain([None]).collect();
        // Watched first, so that nothing is missed between the two.
        told.extend(self.watch.follow(&wanted)?);
        let followed = self.watch.followed();
        let before = self.state.len();
        self.state.retain(|netns, _| followed.contains(netns));
        let mut changed = self.state.len() != before;
        for netns in told.intersection(&followed) {
            match self.engine.kernel().addressed_interfaces(netns.as_deref()) {
                Ok(now) => changed |= self.state.insert(netns.clone(), now.clone()) != Some(now),
                // Gone since.
                Err(KernelError::NoNamespace { .. }) => changed |= self.state.remove(netns).is_some(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(changed)
    }
}
