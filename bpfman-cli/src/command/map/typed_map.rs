//! Map with the types of its keys and values.

use bpfman_client::Services;
use bpfman_model::{Hint, MapId, map_type};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::named_map::Map;
use bpfmand_object::{DeclaredTypes, ProgramTypes, ValueLayout, is_prefix, plain_bytes, prefix_of_text};

use crate::args::map::MapName;
use crate::args::value_error::ValueError;
use crate::command::program_name::program_id;
use crate::error::CliError;
use crate::show::entry_value::EntryTypes;
use crate::show::value::TypedValue;

#[derive(Debug)]
pub struct TypedMap {
    pub named: MapName,
    pub wire: ext::NamedMap,
    pub map: ext::Map,
    pub description: ext::MapDescription,
    pub types: EntryTypes,
    pub program_types: Option<ProgramTypes>,
}

/// Returns the wire form of a map's name, with the id of its program. A program without a map is an error.
pub async fn named_map(services: &mut Services, named: &MapName) -> Result<ext::NamedMap, CliError> {
    Ok(map_of(match named {
        MapName::Id(id) => Map::MapId(*id),
        MapName::Program(_) => {
            return Err(CliError::Usage(ValueError::NotMap(named.to_string()).to_string()));
        }
        MapName::OfProgram { program, name } => {
            let program_id = program_id(services, program).await?;
            Map::OfProgram(ext::MapOfProgram { program_id, name: name.clone() })
        }
    }))
}

const fn map_of(map: Map) -> ext::NamedMap {
    ext::NamedMap { map: Some(map) }
}

impl TypedMap {
    pub async fn describe(services: &mut Services, named: MapName) -> Result<Self, CliError> {
        let wire = named_map(services, &named).await?;
        let (description, map, program_types) = ask(services, wire.clone()).await?;
        let mut declared = DeclaredTypes::default();
        if description.lies_in.is_empty() {
            declared = program_types.as_ref().map(|types| types.declared(&map.name)).unwrap_or_default();
        }
        for outer in &description.lies_in {
            let (_, outer, types) = ask(services, map_of(Map::MapId(*outer))).await?;
            declared = types.map(|types| types.declared_inner(&outer.name)).unwrap_or_default();
            if declared != DeclaredTypes::default() {
                break;
            }
        }
        let types = entry_types(&map, declared, &description);
        Ok(Self { named, wire, map, description, types, program_types })
    }

    pub fn is_buffer(&self) -> bool {
        matches!(self.map.map_type, map_type::RINGBUF | map_type::USER_RINGBUF | map_type::PERF_EVENT_ARRAY)
    }

    pub fn has_no_keys(&self) -> bool {
        matches!(self.map.map_type, map_type::QUEUE | map_type::STACK)
    }

    pub fn ensure_entries(&self) -> Result<(), CliError> {
        if !self.is_buffer() {
            return Ok(());
        }
        Err(CliError::Invalid {
            what: format!("{} is a buffer of records: it has no entries", self.text()),
            hint: Some(Hint::WatchMap(MapId(self.map.id))),
        })
    }

    pub fn text(&self) -> String {
        format!("map {} \"{}\" ({})", self.map.id, self.map.name, map_type::name(self.map.map_type))
    }

    pub fn key(&self, text: Option<&str>) -> Result<Vec<u8>, CliError> {
        self.ensure_entries()?;
        let wrong = |what: String, hint| Err(CliError::Invalid { what, hint });
        match (text, self.has_no_keys()) {
            (None, true) => Ok(Vec::new()),
            (None, false) => wrong(format!("a key is missing: {} has keys", self.text()), self.key_hint()),
            (Some(_), true) => wrong(format!("{} has no keys: leave the key out", self.text()), None),
            (Some(text), false) => {
                let size = self.map.key_size as usize;
                // The kernel's map type decides, not the name of the key's type.
                let is_trie = self.map.map_type == map_type::LPM_TRIE;
                let prefix = if is_trie { prefix_of_text(text, size) } else { None };
                let bytes = match (prefix, &self.types.key) {
                    (Some(prefix), _) => prefix,
                    (None, Some(layout)) => layout.key_of_text(text),
                    (None, None) => plain_bytes(text, size),
                };
                bytes.or_else(|why| wrong(format!("key of {}: {why}", self.text()), self.key_hint()))
            }
        }
    }

    fn key_hint(&self) -> Option<Hint> {
        if self.types.prefixes {
            let example = if self.map.key_size == 8 { "10.0.0.0/8" } else { "2001:db8::/32" };
            return Some(format!("a key is a prefix like {example}, or its fields").into());
        }
        self.type_hint("key", &self.description.key_type, self.map.key_size)
    }

    fn value_hint(&self) -> Option<Hint> {
        self.type_hint("value", &self.description.value_type, self.map.value_size)
    }

    fn type_hint(&self, what: &str, name: &str, size: u32) -> Option<Hint> {
        let text = match name {
            "" => format!("no type of the {what} is known: it has {size} bytes"),
            name => format!("the {what} is of type {name}, of {size} bytes"),
        };
        Some(text.into())
    }

    /// Parses a complete value to its bytes; none if the text omits parts of it.
    pub fn whole_value(&self, text: &str) -> Result<Option<Vec<u8>>, CliError> {
        let size = self.map.value_size as usize;
        match &self.types.value {
            None => self.checked(plain_bytes(text, size)).map(Some),
            Some(layout) => match layout.key_of_text(text) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(_) if is_compound(layout) => {
                    // This reports an error in a partial value.
                    self.write_part(text, &mut vec![0; size]).map(|()| None)
                }
                Err(why) => self.checked(Err(why)),
            },
        }
    }

    /// Overwrites the named parts of the value of each CPU.
    pub fn write_part(&self, text: &str, bytes: &mut [u8]) -> Result<(), CliError> {
        let Some(layout) = &self.types.value else { return Ok(()) };
        let size = self.map.value_size as usize;
        for one in bytes.chunks_mut(self.types.per_cpu.unwrap_or(size).max(1)) {
            let one = one.get_mut(..size).unwrap_or_default();
            self.checked(layout.write_value_text(one, text))?;
        }
        Ok(())
    }

    fn checked<T>(&self, written: Result<T, String>) -> Result<T, CliError> {
        written.map_err(|why| CliError::Invalid {
            what: format!("value of {}: {why}", self.text()),
            hint: self.value_hint(),
        })
    }

    pub fn shown_key(&self, key: &[u8]) -> TypedValue {
        self.types.read_key(key)
    }
}

async fn ask(
    services: &mut Services,
    named: ext::NamedMap,
) -> Result<(ext::MapDescription, ext::Map, Option<ProgramTypes>), CliError> {
    let request = ext::DescribeMapRequest { map: Some(named) };
    let answer = services.map_entries.describe_map(request).await?.into_inner();
    let lacks = |part| CliError::Incomplete { call: "DescribeMap", part };
    let description = answer.map.ok_or(lacks("the map"))?;
    let map = description.map.clone().ok_or(lacks("the map's facts"))?;
    // Without types, bytes are shown. The types are not damaged, because the kernel accepted this BTF.
    let types = (!answer.types.is_empty()).then(|| ProgramTypes::parse(answer.types).ok()).flatten();
    Ok((description, map, types))
}

/// Returns declared types that have the sizes of the kernel's map.
fn entry_types(map: &ext::Map, declared: DeclaredTypes, description: &ext::MapDescription) -> EntryTypes {
    let number = || ValueLayout::Integer { bytes: 4, signed: false };
    let fits = |layout: &ValueLayout, size: u32| layout.size() == Some(size as usize);
    let is_numbered =
        matches!(map.map_type, map_type::ARRAY | map_type::PERCPU_ARRAY | map_type::ARRAY_OF_MAPS);
    let key = declared.key.filter(|layout| fits(layout, map.key_size));
    let value = declared.value.filter(|layout| fits(layout, map.value_size));
    EntryTypes {
        prefixes: map.map_type == map_type::LPM_TRIE && key.as_ref().is_some_and(is_prefix),
        key: key.or_else(|| (is_numbered && map.key_size == 4).then(number)),
        value: if map_type::holds_maps(map.map_type) { Some(number()) } else { value },
        per_cpu: (description.cpus > 0).then(|| (map.value_size as usize).next_multiple_of(8)),
    }
}

const fn is_compound(layout: &ValueLayout) -> bool {
    matches!(layout, ValueLayout::Struct { .. } | ValueLayout::Array { .. })
}
