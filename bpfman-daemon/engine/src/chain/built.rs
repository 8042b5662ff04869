//! Chain that is ready to be attached or swapped in. Its lease keeps its objects until a record names them.

use std::sync::Arc;

use bpfman_model::{HookKey, Interface, LinkId, OperationId, ProgramId};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::libxdp::NewDispatcher;
use crate::state::chain_record::{ChainRecord, Folding, HookCounted, HookSettings};
use crate::state::records::{Entry, HookRecord, Strategy};
use crate::state::{LeaseId, Leased, Unsent};

/// Program that a hook is about to run. Keep it until the hook runs it and the record names it, then pass it to
/// [`Engine::settle_chain`]. If it is dropped before, its unshared objects are removed.
pub struct BuiltChain<'a, K: Kernel> {
    pub(super) key: HookKey,
    pub strategy: Strategy,
    pub handle: Arc<K::Handle>,
    pub id: ProgramId,
    pub tag: [u8; 8],
    /// `None` for a member that is attached directly.
    pub(super) lease: Option<Lease<'a, K>>,
    pub(super) _before: Option<Lease<'a, K>>,
    pub(super) counted: HookCounted,
    pub(super) slots: Vec<LinkId>,
    pub(super) unsent: Unsent,
    pub(super) withheld: Vec<LinkId>,
    pub(super) open: bool,
    pub(crate) dispatcher: Option<NewDispatcher<'a, K>>,
}

impl<K: Kernel> BuiltChain<'_, K> {
    pub(crate) fn leased(&self) -> Option<Leased> {
        self.lease.as_ref().map(|lease| Leased { record: Arc::clone(&lease.record), hook: self.key })
    }

    pub fn entered(&self, interface: Interface, operation: OperationId, entry: Entry) -> HookRecord {
        HookRecord {
            key: self.key,
            interface,
            operation,
            newcomer: None,
            entry,
            strategy: self.strategy,
            program: self.id,
            tag: self.tag,
            chain: None,
            slots: Vec::new(),
            folding: None,
            counted: HookCounted::default(),
            settings: HookSettings::default(),
            adopted_link: false,
            extensions: Vec::new(),
            number: None,
            open: self.open,
            unsent: self.unsent,
            withheld: self.withheld.clone(),
            xdp: None,
            kernel_link: None,
        }
    }

    pub fn recorded(&self, hook: HookRecord) -> HookRecord {
        let chain = self.lease.as_ref().map(|lease| (*lease.record).clone());
        let is_other = |old: &ChainRecord| chain.as_ref().is_none_or(|new| new.id != old.id);
        let before = hook.chain.filter(|old| old.counters.is_some() && is_other(old));
        let folding = before.map(|chain| Folding { chain, slots: hook.slots });
        HookRecord {
            strategy: self.strategy,
            program: self.id,
            tag: self.tag,
            chain,
            slots: self.slots.clone(),
            folding,
            counted: self.counted.clone(),
            open: hook.open || self.open,
            unsent: self.unsent,
            withheld: self.withheld.clone(),
            extensions: self.dispatcher.as_ref().map(|new| new.extensions.clone()).unwrap_or_default(),
            ..hook
        }
    }
}

/// Keeps the objects of a chain loaded while no record names it.
pub(super) struct Lease<'a, K: Kernel> {
    engine: &'a Engine<K>,
    id: LeaseId,
    pub record: Arc<ChainRecord>,
}

impl<'a, K: Kernel> Lease<'a, K> {
    pub fn take(engine: &'a Engine<K>, record: Arc<ChainRecord>, hook: HookKey) -> Self {
        let id = engine.state().leases.take(Leased { record: Arc::clone(&record), hook });
        Self { engine, id, record }
    }

    pub fn of(engine: &'a Engine<K>, (id, record): (LeaseId, Arc<ChainRecord>)) -> Self {
        Self { engine, id, record }
    }
}

impl<K: Kernel> Drop for Lease<'_, K> {
    fn drop(&mut self) {
        self.engine.state().leases.end(self.record.id, self.id);
        self.engine.drop_unused_chain(&self.record);
    }
}
