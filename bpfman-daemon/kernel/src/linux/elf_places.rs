//! Functions around places of a binary. By the file itself alone: a file of debug information beside it may be another's work,
//! who would have a breakpoint put inside of an instruction.

use std::io;

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64};
use object::pod::Pod;
use object::read::elf::{FileHeader, SectionHeader as _, Sym as _};

use super::elf_symbols::{self, Binary, each, invalid, is_definition};
use super::symbols::TargetFile;
use super::unwind_table;

/// Most places in functions, counted once for each function around a place: those of a file that somebody made may overlap.
const MAX_COVERED: usize = 1 << 22;

/// A function around an offset of its file.
#[derive(Clone, Debug)]
pub struct CoveringFunction {
    /// Its name.
    pub name: String,
    /// Offset of its code in the file, in bytes.
    pub start: u64,
    /// Its bytes.
    pub size: u64,
    /// Its instructions.
    pub set: InstructionSet,
}

/// Instructions of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// x86 in this mode: of one to fifteen bytes.
    X86 {
        /// 32 or 64.
        bits: u32,
    },
    /// Of four bytes each, at multiples of four.
    Words,
    /// Anything else.
    Other,
}

/// Content of a file at an offset.
#[derive(Debug)]
pub enum PlaceInFile {
    /// Nothing that is loaded to be run.
    Data,
    /// A function: of several, the one that begins last.
    Function(CoveringFunction),
    /// The beginning of a function without a name.
    FunctionStart,
    /// Code of which nothing is known.
    Code,
}

/// Returns what is at offsets of a file, whose symbols are read once for all.
pub fn places(target: &TargetFile, offsets: &[u64]) -> io::Result<Vec<PlaceInFile>> {
    let file = target.file();
    match elf_symbols::identity(file)? {
        elf::ELFCLASS64 => Binary::<FileHeader64<Endianness>>::open(file)?.places(offsets),
        elf::ELFCLASS32 => Binary::<FileHeader32<Endianness>>::open(file)?.places(offsets),
        _ => Err(invalid("it is of no known class")),
    }
}

/// Start, size and place of the name of a symbol.
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

    /// The functions around addresses, which ascend.
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
