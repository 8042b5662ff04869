//! Which maps a run follows, and what is in them.

use bpfman_proto::ext::v1 as ext;
use bpfmand_core::{MapRole, map_type};
use bpfmand_object::{GlobalVariable, ObjectFile, ValueLayout};

use crate::args::value::KeyValue;
use crate::error::CliError;

/// A map that is followed.
#[derive(Clone, Debug)]
pub struct FollowedMap {
    /// Name in the object.
    pub name: String,
    /// A program that uses it.
    pub program: u32,
    /// What is in it.
    pub contents: MapContents,
}

/// What is in a map.
#[derive(Clone, Debug)]
pub enum MapContents {
    /// Records of a ring buffer.
    Ring(Option<ValueLayout>),
    /// Records of a perf event array.
    Perf(Option<ValueLayout>),
    /// Keys and values.
    Entries {
        /// What keys are.
        key: Option<ValueLayout>,
        /// What values are.
        value: Option<ValueLayout>,
        /// Bytes from the value of one CPU to that of the next; none if there is one value for all.
        per_cpu: Option<usize>,
    },
    /// Global variables.
    Variables(Vec<GlobalVariable>),
}

/// Checks what `--record` says, before anything is loaded.
///
/// # Errors
/// It names no such map, or no such type.
pub fn check_records(object: &ObjectFile, records: &[KeyValue]) -> Result<(), CliError> {
    records.iter().try_for_each(|record| record_type(object, record).map(drop))
}

/// What the maps of the loaded programs hold, as the object says; `--record` says it of records where it does not.
///
/// # Errors
/// `--record` names no such type.
pub fn followed(
    object: &ObjectFile,
    maps: &[(u32, ext::Map)],
    records: &[KeyValue],
) -> Result<Vec<FollowedMap>, CliError> {
    let mut all = Vec::new();
    for (program, map) in maps {
        let named = records.iter().find(|record| record.key == map.name);
        let Some(contents) = contents(object, map, named)? else { continue };
        all.push(FollowedMap { name: map.name.clone(), program: *program, contents });
    }
    Ok(all)
}

/// The type of a map's records, as the user says it.
fn record_type(object: &ObjectFile, record: &KeyValue) -> Result<ValueLayout, CliError> {
    let KeyValue { key: map, value: name } = record;
    let rings = |kind| matches!(kind, map_type::RINGBUF | map_type::PERF_EVENT_ARRAY);
    let buffers: Vec<&str> =
        object.maps().iter().filter(|spec| rings(spec.map_type)).map(|spec| spec.name.as_str()).collect();
    if !buffers.contains(&map.as_str()) {
        return Err(CliError::Invalid {
            what: format!("--record {map}={name}: the object has no ring or perf buffer \"{map}\""),
            hint: (!buffers.is_empty()).then(|| format!("it has: {}", buffers.join(", "))),
        });
    }
    object.type_named(name).map_err(|there| CliError::Invalid {
        what: format!("--record {map}={name}: the object has no type \"{name}\""),
        hint: (!there.is_empty()).then(|| format!("its structures: {}", there.join(", "))),
    })
}

fn contents(
    object: &ObjectFile,
    map: &ext::Map,
    record: Option<&KeyValue>,
) -> Result<Option<MapContents>, CliError> {
    if is_read_only(object, &map.name) {
        return Ok(None);
    }
    let declared = object.declared_types(&map.name);
    let of_record = || record.map(|record| record_type(object, record)).transpose();
    Ok(match map.map_type {
        map_type::RINGBUF => Some(MapContents::Ring(of_record()?.or(declared.value))),
        map_type::PERF_EVENT_ARRAY => {
            // Older declarations say a number of four bytes, which is the descriptor of a buffer.
            let value = declared.value.filter(|layout| matches!(layout, ValueLayout::Struct { .. }));
            Some(MapContents::Perf(of_record()?.or(value)))
        }
        map_type::ARRAY if is_of_variables(object, &map.name) => {
            let variables = object.globals().iter().filter(|global| is_in(object, global, &map.name));
            Some(MapContents::Variables(variables.cloned().collect()))
        }
        kind if has_entries_to_follow(kind) => {
            let per_cpu = matches!(
                map.map_type,
                map_type::PERCPU_HASH | map_type::PERCPU_ARRAY | map_type::LRU_PERCPU_HASH
            );
            let number = || ValueLayout::Integer { bytes: 4, signed: false };
            let is_array = matches!(map.map_type, map_type::ARRAY | map_type::PERCPU_ARRAY);
            Some(MapContents::Entries {
                key: declared.key.or_else(|| is_array.then(number)),
                value: declared.value,
                per_cpu: per_cpu.then(|| (map.value_size as usize).next_multiple_of(8)),
            })
        }
        _ => None,
    })
}

fn role(object: &ObjectFile, map: &str) -> Option<MapRole> {
    object.maps().iter().find(|spec| spec.name == map).map(|spec| spec.role)
}

fn is_of_variables(object: &ObjectFile, map: &str) -> bool {
    matches!(role(object, map), Some(MapRole::Bss | MapRole::Data))
}

/// Nothing changes there.
fn is_read_only(object: &ObjectFile, map: &str) -> bool {
    !matches!(role(object, map), Some(MapRole::Ordinary | MapRole::Bss | MapRole::Data))
}

fn is_in(object: &ObjectFile, global: &GlobalVariable, map: &str) -> bool {
    object.maps().get(global.map).is_some_and(|spec| spec.name == map)
}
/// Whether a map of this type has entries that can be read again and again: arrays, hashes, tries, and their per-CPU forms.
pub const fn has_entries_to_follow(kind: u32) -> bool {
    matches!(
        kind,
        map_type::HASH
            | map_type::ARRAY
            | map_type::PERCPU_HASH
            | map_type::PERCPU_ARRAY
            | map_type::LRU_HASH
            | map_type::LRU_PERCPU_HASH
            | map_type::LPM_TRIE
    )
}
