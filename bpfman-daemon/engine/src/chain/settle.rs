//! Steps after the record of a changed hook.

use std::collections::HashSet;

use bpfman_model::HookKey;
use bpfmand_kernel::Kernel;

use crate::chain::built::BuiltChain;
use crate::engine::undo::retry_once;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Finishes a recorded change of a hook. An error does not undo it: the next change or start continues from there.
    pub(crate) fn settle_chain(&self, built: BuiltChain<'_, K>) -> Result<(), EngineError> {
        self.settle_chains(vec![built])
    }

    /// Finishes many changes with one wait for packets in former chains, and one record.
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

    /// Returns the record of a hook whose interface is gone or elsewhere: it runs nothing and contains all counts.
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

    pub(crate) fn drop_chains_of(&self, hook: &HookRecord) {
        if let Some(chain) = &hook.chain {
            self.note_leaving_chain(&hook.key, chain, &hook.slots);
        }
        let folding = hook.folding.as_ref().map(|folding| &folding.chain);
        hook.chain.iter().chain(folding).for_each(|chain| self.drop_unused_chain(chain));
    }
}
