//! Functions around places of a binary, from the file alone: with forged debug information, a breakpoint could be put
//! inside of an instruction.

use std::io;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod::Pod;
use object::read::elf::{FileHeader, SectionHeader as _, Sym as _};

use super::elf_binary::{self, Binary, each, invalid};
use super::elf_symbols::is_definition;
use super::symbols::TargetFile;
use super::unwind_table;

/// Functions may overlap: each place counts for every function around it.
const MAX_COVERED: usize = 1 << 22;

#[derive(Clone, Debug)]
pub struct CoveringFunction {
    pub name: String,
    pub start: u64,
    pub size: u64,
    pub set: InstructionSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    X86 {
        bits: u32,
    },
    /// Four bytes each, aligned.
    Words,
    Other,
}

#[derive(Debug)]
pub enum PlaceInFile {
    Data,
    /// The function that begins last, if there are several.
    Function(CoveringFunction),
    /// Start of a function without a name.
    FunctionStart,
    /// Unknown code.
    Code,
}

pub fn places(target: &TargetFile, offsets: &[u64]) -> io::Result<Vec<PlaceInFile>> {
    let file = target.file();
    match elf_binary::identity(file)? {
        elf::ELFCLASS64 => Binary::<FileHeader64<Endianness>>::open(file)?.places(offsets),
        elf::ELFCLASS32 => Binary::<FileHeader32<Endianness>>::open(file)?.places(offsets),
        _ => Err(invalid("it is of no known class")),
    }
}

type Symbol = (u64, u64, u32);

impl<Elf: FileHeader<Endian = Endianness> + Pod> Binary<'_, Elf> {
    fn places(&self, offsets: &[u64]) -> io::Result<Vec<PlaceInFile>> {
        let addresses = offsets.iter().map(|offset| self.address_of(*offset));
        let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
        let mut sorted: Vec<u64> = addresses.iter().flatten().copied().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let functions = self.covering(&sorted)?;
        let place = |address: Option<u64>| {
            let Some(address) = address else { return Ok(PlaceInFile::Data) };
            let function = sorted.binary_search(&address).ok().and_then(|at| functions[at].clone());
            Ok(match function {
                Some(function) => PlaceInFile::Function(function),
                None if unwind_table::has_start(self, address)? => PlaceInFile::FunctionStart,
                None => PlaceInFile::Code,
            })
        };
        addresses.into_iter().map(place).collect()
    }

    fn covering(&self, addresses: &[u64]) -> io::Result<Vec<Option<CoveringFunction>>> {
        let endian = self.endian;
        let mut functions = vec![None; addresses.len()];
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let Some(table) = self.section(0, &mut |section| section.sh_type(endian) == kind)? else {
                continue;
            };
            let names = self.section(u64::from(table.sh_link(endian)), &mut |_| true)?;
            for (function, symbol) in functions.iter_mut().zip(self.symbols_around(&table, addresses)?) {
                let (None, Some((start, size, name))) = (&function, symbol) else { continue };
                let Some(at) = self.offset_of(start)? else { continue };
                let name =
                    names.map(|names| self.name_at(names.sh_offset(endian).into(), name)).transpose()?;
                let (name, set) = (name.unwrap_or_default(), self.instruction_set());
                *function = Some(CoveringFunction { name, start: at, size, set });
            }
        }
        Ok(functions)
    }

    fn symbols_around(
        &self,
        table: &Elf::SectionHeader,
        addresses: &[u64],
    ) -> io::Result<Vec<Option<Symbol>>> {
        let endian = self.endian;
        let bytes: u64 = table.sh_size(endian).into();
        let count = bytes / size_of::<Elf::Sym>() as u64;
        let mut found: Vec<Option<Symbol>> = vec![None; addresses.len()];
        let mut covered = 0;
        each::<Elf::Sym>(self.file(), table.sh_offset(endian).into(), count, &mut |symbol| {
            let (start, size): (u64, u64) = (symbol.st_value(endian).into(), symbol.st_size(endian).into());
            let is_code = symbol.st_type() != elf::STT_OBJECT
                && (is_definition::<Elf>(symbol, endian) || symbol.st_type() == elf::STT_GNU_IFUNC);
            if is_code {
                let first = addresses.partition_point(|address| *address < start);
                let inside = addresses[first..].iter().take_while(|address| **address - start < size);
                for (_, found) in inside.zip(&mut found[first..]) {
                    covered += 1;
                    if found.is_none_or(|(before, ..)| before < start) {
                        *found = Some((start, size, symbol.st_name(endian)));
                    }
                }
            }
            covered <= MAX_COVERED
        })?;
        if covered > MAX_COVERED {
            return Err(invalid("too many of its functions overlap"));
        }
        Ok(found)
    }

    fn instruction_set(&self) -> InstructionSet {
        match self.header.e_machine(self.endian) {
            elf::EM_X86_64 => InstructionSet::X86 { bits: 64 },
            elf::EM_386 => InstructionSet::X86 { bits: 32 },
            elf::EM_AARCH64 => InstructionSet::Words,
            _ => InstructionSet::Other,
        }
    }
}
