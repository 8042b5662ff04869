use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bpfman_model::{Direction, IfIndex, MapSpec, NetnsId, map_type};

use super::SimState;
use crate::ProgramKind;

/// Key of an object, never reused.
pub(super) type Key = u64;

/// Map type that is emptied when only programs refer to a map: programs do not keep each other alive through it.
const EMPTIED: u32 = map_type::PROG_ARRAY;

/// Keeps an object of a simulated kernel alive.
#[derive(Debug)]
pub struct SimHandle {
    pub(super) state: Arc<Mutex<SimState>>,
    pub(super) generation: u64,
    pub(super) key: Key,
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A handle from before a reboot holds nothing.
        if state.objects.generation == self.generation {
            state.let_go(self.key);
        }
    }
}

#[derive(Debug)]
pub(super) enum Body {
    Btf,
    Map {
        spec: MapSpec,
        max_entries: u32,
        slots: BTreeMap<u32, Key>,
        /// Without entries of arrays that were never written.
        entries: BTreeMap<Vec<u8>, Vec<u8>>,
    },
    Program {
        name: String,
        kind: ProgramKind,
        tag: [u8; 8],
        gpl: bool,
        insns: u32,
        loaded_at: SystemTime,
        attach_btf_id: u32,
        btf: Option<Key>,
        types: Option<Arc<[u8]>>,
        maps: Vec<Key>,
        target: Option<Key>,
        device: Option<(NetnsId, IfIndex)>,
        without_perfmon: bool,
    },
    Link {
        program: Key,
        place: SimLinkTarget,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SimLinkTarget {
    Xdp {
        netns: NetnsId,
        ifindex: IfIndex,
    },
    Tcx {
        netns: NetnsId,
        ifindex: IfIndex,
        direction: Direction,
    },
    Netkit {
        netns: NetnsId,
        ifindex: IfIndex,
        attach_type: u32,
    },
    Event(String),
    Trampoline,
    Place {
        kernel_type: u32,
        at: String,
    },
    Group {
        at: String,
    },
    Sockmap {
        map: Key,
        attach_type: u32,
    },
    StructOps {
        map: Key,
    },
    Replacement {
        target: Key,
        function: u32,
    },
    /// Removed interface, or a link that was detached by force.
    Nowhere {
        kernel_type: u32,
    },
}

#[derive(Debug)]
pub(super) struct Object {
    pub id: u32,
    pub held: usize,
    pub used: usize,
    pub body: Body,
}

#[derive(Debug, Default)]
pub(super) struct Objects {
    pub all: BTreeMap<Key, Object>,
    last_key: Key,
    /// BTF, map, program, link.
    last_ids: [u32; 4],
    by_id: BTreeMap<(usize, u32), Key>,
    pub generation: u64,
}

pub(super) const MAP: usize = 1;
pub(super) const PROGRAM: usize = 2;
pub(super) const LINK: usize = 3;

impl Body {
    const fn kind(&self) -> usize {
        match self {
            Self::Btf => 0,
            Self::Map { .. } => MAP,
            Self::Program { .. } => PROGRAM,
            Self::Link { .. } => LINK,
        }
    }

    fn uses(&self) -> Vec<Key> {
        match self {
            Self::Btf => Vec::new(),
            Self::Map { slots, .. } => slots.values().copied().collect(),
            Self::Program { btf, maps, target, .. } => {
                maps.iter().chain(btf).chain(target).copied().collect()
            }
            Self::Link { program, place: SimLinkTarget::Replacement { target, .. } } => {
                vec![*program, *target]
            }
            Self::Link { program, place: SimLinkTarget::Sockmap { map, .. } } => vec![*program, *map],
            Self::Link { place: SimLinkTarget::StructOps { map }, .. } => vec![*map],
            Self::Link { program, .. } => vec![*program],
        }
    }
}

impl Objects {
    pub fn add(&mut self, body: Body) -> Key {
        for used in body.uses() {
            self.use_it(used);
        }
        self.last_key += 1;
        let kind = body.kind();
        self.last_ids[kind] += 1;
        let id = self.last_ids[kind];
        self.by_id.insert((kind, id), self.last_key);
        self.all.insert(self.last_key, Object { id, held: 0, used: 0, body });
        self.last_key
    }

    pub fn find(&self, kind: usize, id: u32) -> Option<Key> {
        self.by_id.get(&(kind, id)).copied()
    }

    pub fn ids(&self, kind: usize) -> impl Iterator<Item = u32> {
        self.by_id.range((kind, 0)..=(kind, u32::MAX)).map(|((_, id), _)| *id)
    }

    pub fn id(&self, key: Key) -> u32 {
        self.all.get(&key).map_or(0, |object| object.id)
    }

    pub fn hold(&mut self, key: Key) {
        if let Some(object) = self.all.get_mut(&key) {
            object.held += 1;
        }
    }

    pub fn use_it(&mut self, key: Key) {
        if let Some(object) = self.all.get_mut(&key) {
            object.used += 1;
        }
    }

    /// Removes all objects. The new generation invalidates earlier handles.
    pub fn reboot(&mut self) {
        self.all.clear();
        self.by_id.clear();
        self.last_ids = [0; 4];
        self.generation += 1;
    }
}

impl SimState {
    pub(super) fn let_go(&mut self, key: Key) {
        let Some(object) = self.objects.all.get_mut(&key) else { return };
        object.held = object.held.saturating_sub(1);
        if object.held == 0
            && let Body::Map { spec, slots, .. } = &mut object.body
            && spec.map_type == EMPTIED
        {
            for program in std::mem::take(slots).into_values() {
                self.unuse(program);
            }
        }
        self.collect(key);
    }

    pub(super) fn unuse(&mut self, key: Key) {
        let Some(object) = self.objects.all.get_mut(&key) else { return };
        object.used = object.used.saturating_sub(1);
        self.collect(key);
    }

    fn collect(&mut self, key: Key) {
        if self.objects.all.get(&key).is_none_or(|object| object.held > 0 || object.used > 0) {
            return;
        }
        let Some(object) = self.objects.all.remove(&key) else { return };
        self.objects.by_id.remove(&(object.body.kind(), object.id));
        if let Body::Link { place, .. } = &object.body {
            self.network.leave(place, key);
        }
        for used in object.body.uses() {
            self.unuse(used);
        }
    }
}
