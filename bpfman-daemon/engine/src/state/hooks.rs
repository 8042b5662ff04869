//! Records of hooks, with an index by chain.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use bpfman_model::HookKey;

use crate::paths;
use crate::state::chain_record::{ChainId, ChainRecord, Composition};
use crate::state::records::HookRecord;

/// Hooks by key; every change goes through the methods, which maintain the indexes.
#[derive(Debug, Default)]
pub struct Hooks {
    all: HashMap<HookKey, Arc<HookRecord>>,
    of_chain: HashMap<ChainId, HashSet<HookKey>>,
    of_composition: HashMap<Composition, BTreeSet<ChainId>>,
    pins: HashMap<String, usize>,
}

impl Deref for Hooks {
    type Target = HashMap<HookKey, Arc<HookRecord>>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Hooks {
    pub fn insert(&mut self, key: HookKey, hook: Arc<HookRecord>) {
        self.remove(&key);
        for chain in chains_of(&hook) {
            self.of_chain.entry(chain.id).or_default().insert(key);
            if let Some(ids) = self.of_composition.get_mut(&chain.composition) {
                ids.insert(chain.id);
            } else {
                self.of_composition.insert(chain.composition.clone(), BTreeSet::from([chain.id]));
            }
        }
        *self.pins.entry(pin_of(&key)).or_default() += 1;
        self.all.insert(key, hook);
    }

    pub fn remove(&mut self, key: &HookKey) -> Option<Arc<HookRecord>> {
        let hook = self.all.remove(key)?;
        for chain in chains_of(&hook) {
            let Some(users) = self.of_chain.get_mut(&chain.id) else { continue };
            users.remove(key);
            if !users.is_empty() {
                continue;
            }
            self.of_chain.remove(&chain.id);
            if let Some(ids) = self.of_composition.get_mut(&chain.composition) {
                ids.remove(&chain.id);
                if ids.is_empty() {
                    self.of_composition.remove(&chain.composition);
                }
            }
        }
        let pin = pin_of(key);
        if let Some(count) = self.pins.get_mut(&pin) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&pin);
            }
        }
        Some(hook)
    }

    /// Returns the hooks that run a chain, or ran it until their last change.
    pub fn of_chain(&self, id: ChainId) -> impl Iterator<Item = &Arc<HookRecord>> {
        self.of_chain.get(&id).into_iter().flatten().filter_map(|key| self.all.get(key))
    }

    pub fn chain(&self, id: ChainId) -> Option<&ChainRecord> {
        self.of_chain(id).flat_map(|hook| chains_of(hook)).find(|chain| chain.id == id)
    }

    pub fn of_composition(&self, composition: &Composition) -> impl Iterator<Item = ChainId> {
        self.of_composition.get(composition).into_iter().flatten().copied()
    }

    pub fn have_pin(&self, path: &str) -> bool {
        self.pins.contains_key(path)
    }
}

fn chains_of(hook: &HookRecord) -> impl Iterator<Item = &ChainRecord> {
    hook.chain.iter().chain(hook.folding.iter().map(|folding| &folding.chain))
}

fn pin_of(key: &HookKey) -> String {
    paths::hook_link(key).display().to_string()
}
