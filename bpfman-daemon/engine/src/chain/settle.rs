//! What follows the record of a changed hook.

use std::collections::HashSet;

use bpfmand_core::HookKey;
use bpfmand_kernel::Kernel;

use crate::chain::built::BuiltChain;
use crate::engine::undo::retry_once;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Ends a change of a hook whose record names the chain now: its pins go to their place, what the chain before
    /// counted goes to the record, and that chain goes if nobody else runs it.
    ///
    /// # Errors
    /// The kernel or the store refuses. The change has happened; the next change or start goes on from there.
    pub(crate) fn settle_chain(&self, built: BuiltChain<'_, K>) -> Result<(), EngineError> {
        self.settle_chains(vec![built])
    }

    /// The same of many hooks, which wait together for packets that are inside the chains before, and record together
    /// what those counted.
    pub(crate) fn settle_chains(&self, mut all: Vec<BuiltChain<'_, K>>) -> Result<(), EngineError> {
        let mut placed = HashSet::new();
        for built in &mut all {
            if let Some(lease) = &built.lease
                && placed.insert(lease.record.id)
            {
                self.step("chain", "move into place");
                retry_once(|| self.place_chain(&lease.record))?;
            }
            if let Some(dispatcher) = built.dispatcher.take() {
                dispatcher.settle()?;
            }
        }
        let keys: Vec<HookKey> = all.iter().map(|built| built.key).collect();
        retry_once(|| self.fold_counters_of(&keys))
    }

    /// The record of a hook whose interface is gone, or is elsewhere: it runs nothing, and what it counted is in it.
    pub(crate) fn at_rest(&self, hook: &HookRecord) -> HookRecord {
        let mut counted = hook.counted.clone();
        let chains = hook.folding.iter().map(|folding| (&folding.chain, &folding.slots));
        for (chain, slots) in chains.chain(hook.chain.iter().map(|chain| (chain, &hook.slots))) {
            self.note_leaving_chain(&hook.key, chain, slots);
            if let Err(error) = self.add_row(&mut counted, chain, slots, &hook.key) {
                tracing::warn!(%error, "what was counted at an interface that is gone is lost");
            }
        }
        HookRecord {
            counted,
            folding: None,
            chain: None,
            slots: Vec::new(),
            number: None,
            xdp: None,
            ..hook.clone()
        }
    }

    /// Removes what was loaded for a hook whose record is gone, as far as nobody else runs it.
    pub(crate) fn drop_chains_of(&self, hook: &HookRecord) {
        if let Some(chain) = &hook.chain {
            self.note_leaving_chain(&hook.key, chain, &hook.slots);
        }
        let folding = hook.folding.as_ref().map(|folding| &folding.chain);
        hook.chain.iter().chain(folding).for_each(|chain| self.drop_unused_chain(chain));
    }
}
