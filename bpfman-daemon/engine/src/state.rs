//! The records in memory, with the ways to look them up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bpfmand_core::{HookKey, LinkId, OperationId, Place, ProgramId, ProgramUid, order_chain, order_links};

use crate::records::{HookRecord, LinkRecord, ProgramRecord};

/// What the store holds, as the engine reads it.
#[derive(Debug, Default)]
pub struct State {
    /// Programs by our key.
    pub programs: BTreeMap<ProgramUid, Arc<ProgramRecord>>,
    /// Our key by the kernel's id.
    pub by_id: HashMap<ProgramId, ProgramUid>,
    /// Links by id.
    pub links: BTreeMap<LinkId, Arc<LinkRecord>>,
    /// Hooks by key.
    pub hooks: HashMap<HookKey, Arc<HookRecord>>,
    /// Operations whose leftovers are gone from the kernel, but not yet from the store.
    pub cleaned: Vec<OperationId>,
    /// The next number for an id of ours.
    pub counter: u64,
    /// Numbers below this one are reserved in the store: a restart begins there.
    pub reserved: u64,
}

impl State {
    /// A program by the kernel's id.
    pub fn program(&self, id: ProgramId) -> Option<&Arc<ProgramRecord>> {
        self.programs.get(self.by_id.get(&id)?)
    }

    /// Adds or replaces a program.
    pub fn put_program(&mut self, record: ProgramRecord) {
        if let Some(old) = self.programs.get(&record.uid).map(|old| old.id) {
            self.forget_id(old, record.uid);
        }
        self.by_id.insert(record.id, record.uid);
        self.programs.insert(record.uid, Arc::new(record));
    }

    /// Forgets a program.
    pub fn remove_program(&mut self, uid: ProgramUid) {
        if let Some(old) = self.programs.remove(&uid) {
            self.forget_id(old.id, uid);
        }
    }

    /// Ids begin anew after a reboot: until all programs are loaded again, the id of one may be the former id of another.
    fn forget_id(&mut self, id: ProgramId, uid: ProgramUid) {
        if self.by_id.get(&id) == Some(&uid) {
            self.by_id.remove(&id);
        }
    }

    /// Finds programs by the ids of their records again, once these are all of this boot.
    pub fn index_ids(&mut self) {
        self.by_id = self.programs.values().map(|program| (program.id, program.uid)).collect();
    }

    /// Links of a program, by id.
    pub fn links_of(&self, program: ProgramUid) -> impl Iterator<Item = &Arc<LinkRecord>> {
        self.links.values().filter(move |link| link.program == program)
    }

    /// Links of a hook, in the order in which their programs run.
    pub fn chain(&self, key: &HookKey) -> Vec<Arc<LinkRecord>> {
        let newcomer = self.hooks.get(key).and_then(|hook| hook.newcomer);
        let links = self.links.values().filter(|link| link.hook.as_ref() == Some(key)).cloned().collect();
        self.order(key, links, newcomer)
    }

    /// Sorts links of one hook into the order in which their programs run.
    pub fn order(
        &self,
        key: &HookKey,
        links: Vec<Arc<LinkRecord>>,
        newcomer: Option<LinkId>,
    ) -> Vec<Arc<LinkRecord>> {
        let mut places: Vec<Place> = links
            .iter()
            .map(|link| Place {
                link: link.id,
                program: link.program,
                name: self.programs.get(&link.program).map(|p| p.name.clone()).unwrap_or_default(),
                priority: link.point.priority().unwrap_or(0),
                sequence: link.sequence,
            })
            .collect();
        match key.kind {
            bpfmand_core::HookKind::Tcx(_) => order_links(&mut places),
            _ => order_chain(&mut places, newcomer),
        }
        let by_id: HashMap<LinkId, Arc<LinkRecord>> = links.into_iter().map(|link| (link.id, link)).collect();
        places.iter().filter_map(|place| by_id.get(&place.link).cloned()).collect()
    }

    /// Kernel ids of the programs that use a map folder, ascending.
    pub fn users_of_folder(&self, folder: ProgramId) -> Vec<ProgramId> {
        let mut users: Vec<ProgramId> =
            self.programs.values().filter(|p| p.map_folder == folder).map(|p| p.id).collect();
        users.sort_unstable();
        users
    }
}
