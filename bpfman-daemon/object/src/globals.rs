use std::collections::{BTreeMap, HashMap};

use bpfman_model::{MapRole, MapSpec, from_hexadecimal};

use crate::ObjectError;
use crate::bit_field::{read_bits, sign_extended};
use crate::btf::{Btf, Kind};
use crate::elf::Elf;
use crate::layout::{MAX_PARTS, ValueLayout};
use crate::maps::MapTable;
use crate::value_text;

/// Global variable of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalVariable {
    /// Name; `function.variable` for a variable inside a function.
    pub name: String,
    /// Index of the map that holds the variable.
    pub map: usize,
    /// Byte offset in that map's value.
    pub offset: usize,
    pub size: usize,
    /// Type as in C, or `unknown` without type information.
    pub type_name: String,
    /// Layout of the value; opaque without type information.
    pub layout: ValueLayout,
    /// Set if programs can only read the variable.
    pub read_only: bool,
}

pub(crate) fn read(elf: &Elf, btf: Option<&Btf>, maps: &MapTable) -> Vec<GlobalVariable> {
    let mut types: HashMap<(&str, &str), u32> = HashMap::new();
    if let Some(btf) = btf {
        for datasec in btf.types().filter(|ty| ty.kind == Kind::Datasec) {
            let section = btf.name(&datasec);
            for variable in datasec.sec_infos().filter_map(|info| btf.get(info.type_id)) {
                types.insert((section, btf.name(&variable)), variable.size_or_type);
            }
        }
    }
    let mut found = Vec::new();
    let mut parts = MAX_PARTS;
    for (section, map) in maps.data_sections() {
        let spec = &maps.specs[map];
        let variables = elf
            .symbols_in(section)
            .filter(|symbol| symbol.is_object && symbol.size > 0 && !symbol.name.is_empty());
        for symbol in variables {
            let end = symbol.value.checked_add(symbol.size);
            let (Ok(offset), Ok(size)) = (usize::try_from(symbol.value), usize::try_from(symbol.size)) else {
                continue;
            };
            if end.is_none_or(|end| end > spec.initial.len() as u64) {
                continue;
            }
            let opaque = ValueLayout::Opaque { bytes: size };
            let type_id = types.get(&(elf.sections[section].name.as_str(), symbol.name.as_str()));
            found.push(GlobalVariable {
                name: symbol.name.clone(),
                map,
                offset,
                size,
                type_name: type_id
                    .zip(btf)
                    .map_or_else(|| "unknown".to_owned(), |(id, btf)| btf.describe(*id)),
                layout: type_id.zip(btf).map_or(opaque, |(id, btf)| btf.layout(*id, size, &mut parts)),
                read_only: spec.role == MapRole::Rodata,
            });
        }
    }
    found.sort_by(|a, b| (&a.name, a.map, a.offset).cmp(&(&b.name, b.map, b.offset)));
    found
}

/// Returns a value as text; `None` for a layout without a short text, and for bytes of another size.
pub(crate) fn text_of(layout: &ValueLayout, bytes: &[u8]) -> Option<String> {
    if layout.size() != Some(bytes.len()) || bytes.len() > 16 {
        return None;
    }
    let count = u32::try_from(bytes.len()).ok()? * 8;
    let value = read_bits(bytes, 0, count);
    let number = || match layout.is_signed() {
        true => sign_extended(value, count).to_string(),
        false => value.to_string(),
    };
    match layout {
        ValueLayout::Integer { .. } => Some(number()),
        ValueLayout::Bool => match value {
            0 => Some("false".to_owned()),
            1 => Some("true".to_owned()),
            _ => None,
        },
        ValueLayout::Enumeration { names, .. } => {
            let wide = sign_extended(value, count);
            let named = names
                .iter()
                .find(|(_, known)| i128::from(known.cast_signed()) == wide || u128::from(*known) == value);
            Some(named.map_or_else(number, |(name, _)| name.clone()))
        }
        _ => None,
    }
}

/// Finds a variable by name, with a binary search: the list is sorted by name and may be very long.
pub(crate) fn find<'a>(globals: &'a [GlobalVariable], name: &str) -> Result<&'a GlobalVariable, ObjectError> {
    let first = globals.partition_point(|global| global.name.as_str() < name);
    let mut matching = globals[first..].iter().take_while(|global| global.name == name);
    let Some(global) = matching.next() else {
        let mut available: Vec<String> = globals.iter().map(|global| global.name.clone()).collect();
        available.dedup();
        return Err(ObjectError::UnknownGlobal { name: name.to_owned(), available });
    };
    match matching.count() {
        0 => Ok(global),
        more => Err(ObjectError::AmbiguousGlobal { name: name.to_owned(), count: more + 1 }),
    }
}

/// Parses a value of the variable's type, or hexadecimal digits unless `by_type_only`. Unnamed parts keep their values.
pub(crate) fn bytes_of(
    globals: &[GlobalVariable],
    maps: &[MapSpec],
    (name, text): (&str, &str),
    by_type_only: bool,
) -> Result<Vec<u8>, ObjectError> {
    let global = find(globals, name)?;
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    if let Some(bytes) = from_hexadecimal(digits).filter(|bytes| !by_type_only && bytes.len() == global.size)
    {
        return Ok(bytes);
    }
    let first =
        maps.get(global.map).and_then(|map| map.initial.get(global.offset..global.offset + global.size));
    let mut bytes = first.map_or_else(|| vec![0; global.size], <[u8]>::to_vec);
    match value_text::write(&global.layout, &mut bytes, text) {
        Ok(()) => Ok(bytes),
        Err(why) => {
            Err(ObjectError::GlobalText { name: name.to_owned(), type_name: global.type_name.clone(), why })
        }
    }
}

pub(crate) fn write(
    globals: &[GlobalVariable],
    maps: &mut [MapSpec],
    values: &BTreeMap<String, Vec<u8>>,
) -> Result<(), ObjectError> {
    for (name, value) in values {
        let global = find(globals, name)?;
        if value.len() != global.size {
            return Err(ObjectError::GlobalSize {
                name: name.clone(),
                type_name: global.type_name.clone(),
                expected: global.size,
                given: value.len(),
            });
        }
        let Some(map) = maps.get_mut(global.map) else { continue };
        if let Some(place) = map.initial.get_mut(global.offset..global.offset + global.size) {
            place.copy_from_slice(value);
        }
        // A zeroed section has no initial contents; this one is no longer zeroed.
        if map.role == MapRole::Bss && map.initial.iter().any(|byte| *byte != 0) {
            map.role = MapRole::Data;
        }
    }
    Ok(())
}
