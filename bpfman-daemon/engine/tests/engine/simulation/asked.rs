//! Requested state according to the answers to clients: the programs and links that must exist.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::{AttachPoint, LinkId, ProgramUid};
use bpfmand_engine::Engine;
use bpfmand_kernel::sim::SimKernel;

use super::schedule::{Change, PROGRAMS};
use crate::bench::Ask as _;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub programs: BTreeMap<ProgramUid, usize>,
    pub links: BTreeMap<LinkId, AskedLink>,
}

pub type AskedLink = (ProgramUid, String, Option<i32>);

pub fn place(point: &AttachPoint) -> String {
    match point.hook() {
        Some((interface, kind)) => format!("{kind:?} of {}", interface.name),
        None => format!("{point:?}"),
    }
}

#[derive(Clone, Debug)]
pub enum Made {
    Program(ProgramUid, usize),
    Link(LinkId, ProgramUid, String, Option<i32>),
    Moved(LinkId, i32),
    Gone(LinkId),
    Replaced,
    Unloaded(ProgramUid),
}

impl Asked {
    pub fn of(engine: &Engine<SimKernel>) -> Self {
        let programs =
            engine.list(&bpfman_model::Selector { managed_only: true, ..Default::default() }).unwrap();
        let managed = programs.into_iter().filter_map(|program| program.managed);
        let links = engine.all_links();
        Self {
            programs: managed
                .map(|managed| (managed.record.uid, managed.record.metadata["index"].parse().unwrap()))
                .collect(),
            links: links
                .iter()
                .map(|link| {
                    let point = &link.record.point;
                    (link.record.id, (link.program.uid, place(point), point.priority()))
                })
                .collect(),
        }
    }

    pub fn program(&self, index: usize) -> Option<(ProgramUid, usize)> {
        self.programs.iter().nth(index % self.programs.len().max(1)).map(|(uid, index)| (*uid, *index))
    }

    pub fn not_loaded(&self, index: usize) -> Option<usize> {
        let loaded: BTreeSet<usize> = self.programs.values().copied().collect();
        let free: Vec<usize> = (0..PROGRAMS.len()).filter(|program| !loaded.contains(program)).collect();
        free.get(index % free.len().max(1)).copied()
    }

    pub fn link(&self, index: usize) -> Option<LinkId> {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.get(index % links.len().max(1)).copied()
    }

    pub fn apply(&mut self, made: &Made) {
        match made {
            Made::Program(uid, index) => drop(self.programs.insert(*uid, *index)),
            Made::Link(id, uid, place, priority) => {
                self.links.insert(*id, (*uid, place.clone(), *priority));
            }
            Made::Moved(id, priority) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.2 = Some(*priority);
                }
            }
            Made::Gone(id) => drop(self.links.remove(id)),
            Made::Replaced => {}
            Made::Unloaded(uid) => {
                self.programs.remove(uid);
                self.links.retain(|_, link| link.0 != *uid);
            }
        }
    }

    /// Returns whether `found` is this state, or its state after `change`, which got no answer.
    pub fn is_or_became(&self, found: &Self, change: Change) -> bool {
        if found == self {
            return true;
        }
        let mut without = found.clone();
        match change {
            Change::Load { program } => {
                let new = found.programs.iter().find(|(uid, _)| !self.programs.contains_key(uid));
                let new = new.filter(|(_, index)| self.not_loaded(program) == Some(**index));
                new.is_some_and(|(uid, _)| without.programs.remove(uid).is_some()) && without == *self
            }
            Change::Attach { program, .. } => {
                let new = found.links.iter().find(|(id, _)| !self.links.contains_key(id));
                let new = new.map(|(id, link)| (*id, link.0));
                new.is_some_and(|(id, uid)| {
                    self.program(program).is_some_and(|found| found.0 == uid)
                        && without.links.remove(&id).is_some()
                }) && without == *self
            }
            Change::Move { link, .. } => {
                let Some(link) = self.link(link) else { return false };
                let (mut before, mut after) = (self.clone(), without);
                before.links.remove(&link);
                after.links.remove(&link).is_some() && before == after
            }
            Change::Detach { link } => {
                let mut before = self.clone();
                self.link(link).is_some_and(|link| before.links.remove(&link).is_some()) && before == *found
            }
            Change::Replace { .. } => false,
            Change::Unload { program } => {
                let mut before = self.clone();
                self.program(program).is_some_and(|(uid, _)| {
                    before.apply(&Made::Unloaded(uid));
                    before == *found
                })
            }
        }
    }
}
