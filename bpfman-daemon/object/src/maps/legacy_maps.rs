use super::{MapTable, blank};
use crate::ObjectError;
use crate::btf::word;
use crate::elf::Elf;

/// `struct bpf_map_def`: type, key size, value size, entries, flags.
const MIN_DEFINITION: u64 = 20;
/// Longer definitions: aya's, and iproute2's (`struct bpf_elf_map`), perhaps with two numbers of an inner map.
const WITH_PINNING: [u64; 2] = [28, 36];
/// Pinning by name: 1 in both formats; iproute2 distinguishes per object (1) from global (2).
const PINNED: [u32; 2] = [1, 2];

pub(super) fn read(table: &mut MapTable, elf: &Elf, section: usize) -> Result<(), ObjectError> {
    let data = elf.section_data(section);
    let mut symbols: Vec<_> = elf
        .symbols_in(section)
        .filter(|symbol| !symbol.is_section && !symbol.is_function && !symbol.name.is_empty())
        // Assembler labels for debug information are local and have neither type nor size.
        .filter(|symbol| symbol.is_object || !symbol.is_local)
        .collect();
    symbols.sort_by_key(|symbol| symbol.value);
    for (index, symbol) in symbols.iter().enumerate() {
        let next = symbols.get(index + 1).map_or(data.len() as u64, |next| next.value);
        let len = if symbol.size == 0 { next.saturating_sub(symbol.value) } else { symbol.size };
        let bytes = usize::try_from(symbol.value)
            .ok()
            .zip(usize::try_from(symbol.value.saturating_add(len)).ok())
            .and_then(|(start, end)| data.get(start..end))
            .filter(|bytes| bytes.len() as u64 >= MIN_DEFINITION)
            .ok_or_else(|| {
                ObjectError::map(
                    symbol.name.clone(),
                    format!(
                        "its definition of {len} bytes is shorter than {MIN_DEFINITION} or outside its section"
                    ),
                )
            })?;
        let mut spec = blank(symbol.name.clone());
        spec.map_type = word(bytes, 0);
        spec.key_size = word(bytes, 4);
        spec.value_size = word(bytes, 8);
        spec.max_entries = word(bytes, 12);
        spec.flags = word(bytes, 16);
        spec.pin_by_name = WITH_PINNING.contains(&len) && PINNED.contains(&word(bytes, 24));
        if spec.map_type == 0 {
            return Err(ObjectError::map(symbol.name.clone(), "it has no type"));
        }
        table.add(section, symbol.value, spec)?;
    }
    Ok(())
}
