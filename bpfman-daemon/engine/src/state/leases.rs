//! Chains that operations keep, in addition to those that records of hooks name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bpfman_model::HookKey;

use crate::state::chain_record::{ChainId, ChainRecord, Composition};

#[derive(Clone, Debug)]
pub struct Leased {
    pub record: Arc<ChainRecord>,
    pub hook: HookKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId(u64);

#[derive(Debug, Default)]
pub struct Leases {
    next: u64,
    of_chain: HashMap<ChainId, BTreeMap<LeaseId, Leased>>,
}

impl Leases {
    pub fn take(&mut self, leased: Leased) -> LeaseId {
        let id = LeaseId(self.next);
        self.next += 1;
        self.of_chain.entry(leased.record.id).or_default().insert(id, leased);
        id
    }

    pub fn end(&mut self, chain: ChainId, id: LeaseId) {
        if let Some(leases) = self.of_chain.get_mut(&chain) {
            leases.remove(&id);
            if leases.is_empty() {
                self.of_chain.remove(&chain);
            }
        }
    }

    pub fn of_chain(&self, id: ChainId) -> impl Iterator<Item = &Leased> {
        self.of_chain.get(&id).into_iter().flat_map(BTreeMap::values)
    }

    pub fn of_composition<'a>(
        &'a self,
        composition: &'a Composition,
    ) -> impl Iterator<Item = &'a Arc<ChainRecord>> {
        let first = self.of_chain.values().filter_map(|leases| leases.values().next());
        first.map(|leased| &leased.record).filter(move |chain| chain.composition == *composition)
    }
}
