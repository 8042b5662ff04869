//! Global variables: what an object offers to be set before it loads.

use std::collections::{BTreeMap, HashMap};

use bpfmand_core::{MapRole, MapSpec};

use crate::ObjectError;
use crate::btf::{Btf, Kind};
use crate::elf::Elf;
use crate::maps::MapTable;

/// One global variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalVariable {
    /// Its name; for a variable inside a function `function.variable`.
    pub name: String,
    /// Index of the map that holds it.
    pub map: usize,
    /// Byte offset in that map's value.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
    /// Its type as in C, or `unknown` without type information.
    pub type_name: String,
    /// True if programs can only read it.
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
            let type_id = types.get(&(spec.name.as_str(), symbol.name.as_str()));
            found.push(GlobalVariable {
                name: symbol.name.clone(),
                map,
                offset,
                size,
                type_name: type_id
                    .zip(btf)
                    .map_or_else(|| "unknown".to_owned(), |(id, btf)| btf.describe(*id)),
                read_only: spec.role == MapRole::Rodata,
            });
        }
    }
    found.sort_by(|a, b| (&a.name, a.map, a.offset).cmp(&(&b.name, b.map, b.offset)));
    found
}

/// Writes values over the first contents of the maps that hold the variables.
pub(crate) fn write(
    globals: &[GlobalVariable],
    maps: &mut [MapSpec],
    values: &BTreeMap<String, Vec<u8>>,
) -> Result<(), ObjectError> {
    for (name, value) in values {
        let mut matching = globals.iter().filter(|global| &global.name == name);
        let Some(global) = matching.next() else {
            let mut available: Vec<String> = globals.iter().map(|global| global.name.clone()).collect();
            available.dedup();
            return Err(ObjectError::UnknownGlobal { name: name.clone(), available });
        };
        let more = matching.count();
        if more > 0 {
            return Err(ObjectError::AmbiguousGlobal { name: name.clone(), count: more + 1 });
        }
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
        // Zeroed globals need no first contents; these are zeroed no longer.
        if map.role == MapRole::Bss && map.initial.iter().any(|byte| *byte != 0) {
            map.role = MapRole::Data;
        }
    }
    Ok(())
}
