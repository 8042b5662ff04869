//! Maps that a run follows, and their contents.

use bpfman_model::{MapRole, map_type};
use bpfman_proto::ext::v1 as ext;
use bpfmand_object::{GlobalVariable, ObjectFile, ValueLayout};

use crate::args::value::KeyValue;
use crate::error::CliError;

#[derive(Clone, Debug)]
pub struct FollowedMap {
    pub name: String,
    pub program: u32,
    pub contents: MapContents,
}

#[derive(Clone, Debug)]
pub enum MapContents {
    Ring(Option<ValueLayout>),
    Perf(Option<ValueLayout>),
    Entries {
        key: Option<ValueLayout>,
        value: Option<ValueLayout>,
        /// Distance between values of two CPUs, in bytes; none if there is one value for all.
        per_cpu: Option<usize>,
    },
    Variables(Vec<GlobalVariable>),
}

pub fn check_records(object: &ObjectFile, records: &[KeyValue]) -> Result<(), CliError> {
    records.iter().try_for_each(|record| record_type(object, record).map(drop))
}

/// Returns the contents of maps, as declared in the object; `--record` declares records for maps without a type.
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

fn record_type(object: &ObjectFile, record: &KeyValue) -> Result<ValueLayout, CliError> {
    let KeyValue { key: map, value: name } = record;
    let rings = |kind| matches!(kind, map_type::RINGBUF | map_type::PERF_EVENT_ARRAY);
    let buffers: Vec<&str> =
        object.maps().iter().filter(|spec| rings(spec.map_type)).map(|spec| spec.name.as_str()).collect();
    if !buffers.contains(&map.as_str()) {
        return Err(CliError::Invalid {
            what: format!("--record {map}={name}: the object has no ring or perf buffer \"{map}\""),
            hint: (!buffers.is_empty()).then(|| format!("it has: {}", buffers.join(", ")).into()),
        });
    }
    object.type_named(name).map_err(|there| CliError::Invalid {
        what: format!("--record {map}={name}: the object has no type \"{name}\""),
        hint: (!there.is_empty()).then(|| format!("its structures: {}", there.join(", ")).into()),
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
            // Older declarations have a value of four bytes, the descriptor of a buffer.
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

fn is_read_only(object: &ObjectFile, map: &str) -> bool {
    !matches!(role(object, map), Some(MapRole::Ordinary | MapRole::Bss | MapRole::Data))
}

fn is_in(object: &ObjectFile, global: &GlobalVariable, map: &str) -> bool {
    object.maps().get(global.map).is_some_and(|spec| spec.name == map)
}
/// Returns whether entries of this map type can be read repeatedly: arrays, hashes, tries; also per-CPU.
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
