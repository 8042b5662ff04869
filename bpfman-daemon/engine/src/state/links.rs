//! Records of links, with indexes by hook, by network namespace and by program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use bpfman_model::{HookKey, HookNetns, LinkId, ProgramUid};

use crate::state::records::LinkRecord;

/// Links by id; every change goes through the methods, which maintain the indexes.
#[derive(Debug, Default)]
pub struct Links {
    all: BTreeMap<LinkId, Arc<LinkRecord>>,
    of_hook: HashMap<HookKey, BTreeSet<LinkId>>,
    of_netns: HashMap<HookNetns, BTreeSet<HookKey>>,
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
            self.of_netns.entry(key.netns).or_default().insert(key);
        }
        self.of_program.entry(link.program).or_default().insert(id);
        self.all.insert(id, link);
    }

    pub fn remove(&mut self, id: &LinkId) -> Option<Arc<LinkRecord>> {
        let link = self.all.remove(id)?;
        if let Some(key) = link.hook {
            take_out(&mut self.of_hook, &key, id);
            if !self.of_hook.contains_key(&key) {
                take_out(&mut self.of_netns, &key.netns, &key);
            }
        }
        take_out(&mut self.of_program, &link.program, id);
        Some(link)
    }

    pub fn of_hook(&self, key: &HookKey) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.of_hook.get(key).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    pub fn hooks_in(&self, netns: HookNetns) -> impl Iterator<Item = HookKey> {
        self.of_netns.get(&netns).into_iter().flatten().copied()
    }

    pub fn namespaces(&self) -> impl Iterator<Item = HookNetns> {
        self.of_netns.keys().copied()
    }

    pub fn of_program(&self, program: ProgramUid) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.of_program.get(&program).into_iter().flatten().filter_map(|id| self.all.get(id))
    }
}

fn take_out<K: Hash + Eq, V: Ord>(index: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}
