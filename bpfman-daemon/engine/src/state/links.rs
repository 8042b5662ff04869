//! Records of links, with indexes by hook and by program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use bpfmand_core::{HookKey, LinkId, ProgramUid};

use crate::state::records::LinkRecord;

/// Links by id. It dereferences to the map; every change goes through its methods, which maintain the indexes.
#[derive(Debug, Default)]
pub struct Links {
    all: BTreeMap<LinkId, Arc<LinkRecord>>,
    of_hook: HashMap<HookKey, BTreeSet<LinkId>>,
    of_program: HashMap<ProgramUid, BTreeSet<LinkId>>,
}

impl Deref for Links {
    type Target = BTreeMap<LinkId, Arc<LinkRecord>>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Links {
    pub fn insert(&mut self, id: LinkId, link: Arc<LinkRecord>) {
        self.remove(&id);
        if let Some(key) = link.hook {
            self.of_hook.entry(key).or_default().insert(id);
        }
        self.of_program.entry(link.program).or_default().insert(id);
        self.all.insert(id, link);
    }

    pub fn remove(&mut self, id: &LinkId) -> Option<Arc<LinkRecord>> {
        let link = self.all.remove(id)?;
        if let Some(key) = link.hook {
            take_out(&mut self.of_hook, &key, id);
        }
        take_out(&mut self.of_program, &link.program, id);
        Some(link)
    }

    /// Returns the links of a hook, ordered by id.
    pub fn of_hook(&self, key: &HookKey) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.of_hook.get(key).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    /// Returns the links of a program, ordered by id.
    pub fn of_program(&self, program: ProgramUid) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.of_program.get(&program).into_iter().flatten().filter_map(|id| self.all.get(id))
    }
}

fn take_out<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<LinkId>>, key: &K, id: &LinkId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}
