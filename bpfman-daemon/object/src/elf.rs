//! ELF parser: checks the file once, then holds owned tables.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader, Sym};

use crate::{MAX_OBJECT_BYTES, ObjectError, RelocationError};

const EM_BPF: u16 = 247;
/// Maximum number of sections. clang writes some dozens.
const MAX_SECTIONS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct ElfSection {
    pub name: String,
    pub kind: u32,
    pub flags: u64,
    /// Size in memory, in bytes; `SHT_NOBITS` sections have no bytes in the file.
    pub size: usize,
    data: Range<usize>,
}

impl ElfSection {
    pub(crate) const fn is_code(&self) -> bool {
        self.kind == elf::SHT_PROGBITS.0 && self.flags & elf::SHF_EXECINSTR.0 != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SymbolPlace {
    Undefined,
    Section(usize),
    /// A linker would allocate it (`-fcommon`).
    Common,
    Elsewhere,
}

#[derive(Debug)]
pub(crate) struct Symbol {
    pub name: String,
    pub place: SymbolPlace,
    pub value: u64,
    pub size: u64,
    pub is_function: bool,
    pub is_object: bool,
    pub is_section: bool,
    pub is_local: bool,
    pub is_weak: bool,
    /// Set for hidden symbols: hidden functions are not verified separately.
    pub is_hidden: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reloc {
    pub symbol: usize,
    pub kind: u32,
}

/// Relocations of a section by byte offset. An unreadable table affects only programs that use the section.
pub(crate) type RelocTable = Result<BTreeMap<u64, Reloc>, RelocationError>;

#[derive(Debug)]
pub(crate) struct Elf {
    data: Arc<[u8]>,
    pub sections: Vec<ElfSection>,
    pub symbols: Vec<Symbol>,
    pub relocs: BTreeMap<usize, RelocTable>,
    /// First section of each name, and the number of code sections of that name.
    names: HashMap<String, (usize, usize)>,
    /// Symbols by section, indexed since a damaged file may have many of both.
    defined: HashMap<usize, Vec<usize>>,
}

impl Elf {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data
    }

    pub(crate) fn parse(data: Arc<[u8]>) -> Result<Self, ObjectError> {
        check_identity(&data)?;
        let bytes: &[u8] = &data;
        let damaged = |what: &str| {
            let what = what.to_owned();
            move |why: object::read::Error| ObjectError::damaged(what, why.to_string())
        };
        let header = elf::FileHeader64::<Endianness>::parse(bytes).map_err(damaged("file header"))?;
        let endian = header.endian().map_err(damaged("file header"))?;
        let machine = header.e_machine(endian).0;
        if machine != EM_BPF {
            return Err(ObjectError::WrongMachine { machine });
        }
        let elf_type = header.e_type(endian).0;
        if elf_type != elf::ET_REL.0 {
            return Err(ObjectError::WrongType { elf_type });
        }
        let table = header.sections(endian, bytes).map_err(damaged("section table"))?;
        if table.is_empty() {
            return Err(ObjectError::damaged("section table", "there is none"));
        }
        if table.len() > MAX_SECTIONS {
            return Err(ObjectError::damaged("section table", format!("{} sections", table.len())));
        }

        let mut sections = Vec::with_capacity(table.len());
        for (index, section) in table.enumerate() {
            let what = || format!("section {}", index.0);
            let name = table
                .section_name(endian, section)
                .map_err(|why| ObjectError::damaged(what(), why.to_string()))?;
            let name = String::from_utf8_lossy(name).into_owned();
            let (offset, size) = (section.sh_offset(endian), section.sh_size(endian));
            let kind = section.sh_type(endian).0;
            let data = if kind == elf::SHT_NOBITS.0 || kind == elf::SHT_NULL.0 {
                0..0
            } else {
                file_range(offset, size, bytes.len()).ok_or_else(|| {
                    ObjectError::damaged(
                        format!("section {} ({name})", index.0),
                        format!("bytes {offset:#x} + {size:#x} lie outside the file's {:#x}", bytes.len()),
                    )
                })?
            };
            // A zeroed section takes memory without taking file space: limit it like a file.
            let size =
                usize::try_from(size).ok().filter(|size| *size <= MAX_OBJECT_BYTES).ok_or_else(|| {
                    ObjectError::damaged(format!("section {} ({name})", index.0), format!("size {size:#x}"))
                })?;
            sections.push(ElfSection { name, kind, flags: section.sh_flags(endian).0, size, data });
        }

        check_apart(&sections)?;
        let mut symbols = Vec::new();
        let symbol_table = table.symbols(endian, bytes, elf::SHT_SYMTAB).map_err(damaged("symbol table"))?;
        for (index, symbol) in symbol_table.enumerate() {
            let name = symbol_table.symbol_name(endian, symbol).unwrap_or_default();
            let place = match symbol_table.symbol_section(endian, symbol, index) {
                Ok(Some(section)) if section.0 < sections.len() => SymbolPlace::Section(section.0),
                Ok(None) if symbol.st_shndx(endian) == elf::SHN_UNDEF => SymbolPlace::Undefined,
                Ok(None) if symbol.st_shndx(endian) == elf::SHN_COMMON => SymbolPlace::Common,
                _ => SymbolPlace::Elsewhere,
            };
            symbols.push(Symbol {
                name: String::from_utf8_lossy(name).into_owned(),
                place,
                value: symbol.st_value(endian),
                size: symbol.st_size(endian),
                is_function: symbol.st_type() == elf::STT_FUNC,
                is_object: symbol.st_type() == elf::STT_OBJECT,
                is_section: symbol.st_type() == elf::STT_SECTION,
                is_local: symbol.st_bind() == elf::STB_LOCAL,
                is_weak: symbol.st_bind() == elf::STB_WEAK,
                is_hidden: matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL),
            });
        }

        let mut relocs: BTreeMap<usize, RelocTable> = BTreeMap::new();
        for section in table.iter() {
            let target = section.sh_info(endian) as usize;
            let kind = section.sh_type(endian);
            let read = if kind == elf::SHT_REL {
                section.data(endian, bytes).map(read_relocs).map_err(RelocationError::Unreadable)
            } else if kind == elf::SHT_RELA {
                Err(RelocationError::Addends)
            } else {
                continue;
            };
            match (relocs.remove(&target), read) {
                (Some(Ok(mut before)), Ok(more)) => {
                    before.extend(more);
                    relocs.insert(target, Ok(before));
                }
                (Some(Err(why)), _) | (_, Err(why)) => {
                    relocs.insert(target, Err(why));
                }
                (None, Ok(table)) => {
                    relocs.insert(target, Ok(table));
                }
            }
        }
        let mut names: HashMap<String, (usize, usize)> = HashMap::new();
        for (index, section) in sections.iter().enumerate() {
            names.entry(section.name.clone()).or_insert((index, 0)).1 += usize::from(section.is_code());
        }
        let mut defined: HashMap<usize, Vec<usize>> = HashMap::new();
        for (index, symbol) in symbols.iter().enumerate() {
            if let SymbolPlace::Section(section) = symbol.place {
                defined.entry(section).or_default().push(index);
            }
        }
        Ok(Self { data, sections, symbols, relocs, names, defined })
    }

    pub(crate) fn section_data(&self, index: usize) -> &[u8] {
        self.sections.get(index).and_then(|section| self.data.get(section.data.clone())).unwrap_or_default()
    }

    pub(crate) fn section_named(&self, name: &str) -> Option<usize> {
        self.names.get(name).map(|(first, _)| *first)
    }

    pub(crate) fn code_sections_named(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |(_, code)| *code)
    }

    pub(crate) fn symbols_in(&self, section: usize) -> impl Iterator<Item = &Symbol> {
        self.defined.get(&section).into_iter().flatten().filter_map(|index| self.symbols.get(*index))
    }
}

/// Format: an offset, then symbol and type in one number, in host byte order.
fn read_relocs(records: &[u8]) -> BTreeMap<u64, Reloc> {
    let long = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    records
        .chunks_exact(16)
        .map(|record| {
            let info = long(&record[8..]);
            let reloc = Reloc { symbol: (info >> 32) as usize, kind: (info & 0xffff_ffff) as u32 };
            (long(&record[..8]), reloc)
        })
        .collect()
}

fn file_range(offset: u64, size: u64, file: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= file).then_some(start..end)
}

/// A write to one of two overlapping sections would change the other.
fn check_apart(sections: &[ElfSection]) -> Result<(), ObjectError> {
    let mut filled: Vec<usize> = (0..sections.len()).filter(|one| !sections[*one].data.is_empty()).collect();
    filled.sort_by_key(|one| sections[*one].data.start);
    let overlap = filled.windows(2).find(|pair| sections[pair[1]].data.start < sections[pair[0]].data.end);
    let Some(&[first, second]) = overlap else { return Ok(()) };
    let named = |one: usize| format!("section {one} ({})", sections[one].name);
    let shared = sections[second].data.start..sections[first].data.end.min(sections[second].data.end);
    Err(ObjectError::damaged(
        named(second),
        format!("it shares bytes {:#x} to {:#x} of the file with {}", shared.start, shared.end, named(first)),
    ))
}

/// Checks single bytes, so that the error names the wrong one.
fn check_identity(data: &[u8]) -> Result<(), ObjectError> {
    if data.is_empty() {
        return Err(ObjectError::Empty);
    }
    if data.len() > MAX_OBJECT_BYTES {
        return Err(ObjectError::TooLarge { bytes: data.len(), limit: MAX_OBJECT_BYTES });
    }
    if !data.starts_with(b"\x7fELF") {
        return Err(ObjectError::NotElf { found: data[..data.len().min(4)].to_vec() });
    }
    let [class, order] = match data.get(4..6) {
        Some([class, order]) => [*class, *order],
        _ => return Err(ObjectError::damaged("file header", format!("cut off after {} bytes", data.len()))),
    };
    if class != 2 {
        return Err(ObjectError::NotSixtyFourBit { class });
    }
    let (host, target) = if cfg!(target_endian = "little") { ("little", "bpfel") } else { ("big", "bpfeb") };
    let found = match order {
        1 => "little",
        2 => "big",
        _ => return Err(ObjectError::damaged("file header", format!("byte order {order}"))),
    };
    if found != host {
        return Err(ObjectError::WrongEndian { found, host, target });
    }
    Ok(())
}
