//! Sharing of one loaded chain by many hooks, and its removal after the last of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{HookKey, LinkId};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{CounterLayout, JoinMode};

use crate::chain::build::Joined;
use crate::chain::built::Lease;
use crate::engine::locks::Subject;
use crate::engine::undo::retry_once;
use crate::state::chain_record::{ChainId, ChainRecord, Composition};
use crate::state::records::HookRecord;
use crate::state::{LeaseId, Leased, State, UnclearedLeftovers};
use crate::{Engine, EngineError, paths};

fn has_programs_of(chain: &ChainRecord, members: &[Joined]) -> bool {
    let carried = chain.members.iter().zip(members);
    carried.into_iter().all(|(carried, member)| {
        carried.way != JoinMode::Standalone || carried.runs == Some(member.program.id)
    })
}

impl State {
    fn users_of_chain(&self, id: ChainId) -> impl Iterator<Item = HookKey> {
        let recorded = self.hooks.of_chain(id).map(|hook| hook.key);
        recorded.chain(self.leases.of_chain(id).map(|leased| leased.hook))
    }

    pub fn is_chain_used(&self, id: ChainId) -> bool {
        self.users_of_chain(id).next().is_some()
    }

    pub fn chain_of_id(&self, id: ChainId) -> Option<&ChainRecord> {
        let leased = || self.leases.of_chain(id).next().map(|leased| &*leased.record);
        self.hooks.chain(id).or_else(leased)
    }

    pub fn hooks_of_chain(&self, id: ChainId) -> usize {
        let runs = |hook: &&Arc<HookRecord>| hook.chain.as_ref().is_some_and(|chain| chain.id == id);
        self.hooks.of_chain(id).filter(runs).count()
    }

    /// Leases the chains of a composition that a hook may share, oldest first. Hooks that share a map of counters need
    /// different rows in it. The lock is held throughout, so that no found chain is removed before it is leased.
    fn lease_shareable(
        &mut self,
        composition: &Composition,
        key: &HookKey,
        slots: &[LinkId],
    ) -> Vec<(LeaseId, Arc<ChainRecord>)> {
        let leased = self.leases.of_composition(composition).map(|chain| chain.id);
        let ids: BTreeSet<ChainId> = self.hooks.of_composition(composition).chain(leased).collect();
        let row = |key: &HookKey| CounterLayout::row(key.ifindex.0);
        let may_share = |chain: &&ChainRecord| {
            let is_taken =
                || self.users_of_chain(chain.id).any(|hook| hook != *key && row(&hook) == row(key));
            // The counts in a row belong to the links that the record names.
            let mine =
                self.hooks.get(key).filter(|hook| hook.chain.as_ref().is_some_and(|own| own.id == chain.id));
            (chain.counters.is_none() && chain.twin.is_none())
                || (mine.is_none_or(|hook| hook.slots == slots) && !is_taken())
        };
        let found: Vec<Arc<ChainRecord>> = ids
            .into_iter()
            .filter_map(|id| self.chain_of_id(id).filter(may_share))
            .map(|chain| Arc::new(chain.clone()))
            .collect();
        let lease = |record: Arc<ChainRecord>| {
            (self.leases.take(Leased { record: Arc::clone(&record), hook: *key }), record)
        };
        found.into_iter().map(lease).collect()
    }
}

impl<K: Kernel> Engine<K> {
    pub(super) fn shared_chain(
        &self,
        composition: &Composition,
        key: &HookKey,
        members: &[Joined],
    ) -> Result<Option<Lease<'_, K>>, EngineError> {
        let slots: Vec<_> = members.iter().map(|member| member.link.id).collect();
        let found = self.state().lease_shareable(composition, key, &slots);
        let leases: Vec<_> = found.into_iter().map(|found| Lease::of(self, found)).collect();
        for lease in leases {
            // Other processes can remove pins, and a standalone member may have been loaded again since.
            if has_programs_of(&lease.record, members) && self.is_whole(&lease.record)? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    pub(crate) fn is_whole(&self, chain: &ChainRecord) -> Result<bool, EngineError> {
        if chain.boot != self.boot {
            return Ok(false);
        }
        let Some(folder) = self.chain_folder(chain.id)? else { return Ok(false) };
        let segments = chain.segments.iter().enumerate();
        let segments = segments.map(|(number, own)| (paths::segment(number), own.program, own.tag));
        let twins = chain.twin.iter().flat_map(|twin| twin.programs.iter().enumerate());
        let twins = twins.map(|(number, own)| (paths::twin(number), own.program, own.tag));
        for (name, id, tag) in segments.chain(twins) {
            let facts = self.pinned_program(&folder.join(name))?;
            if facts.map(|facts| (facts.id, facts.tag)) != Some((id, tag)) {
                return Ok(false);
            }
        }
        let arrays = chain.arrays.iter().enumerate().map(|(number, id)| (paths::array(number), *id));
        let counters = chain.counters.map(|id| (paths::COUNTERS.to_owned(), id));
        let times =
            chain.twin.iter().flat_map(|twin| [(paths::TICKS, twin.ticks), (paths::TIMES, twin.times)]);
        let times = times.map(|(name, id)| (name.to_owned(), id));
        for (name, id) in arrays.chain(counters).chain(times) {
            if self.pinned_map(&folder.join(name))? != Some(id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn chain_folder(&self, id: ChainId) -> Result<Option<std::path::PathBuf>, EngineError> {
        for folder in [paths::chain(id), paths::pending_chain(id)] {
            if !self.kernel.list_folder(&folder)?.is_empty() {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    /// Moves the pins from `pending` into place; idempotent.
    pub(crate) fn place_chain(&self, chain: &ChainRecord) -> Result<(), EngineError> {
        // Two hooks that share the chain may reach this at the same time.
        let _alone = self.lock(Subject::Composition(chain.composition.lock_number()));
        let pending = paths::pending_chain(chain.id);
        if !self.kernel.list_folder(&pending)?.is_empty() {
            self.kernel.make_folder(Path::new(paths::CHAINS))?;
            self.kernel.rename(&pending, &paths::chain(chain.id))?;
        }
        self.remove_pending_chain(chain.id)
    }

    fn remove_pending_chain(&self, id: ChainId) -> Result<(), EngineError> {
        self.remove_tree(&paths::pending(bpfman_model::OperationId(id.0)))
    }

    pub(crate) fn drop_unused_chain(&self, chain: &ChainRecord) {
        if chain.boot != self.boot || self.state().is_chain_used(chain.id) {
            return;
        }
        if let Err(error) = retry_once(|| self.remove_chain(chain)) {
            tracing::warn!(%error, chain = %chain.id, "what was loaded for a chain is still there");
            let operation = bpfman_model::OperationId(chain.id.0);
            let leftover = crate::state::records::LeftoverRecord {
                folders: vec![
                    paths::chain(chain.id).display().to_string(),
                    paths::pending(operation).display().to_string(),
                ],
                ..Default::default()
            };
            self.state().uncleared.push(UnclearedLeftovers::without_hooks(vec![operation], leftover));
        }
    }

    fn remove_chain(&self, chain: &ChainRecord) -> Result<(), EngineError> {
        if !chain.arrays.is_empty() {
            // The kernel clears a program array without holders, and a packet may be about to jump through it.
            self.kernel.wait_for_readers()?;
        }
        self.step("chain", "remove pins");
        self.remove_tree(&paths::chain(chain.id))?;
        self.remove_pending_chain(chain.id)
    }
}
