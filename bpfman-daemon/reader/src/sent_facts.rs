//! Facts about an object in serialized form; contents of maps follow as bytes.

use bpfman_model::{MapRole, MapSpec};
use bpfmand_object::{
    GlobalVariable, InitialSlot, KconfigExtern, KconfigKind, MapTypes, ObjectFacts, ProgramEntry, SlotTarget,
    StructOpsMap, StructOpsMember, StructOpsValue, ValueLayout,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SentFacts {
    programs: Vec<SentEntry>,
    maps: Vec<SentMap>,
    types: Vec<(Option<(String, String)>, bool)>,
    slots: Vec<(usize, u32, SentTarget)>,
    globals: Vec<SentGlobal>,
    license: String,
    kconfig: Option<(usize, Vec<SentKconfig>)>,
    #[serde(default)]
    struct_ops: Vec<SentStructOps>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// Program of an object. The receiver parses the section name itself, since it decides by the result.
#[derive(Debug, Serialize, Deserialize)]
struct SentEntry {
    name: String,
    section: String,
    is_static: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SentRole {
    Ordinary,
    Data,
    Rodata,
    Bss,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentMap {
    name: String,
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    map_extra: u64,
    numa_node: u32,
    pin_by_name: bool,
    role: SentRole,
    initial: usize,
    types: [u32; 2],
    inner: Option<Box<SentMap>>,
}

type SentStructOps = (usize, String, Vec<(String, SentValue)>);

#[derive(Debug, Serialize, Deserialize)]
enum SentValue {
    Program(String),
    Data(Vec<u8>),
}

#[derive(Debug, Serialize, Deserialize)]
enum SentTarget {
    Map(usize),
    Program(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct SentGlobal {
    name: String,
    map: usize,
    offset: usize,
    size: usize,
    type_name: String,
    layout: ValueLayout,
    read_only: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SentKind {
    Bool,
    Char,
    Integer { signed: bool },
    Tristate,
    Text,
}

#[derive(Debug, Serialize, Deserialize)]
struct SentKconfig {
    name: String,
    offset: u32,
    size: u32,
    kind: SentKind,
    weak: bool,
}

impl SentFacts {
    /// Concatenates the contents of the maps.
    pub(crate) fn of(facts: &ObjectFacts) -> (Self, Vec<u8>) {
        let mut contents = Vec::new();
        for map in &facts.maps {
            contents.extend_from_slice(&map.initial);
        }
        let entry = |program: &ProgramEntry| SentEntry {
            name: program.name.clone(),
            section: program.section.clone(),
            is_static: program.is_static,
        };
        let target = |target: &SlotTarget| match target {
            SlotTarget::Map(map) => SentTarget::Map(*map),
            SlotTarget::Program(name) => SentTarget::Program(name.clone()),
        };
        let kconfig =
            |(map, all): &(usize, Vec<KconfigExtern>)| (*map, all.iter().map(sent_kconfig).collect());
        let sent = Self {
            programs: facts.programs.iter().map(entry).collect(),
            maps: facts.maps.iter().map(sent_map).collect(),
            types: facts.types.iter().map(|types| (types.shape.clone(), types.is_tied)).collect(),
            slots: facts.slots.iter().map(|slot| (slot.map, slot.key, target(&slot.target))).collect(),
            globals: facts.globals.iter().map(sent_global).collect(),
            license: facts.license.clone(),
            warnings: facts.warnings.clone(),
            kconfig: facts.kconfig.as_ref().map(kconfig),
            struct_ops: facts.struct_ops.iter().map(sent_struct_ops).collect(),
        };
        (sent, contents)
    }

    pub(crate) fn contents(&self) -> usize {
        self.maps.iter().fold(0, |sum, map| sum.saturating_add(map.initial))
    }

    /// Returns the facts with their contents, which have the announced size.
    pub(crate) fn with(self, contents: &[u8]) -> ObjectFacts {
        let mut left = contents;
        let map = |sent: SentMap| {
            let (initial, rest) = left.split_at(sent.initial.min(left.len()));
            left = rest;
            let initial = initial.to_vec();
            MapSpec { initial, ..map_of(sent) }
        };
        let maps = self.maps.into_iter().map(map).collect();
        let slot = |(map, key, target)| InitialSlot {
            map,
            key,
            target: match target {
                SentTarget::Map(map) => SlotTarget::Map(map),
                SentTarget::Program(name) => SlotTarget::Program(name),
            },
        };
        let entry = |sent: SentEntry| ProgramEntry::of_section(sent.name, sent.section, sent.is_static);
        ObjectFacts {
            programs: self.programs.into_iter().map(entry).collect(),
            maps,
            types: self.types.into_iter().map(|(shape, is_tied)| MapTypes { shape, is_tied }).collect(),
            slots: self.slots.into_iter().map(slot).collect(),
            globals: self.globals.into_iter().map(global_of).collect(),
            license: self.license,
            warnings: self.warnings,
            kconfig: self.kconfig.map(|(map, all)| (map, all.into_iter().map(kconfig_of).collect())),
            struct_ops: self.struct_ops.into_iter().map(struct_ops_of).collect(),
        }
    }
}

fn sent_map(map: &MapSpec) -> SentMap {
    SentMap {
        name: map.name.clone(),
        map_type: map.map_type,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        flags: map.flags,
        map_extra: map.map_extra,
        numa_node: map.numa_node,
        pin_by_name: map.pin_by_name,
        role: match map.role {
            MapRole::Ordinary => SentRole::Ordinary,
            MapRole::Data => SentRole::Data,
            MapRole::Rodata => SentRole::Rodata,
            MapRole::Bss => SentRole::Bss,
        },
        initial: map.initial.len(),
        types: [map.btf_key_type_id, map.btf_value_type_id],
        inner: map.inner.as_deref().map(sent_map).map(Box::new),
    }
}

fn map_of(sent: SentMap) -> MapSpec {
    let [btf_key_type_id, btf_value_type_id] = sent.types;
    MapSpec {
        name: sent.name,
        map_type: sent.map_type,
        key_size: sent.key_size,
        value_size: sent.value_size,
        max_entries: sent.max_entries,
        flags: sent.flags,
        map_extra: sent.map_extra,
        numa_node: sent.numa_node,
        pin_by_name: sent.pin_by_name,
        role: match sent.role {
            SentRole::Ordinary => MapRole::Ordinary,
            SentRole::Data => MapRole::Data,
            SentRole::Rodata => MapRole::Rodata,
            SentRole::Bss => MapRole::Bss,
        },
        initial: Vec::new(),
        btf_key_type_id,
        btf_value_type_id,
        inner: sent.inner.map(|inner| Box::new(map_of(*inner))),
    }
}

fn sent_global(global: &GlobalVariable) -> SentGlobal {
    let GlobalVariable { name, map, offset, size, type_name, layout, read_only } = global.clone();
    SentGlobal { name, map, offset, size, type_name, layout, read_only }
}

fn global_of(sent: SentGlobal) -> GlobalVariable {
    let SentGlobal { name, map, offset, size, type_name, layout, read_only } = sent;
    GlobalVariable { name, map, offset, size, type_name, layout, read_only }
}

fn sent_kconfig(kconfig: &KconfigExtern) -> SentKconfig {
    let KconfigExtern { name, offset, size, kind, weak } = kconfig.clone();
    let kind = match kind {
        KconfigKind::Bool => SentKind::Bool,
        KconfigKind::Char => SentKind::Char,
        KconfigKind::Integer { signed } => SentKind::Integer { signed },
        KconfigKind::Tristate => SentKind::Tristate,
        KconfigKind::Text => SentKind::Text,
    };
    SentKconfig { name, offset, size, kind, weak }
}

fn kconfig_of(sent: SentKconfig) -> KconfigExtern {
    let SentKconfig { name, offset, size, kind, weak } = sent;
    let kind = match kind {
        SentKind::Bool => KconfigKind::Bool,
        SentKind::Char => KconfigKind::Char,
        SentKind::Integer { signed } => KconfigKind::Integer { signed },
        SentKind::Tristate => KconfigKind::Tristate,
        SentKind::Text => KconfigKind::Text,
    };
    KconfigExtern { name, offset, size, kind, weak }
}

fn sent_struct_ops(map: &StructOpsMap) -> SentStructOps {
    let member = |member: &StructOpsMember| {
        let value = match &member.value {
            StructOpsValue::Program(name) => SentValue::Program(name.clone()),
            StructOpsValue::Data(bytes) => SentValue::Data(bytes.clone()),
        };
        (member.name.clone(), value)
    };
    (map.map, map.structure.clone(), map.members.iter().map(member).collect())
}

fn struct_ops_of((map, structure, members): SentStructOps) -> StructOpsMap {
    let member = |(name, value)| StructOpsMember {
        name,
        value: match value {
            SentValue::Program(name) => StructOpsValue::Program(name),
            SentValue::Data(bytes) => StructOpsValue::Data(bytes),
        },
    };
    StructOpsMap { map, structure, members: members.into_iter().map(member).collect() }
}
