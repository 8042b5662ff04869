use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bpfman_model::{MapId, ProgramId};

use super::SimKernel;
use super::objects::{Body, Key, MAP, SimLinkTarget};
use super::pins::Node;

/// Program in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimProgram {
    /// Name that the kernel keeps.
    pub name: String,
    pub tag: [u8; 8],
    pub maps: Vec<MapId>,
    /// True if it was loaded without `CAP_PERFMON`.
    pub without_perfmon: bool,
}

/// Link in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimLink {
    pub program: ProgramId,
    /// Target of the link, as text.
    pub place: String,
}

/// Filter in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimFilter {
    pub program: ProgramId,
    pub name: String,
}

/// All live objects, by kernel id or path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimSnapshot {
    pub programs: BTreeMap<ProgramId, SimProgram>,
    /// Maps: name, and ids of the maps or programs in their slots.
    pub maps: BTreeMap<MapId, (String, Vec<u32>)>,
    pub links: BTreeMap<u32, SimLink>,
    /// Programs of each tcx hook, in the order in which they run.
    pub tcx: BTreeMap<String, Vec<ProgramId>>,
    /// Programs of each hook of a cgroup with links, in the order in which they run.
    pub groups: BTreeMap<String, Vec<ProgramId>>,
    /// Filters, by place, priority and handle.
    pub filters: BTreeMap<String, SimFilter>,
    /// Pins with the pinned object in words.
    pub pins: BTreeMap<PathBuf, String>,
    pub folders: BTreeSet<PathBuf>,
}

impl SimKernel {
    /// Returns the present contents of the kernel.
    #[must_use]
    pub fn snapshot(&self) -> SimSnapshot {
        let state = self.state();
        let id = |key: Key| state.objects.id(key);
        let mut snapshot = SimSnapshot::default();
        for object in state.objects.all.values() {
            match &object.body {
                Body::Btf => {}
                Body::Map { spec, slots, .. } => {
                    let slots = slots.values().map(|key| id(*key)).collect();
                    snapshot.maps.insert(MapId(object.id), (spec.name.clone(), slots));
                }
                Body::Program { name, tag, maps, without_perfmon, .. } => {
                    let maps = maps.iter().map(|map| MapId(id(*map))).collect();
                    let program =
                        SimProgram { name: name.clone(), tag: *tag, maps, without_perfmon: *without_perfmon };
                    snapshot.programs.insert(ProgramId(object.id), program);
                }
                Body::Link { program, place } => {
                    let program = match place {
                        SimLinkTarget::StructOps { .. } => ProgramId(0),
                        _ => ProgramId(id(*program)),
                    };
                    let place = match place {
                        SimLinkTarget::Xdp { netns, ifindex } => format!("xdp {} {ifindex}", netns.inode),
                        SimLinkTarget::Tcx { netns, ifindex, direction } => {
                            format!("tcx {} {ifindex} {direction}", netns.inode)
                        }
                        SimLinkTarget::Netkit { netns, ifindex, attach_type } => {
                            format!("netkit {} {ifindex} {attach_type}", netns.inode)
                        }
                        SimLinkTarget::Event(point) => point.clone(),
                        SimLinkTarget::Trampoline => "trampoline".to_owned(),
                        SimLinkTarget::Group { at } => at.clone(),
                        SimLinkTarget::Place { at, .. } => at.clone(),
                        SimLinkTarget::Replacement { target, function } => {
                            format!("function {function} of program {}", id(*target))
                        }
                        SimLinkTarget::Sockmap { map, attach_type } => {
                            format!("map {}, hook {attach_type}", id(*map))
                        }
                        SimLinkTarget::StructOps { map } => format!("functions of map {}", id(*map)),
                        SimLinkTarget::Nowhere { .. } => "nowhere".to_owned(),
                    };
                    snapshot.links.insert(object.id, SimLink { program, place });
                }
            }
        }
        for (at, hook) in state.network.groups.iter().filter(|(_, hook)| !hook.links.is_empty()) {
            let programs = hook.links.iter().filter_map(|link| state.program_of_link(*link));
            snapshot.groups.insert(at.clone(), programs.map(|key| ProgramId(id(key))).collect());
        }
        for ((netns, ifindex, direction), hook) in &state.network.tcx {
            let programs = hook.entries.iter().filter_map(|entry| state.program_at(*entry));
            let programs = programs.map(|key| ProgramId(id(key)));
            snapshot.tcx.insert(format!("{} {ifindex} {direction}", netns.inode), programs.collect());
        }
        for (((netns, ifindex, direction), priority, handle), filter) in &state.filters.all {
            let place = format!("{} {ifindex} {direction} {priority} {handle:#x}", netns.inode);
            let filter = SimFilter { program: ProgramId(id(filter.program)), name: filter.name.clone() };
            snapshot.filters.insert(place, filter);
        }
        for (path, node) in &state.pins.nodes {
            match node {
                Node::Folder => {
                    snapshot.folders.insert(path.clone());
                }
                Node::Pin(key) => {
                    let kind = match state.objects.all.get(key).map(|object| &object.body) {
                        Some(Body::Btf) => "btf",
                        Some(Body::Map { .. }) => "map",
                        Some(Body::Program { .. }) => "program",
                        Some(Body::Link { .. }) => "link",
                        None => "nothing",
                    };
                    snapshot.pins.insert(path.clone(), format!("{kind} {}", id(*key)));
                }
            }
        }
        snapshot
    }

    /// Returns the initial contents of a map of global variables.
    #[must_use]
    pub fn first_contents(&self, map: MapId) -> Option<Vec<u8>> {
        let state = self.state();
        match &state.objects.all.get(&state.objects.find(MAP, map.0)?)?.body {
            Body::Map { spec, .. } => Some(spec.initial.clone()),
            _ => None,
        }
    }
}
