//! Function lookup: names are read first, then the symbols with their offsets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod::Pod;
use object::read::elf::{FileHeader, SectionHeader as _, Sym as _};

use super::definitions::{Binding, Definitions};
use super::elf_binary::{Binary, CHUNK, each, identity, invalid, read_up_to};
use super::symbols::TargetFile;
use super::{debug_files, unwind_table};
use crate::ProbeTargetError;

/// C++ has some hundred functions with one suffix.
const MAX_PLACES: usize = 1 << 16;
/// Section with an xz-compressed ELF file of symbols. A user may have written it, so root does not decompress it.
const PACKED: &str = ".gnu_debugdata";

pub fn file_offset(target: &TargetFile, function: &str) -> Result<u64, ProbeTargetError> {
    let path = target.path().to_owned();
    let found = match identity(target.file()) {
        Ok(elf::ELFCLASS64) => find::<FileHeader64<Endianness>>(target, function),
        Ok(elf::ELFCLASS32) => find::<FileHeader32<Endianness>>(target, function),
        Ok(_) => Err(invalid("it is of no known class")),
        Err(error) => Err(error),
    };
    match found {
        Ok(Found::At { offset, .. }) => Ok(offset),
        Ok(Found::Nothing { is_imported: false }) => {
            Err(ProbeTargetError::NoFunction { path, function: function.to_owned() })
        }
        Ok(Found::Packed) => Err(ProbeTargetError::PackedSymbols { path, function: function.to_owned() }),
        Ok(Found::Nothing { is_imported: true }) => {
            Err(ProbeTargetError::Imported { path, function: function.to_owned() })
        }
        Ok(Found::ChosenAtRunTime) => {
            Err(ProbeTargetError::ChosenAtRunTime { path, function: function.to_owned() })
        }
        Ok(Found::Outside) => Err(ProbeTargetError::NotLoaded { path, function: function.to_owned() }),
        Ok(Found::Several(count)) => {
            Err(ProbeTargetError::SeveralFunctions { path, function: function.to_owned(), count })
        }
        Err(source) => Err(ProbeTargetError::NotBinary { path, source }),
    }
}

fn find<Elf: FileHeader<Endian = Endianness> + Pod>(
    target: &TargetFile,
    function: &str,
) -> io::Result<Found> {
    let binary = Binary::<Elf>::open(target.file())?;
    let in_binary = binary.find(&binary, function)?;
    if !matches!(in_binary, Found::Nothing { .. }) {
        return Ok(in_binary);
    }
    let found = target
        .debug_file(|| debug_files::of(target, &binary).unwrap_or_default())
        .and_then(|file| Binary::<Elf>::open(file).ok())
        .filter(|debug| debug.is_of_machine(&binary))
        .and_then(|debug| binary.find(&debug, function).ok())
        .filter(|found| !matches!(found, Found::Nothing { .. }));
    match found {
        Some(Found::At { address, .. }) if !unwind_table::has_start(&binary, address)? => Ok(in_binary),
        Some(found) => Ok(found),
        None if matches!(in_binary, Found::Nothing { is_imported: false })
            && binary.named_section(elf::SHT_PROGBITS, PACKED)?.is_some() =>
        {
            Ok(Found::Packed)
        }
        None => Ok(in_binary),
    }
}

enum Found {
    /// `address` is the symbol's virtual address.
    At {
        offset: u64,
        address: u64,
    },
    /// The file lacks the function.
    Nothing {
        /// Imported from a library.
        is_imported: bool,
    },
    /// The file lacks the function, and has packed symbols.
    Packed,
    ChosenAtRunTime,
    /// The function's address is in no loaded segment.
    Outside,
    Several(usize),
}

impl<Elf: FileHeader<Endian = Endianness> + Pod> Binary<'_, Elf> {
    fn find(&self, table: &Self, function: &str) -> io::Result<Found> {
        let mut is_imported = false;
        for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
            let definitions = table.definitions(kind, function)?;
            is_imported |= definitions.is_imported;
            if definitions.is_chosen_at_run_time() {
                return Ok(Found::ChosenAtRunTime);
            }
            match definitions.chosen() {
                Ok(None) => {}
                Ok(Some(address)) => {
                    let at = |offset| Found::At { offset, address };
                    return Ok(self.offset_of(address)?.map_or(Found::Outside, at));
                }
                Err(count) => return Ok(Found::Several(count)),
            }
        }
        Ok(Found::Nothing { is_imported })
    }

    fn is_of_machine(&self, other: &Self) -> bool {
        let of = |binary: &Self| (binary.endian, binary.header.e_machine(binary.endian));
        of(self) == of(other)
    }

    fn definitions(&self, kind: elf::SectionType, function: &str) -> io::Result<Definitions> {
        let endian = self.endian;
        let mut definitions = Definitions::default();
        let Some(table) = self.section(0, &mut |section| section.sh_type(endian) == kind)? else {
            return Ok(definitions);
        };
        let Some(names) = self.section(u64::from(table.sh_link(endian)), &mut |_| true)? else {
            return Ok(definitions);
        };
        let places =
            places_of(self.file(), names.sh_offset(endian).into(), names.sh_size(endian).into(), function)?;
        if places.is_empty() {
            return Ok(definitions);
        }
        let versions = match kind {
            elf::SHT_DYNSYM => {
                self.section(0, &mut |section| section.sh_type(endian) == elf::SHT_GNU_VERSYM)?
            }
            _ => None,
        };
        let versions: Option<u64> = versions.map(|section| section.sh_offset(endian).into());
        let bytes: u64 = table.sh_size(endian).into();
        let count = bytes / size_of::<Elf::Sym>() as u64;
        let mut number = 0;
        each::<Elf::Sym>(self.file(), table.sh_offset(endian).into(), count, &mut |symbol| {
            let place = places.binary_search_by_key(&symbol.st_name(endian), |(place, _)| *place);
            let is_older =
                |place: usize| places[place].1 || versions.is_some_and(|table| self.is_hidden(table, number));
            if let Ok(place) = place
                && is_definition::<Elf>(symbol, endian)
            {
                let is_weak = symbol.st_bind() == elf::STB_WEAK;
                let is_function = symbol.st_type() == elf::STT_FUNC;
                let binding = Binding { is_weak, is_older: is_older(place), is_function };
                definitions.add(symbol.st_value(endian).into(), binding);
            } else if let Ok(place) = place
                && is_defined::<Elf>(symbol, endian)
                && symbol.st_type() == elf::STT_GNU_IFUNC
            {
                definitions.add_resolver(is_older(place));
            } else if place.is_ok()
                && symbol.st_shndx(endian) == elf::SHN_UNDEF
                // Many binaries have weak references without a definition.
                && symbol.st_bind() != elf::STB_WEAK
                && [elf::STT_FUNC, elf::STT_NOTYPE].contains(&symbol.st_type())
            {
                definitions.is_imported = true;
            }
            number += 1;
            true
        })?;
        Ok(definitions)
    }

    fn is_hidden(&self, table: u64, number: u64) -> bool {
        const HIDDEN: u16 = 0x8000;
        let mut version = [0; 2];
        let at = number.checked_mul(2).and_then(|offset| offset.checked_add(table));
        let read = at.is_some_and(|at| self.file().read_exact_at(&mut version, at).is_ok());
        let version = match self.endian {
            Endianness::Little => u16::from_le_bytes(version),
            Endianness::Big => u16::from_be_bytes(version),
        };
        read && version & HIDDEN != 0
    }
}

pub(super) fn is_definition<Elf: FileHeader<Endian = Endianness>>(
    symbol: &Elf::Sym,
    endian: Endianness,
) -> bool {
    is_defined::<Elf>(symbol, endian)
        && matches!(symbol.st_type(), elf::STT_FUNC | elf::STT_OBJECT | elf::STT_NOTYPE)
}

fn is_defined<Elf: FileHeader<Endian = Endianness>>(symbol: &Elf::Sym, endian: Endianness) -> bool {
    let place = symbol.st_shndx(endian);
    place != elf::SHN_UNDEF && (!place.is_special() || place == elf::SHN_XINDEX)
}

/// Returns ascending offsets of a name, also as a suffix of others, and whether its version is old: one `@`, not two.
fn places_of(file: &File, at: u64, size: u64, name: &str) -> io::Result<Vec<(u32, bool)>> {
    let name = name.as_bytes();
    let mut places = Vec::new();
    let Some((first, _)) = name.split_first() else { return Ok(places) };
    if name.len() + 1 >= CHUNK {
        return Ok(places);
    }
    let mut buffer = vec![0_u8; CHUNK];
    let mut done = 0_u64;
    while done < size {
        let wanted = usize::try_from(size - done).unwrap_or(CHUNK).min(CHUNK);
        let read = read_up_to(file, &mut buffer[..wanted], at.saturating_add(done))?;
        let chunk = &buffer[..read];
        // A name that this chunk truncates is complete in the next one.
        let is_last = done + read as u64 >= size;
        let starts = read.saturating_sub(name.len() + usize::from(!is_last));
        for start in (0..starts).filter(|start| chunk[*start] == *first) {
            let end = start + name.len();
            if chunk[start..end] == *name && matches!(chunk[end], 0 | b'@') {
                let Ok(place) = u32::try_from(done + start as u64) else { return Ok(places) };
                let is_older = chunk[end] == b'@' && chunk.get(end + 1).is_some_and(|next| *next != b'@');
                places.push((place, is_older));
            }
        }
        if places.len() > MAX_PLACES {
            return Err(invalid("too many of its names end alike"));
        }
        if starts == 0 || read < wanted {
            return Ok(places);
        }
        done += starts as u64;
    }
    Ok(places)
}
