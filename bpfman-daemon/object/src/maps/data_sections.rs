use std::collections::HashMap;

use bpfman_model::{MapRole, MapSpec, map_type};

use super::{MapTable, blank};
use crate::ObjectError;
use crate::btf::{Btf, Type, fixup::datasec_layout};
use crate::elf::Elf;

/// The verifier can treat the contents as constants.
const RDONLY_PROG: u32 = 1 << 7;

/// Maximum size of all global variables, in bytes: zeroed ones take memory without taking file space.
const MAX_GLOBAL_BYTES: usize = 64 << 20;

/// Variables in address space 1, which clang uses for arenas.
const ARENA_SECTION: &str = ".addr_space.1";

pub(super) fn role_of(name: &str) -> Option<MapRole> {
    let is = |base: &str| name == base || name.strip_prefix(base).is_some_and(|rest| rest.starts_with('.'));
    if is(".rodata") {
        Some(MapRole::Rodata)
    } else if is(".data") {
        Some(MapRole::Data)
    } else if is(".bss") {
        Some(MapRole::Bss)
    } else {
        None
    }
}

pub(super) fn read(
    table: &mut MapTable,
    elf: &Elf,
    btf: Option<&Btf>,
    datasecs: &HashMap<&str, Type<'_>>,
) -> Result<(), ObjectError> {
    let mut total = 0;
    for (section, header) in elf.sections.iter().enumerate() {
        if header.name == ARENA_SECTION && header.size > 0 {
            total += header.size;
            arena(table, section, contents(elf, section))?;
            continue;
        }
        let Some(role) = role_of(&header.name).filter(|_| header.size > 0) else { continue };
        total += header.size;
        if total > MAX_GLOBAL_BYTES || table.specs.len() >= super::MAX_MAPS {
            let why = format!(
                "more than {MAX_GLOBAL_BYTES} bytes of global variables, or too many sections of them"
            );
            return Err(ObjectError::map(header.name.clone(), why));
        }
        let mut spec = array(header.name.clone(), role, contents(elf, section));
        spec.btf_value_type_id = btf
            .zip(datasecs.get(header.name.as_str()))
            .filter(|(btf, ty)| datasec_layout(btf, elf, ty).is_some_and(|(size, _)| size == spec.value_size))
            .map_or(0, |(_, ty)| ty.id);
        table.by_section.insert(section, table.specs.len());
        table.specs.push(spec);
    }
    Ok(())
}

/// Returns the contents of a section: zeros if it has no bytes in the file.
fn contents(elf: &Elf, section: usize) -> Vec<u8> {
    let mut initial = elf.section_data(section).to_vec();
    initial.resize(elf.sections[section].size, 0);
    initial
}

fn arena(table: &mut MapTable, section: usize, initial: Vec<u8>) -> Result<(), ObjectError> {
    let refuse = |why: &str| ObjectError::map(ARENA_SECTION, why);
    if initial.len() > MAX_GLOBAL_BYTES {
        return Err(refuse("more than 64 MiB of variables in an arena"));
    }
    let is_arena = |spec: &MapSpec| spec.map_type == map_type::ARENA;
    let mut arenas = (0..table.specs.len()).filter(|map| is_arena(&table.specs[*map]));
    let map = arenas.next().ok_or_else(|| {
        refuse("variables of address space 1 lie in an arena: declare a map of type BPF_MAP_TYPE_ARENA")
    })?;
    if arenas.next().is_some() {
        return Err(refuse(
            "the object has several arenas, so that it is unknown in which of them its variables lie",
        ));
    }
    if table.by_section.values().any(|other| *other == map) {
        return Err(refuse("two sections of variables for one arena"));
    }
    table.specs[map].initial = initial;
    table.by_section.insert(section, map);
    Ok(())
}

pub(super) fn kconfig(bytes: usize) -> MapSpec {
    array(".kconfig".to_owned(), MapRole::Rodata, vec![0; bytes])
}

fn array(name: String, role: MapRole, initial: Vec<u8>) -> MapSpec {
    let mut spec = blank(name);
    spec.map_type = map_type::ARRAY;
    spec.key_size = 4;
    // Section sizes are limited to 16 MiB.
    spec.value_size = initial.len() as u32;
    spec.max_entries = 1;
    spec.flags = if role == MapRole::Rodata { RDONLY_PROG } else { 0 };
    spec.role = role;
    spec.initial = initial;
    spec
}
