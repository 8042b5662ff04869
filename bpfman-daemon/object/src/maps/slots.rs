use super::MapTable;
use crate::ObjectError;
use crate::check::check_slots;
use crate::elf::{Elf, SymbolPlace};
use bpfman_model::map_type;

/// Initial value of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotTarget {
    /// Index of a map of the object.
    Map(usize),
    /// Name of a program of the object.
    Program(String),
}

/// Entry to be stored after the maps (or the programs) were created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialSlot {
    /// Index of the map with the slot.
    pub map: usize,
    /// Key: an index of four bytes.
    pub key: u32,
    pub target: SlotTarget,
}

const SLOT_BYTES: u64 = 8;

pub(super) fn read(table: &mut MapTable, elf: &Elf) -> Result<(), ObjectError> {
    let Some(section) = elf.section_named(".maps") else { return Ok(()) };
    let relocs = match elf.relocs.get(&section) {
        None => return Ok(()),
        Some(Ok(relocs)) => relocs,
        Some(Err(why)) => return Err(ObjectError::map(".maps", why.to_string())),
    };
    let mut places: Vec<(u64, usize)> = table
        .by_place
        .iter()
        .filter(|((at, _), _)| *at == section)
        .map(|((_, offset), map)| (*offset, *map))
        .collect();
    places.sort_unstable();
    for (offset, reloc) in relocs {
        let wrong = |why: &str| ObjectError::map(".maps", format!("slot at offset {offset:#x}: {why}"));
        let below = places.partition_point(|(start, _)| start <= offset);
        let (start, map) =
            *below.checked_sub(1).and_then(|at| places.get(at)).ok_or_else(|| wrong("belongs to no map"))?;
        let spec = &table.specs[map];
        let values = table.values_at.get(&map).ok_or_else(|| wrong("its map has no values"))?;
        let key = offset
            .checked_sub(start + values)
            .filter(|bytes| bytes.is_multiple_of(SLOT_BYTES))
            .and_then(|bytes| u32::try_from(bytes / SLOT_BYTES).ok())
            .ok_or_else(|| wrong("is not in its map's values"))?;
        let symbol = elf.symbols.get(reloc.symbol).ok_or_else(|| wrong("refers to no symbol"))?;
        let target = match symbol.place {
            SymbolPlace::Section(at) if map_type::holds_maps(spec.map_type) => table
                .declared(at, symbol.value)
                .map(SlotTarget::Map)
                .ok_or_else(|| wrong("refers to something that is no map"))?,
            SymbolPlace::Section(_) if spec.map_type == map_type::PROG_ARRAY && symbol.is_function => {
                SlotTarget::Program(symbol.name.clone())
            }
            _ => return Err(wrong("refers to something that its map cannot hold")),
        };
        table.slots.push(InitialSlot { map, key, target });
    }
    check_slots(&table.specs, &table.slots)
        .map_err(|why| ObjectError::map(".maps", format!("the object {why}")))
}
