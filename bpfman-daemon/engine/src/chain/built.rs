//! A chain that is ready to be entered or swapped in, and what keeps it until a record does.

use std::sync::Arc;

use bpfmand_core::{HookKey, Interface, LinkId, OperationId, ProgramId};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::libxdp::NewDispatcher;
use crate::state::chain_record::{ChainRecord, Folding, HookCounted, HookSettings};
use crate::state::records::{Entry, HookRecord, Strategy};
use crate::state::{LeaseId, Leased};

/// The program that a hook is to run.
///
/// Keep it until the hook runs it and the record says so, then give it to [`Engine::settle_chain`]. If it is dropped
/// before, what was loaded for it is gone again, unless another hook runs it too.
pub struct BuiltChain<'a, K: Kernel> {
    /// Which hook's.
    pub(super) key: HookKey,
    /// How it was made.
    pub strategy: Strategy,
    /// Keeps it loaded.
    pub handle: Arc<K::Handle>,
    /// The kernel's id.
    pub id: ProgramId,
    /// The kernel's tag.
    pub tag: [u8; 8],
    /// What was loaded for it; none for a member that is attached itself.
    pub(super) lease: Option<Lease<'a, K>>,
    /// Keeps what the hook ran before.
    pub(super) _before: Option<Lease<'a, K>>,
    /// What is counted already: everything before what the hook runs now.
    pub(super) counted: HookCounted,
    /// Whose each member is.
    pub(super) slots: Vec<LinkId>,
    /// XDP verdicts after which tenants' members drop instead, by bit.
    pub(super) unsent: u32,
    /// It lets what stands behind it run, whatever its members accept.
    pub(super) open: bool,
    /// Where the hook is held by libxdp: the dispatcher that this is.
    pub(crate) dispatcher: Option<NewDispatcher<'a, K>>,
}

impl<K: Kernel> BuiltChain<'_, K> {
    /// What keeps it, to be kept by somebody else too.
    pub(crate) fn leased(&self) -> Option<Leased> {
        self.lease.as_ref().map(|lease| Leased { record: Arc::clone(&lease.record), hook: self.key })
    }

    /// A hook that was entered for this, to be [recorded](Self::recorded).
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
            xdp: None,
        }
    }

    /// The record of a hook that runs this now.
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
            extensions: self.dispatcher.as_ref().map(|new| new.extensions.clone()).unwrap_or_default(),
            ..hook
        }
    }
}

/// Keeps what was loaded for a chain, also while no record names it.
pub(super) struct Lease<'a, K: Kernel> {
    engine: &'a Engine<K>,
    id: LeaseId,
    pub record: Arc<ChainRecord>,
}

impl<'a, K: Kernel> Lease<'a, K> {
    /// Keeps a chain.
    pub fn take(engine: &'a Engine<K>, record: Arc<ChainRecord>, hook: HookKey) -> Self {
        let id = engine.state().leases.take(Leased { record: Arc::clone(&record), hook });
        Self { engine, id, record }
    }

    /// Of a chain that was leased already.
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
