//! References of instructions outside their function: relocations, and calls without one.

use bpfman_model::{Insn, op};

use crate::RelocationError;
use crate::btf::Kind;
use crate::btf::ext::{CoreRecord, SectionRecords, within};
use crate::elf::{Reloc, Symbol, SymbolPlace};
use crate::externs::Extern;
use crate::functions::{FunctionKey, INSN_BYTES};
use crate::jump_tables::{self, TablePlace};
use crate::object_file::ObjectFile;

/// 64-bit immediate load.
const R_BPF_64_64: u32 = 1;
/// Call.
const R_BPF_64_32: u32 = 10;

/// Target of an instruction outside its function.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference<'a> {
    /// A function that is called or referred to.
    Function(FunctionKey),
    /// A map, by index.
    Map(usize),
    /// A byte in a map's value.
    MapValue { map: usize, offset: i32 },
    /// A kernel function or variable.
    Kernel { name: &'a str, weak: bool, kind: Kind },
    /// The address of a kernel symbol.
    Address { name: &'a str, weak: bool },
    /// The address of a table of jump targets within the function (`gotox`).
    JumpTable(TablePlace<'a>),
}

/// Index of the instruction, and reason.
pub(crate) type Fault = (usize, RelocationError);

impl ObjectFile {
    fn symbol(&self, reloc: Reloc) -> Result<&Symbol, RelocationError> {
        self.elf.symbols.get(reloc.symbol).ok_or(RelocationError::NoSymbol(reloc.symbol))
    }

    /// Returns the BTF records of a function's section. Fails if two code sections share its name, their only key.
    pub(crate) fn records(&self, key: FunctionKey) -> Result<Option<&SectionRecords>, RelocationError> {
        let Some(section) = self.elf.sections.get(key.section) else { return Ok(None) };
        let Some(records) = self.ext.section(&section.name) else { return Ok(None) };
        let alike = self.elf.code_sections_named(&section.name);
        if alike > 1 {
            return Err(RelocationError::AmbiguousSection(alike, section.name.clone()));
        }
        Ok(Some(records))
    }

    pub(crate) fn core_records(
        &self,
        key: FunctionKey,
        len: usize,
    ) -> Result<&[CoreRecord], RelocationError> {
        let end = key.offset + len as u64 * INSN_BYTES;
        Ok(self
            .records(key)?
            .map_or(&[][..], |records| within(&records.core, |record| record.offset, key.offset, end)))
    }

    pub(crate) fn references(
        &self,
        key: FunctionKey,
        insns: &[Insn],
    ) -> Result<Vec<(usize, Reference<'_>)>, Fault> {
        let end = key.offset + insns.len() as u64 * INSN_BYTES;
        let mut relocs = match self.elf.relocs.get(&key.section) {
            None => None,
            Some(Ok(table)) => Some(table.range(key.offset..end).peekable()),
            Some(Err(why)) => return Err((0, why.clone())),
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < insns.len() {
            let insn = insns[at];
            let fault = |why: RelocationError| (at, why);
            let wide = insn.is_ld_imm64();
            if wide && at + 1 >= insns.len() {
                return Err(fault(RelocationError::HalfLoad));
            }
            let next = key.offset + (at + if wide { 2 } else { 1 }) as u64 * INSN_BYTES;
            let here = key.offset + at as u64 * INSN_BYTES;
            let reloc = relocs.as_mut().and_then(|relocs| relocs.next_if(|(offset, _)| **offset < next));
            match reloc {
                Some((offset, _)) if *offset != here => {
                    return Err(fault(RelocationError::Misplaced("relocation", *offset)));
                }
                Some((_, reloc)) => {
                    found.push((at, self.relocated(key, insn, *reloc).map_err(fault)?));
                }
                None => {
                    if let Some(reference) = unrelocated(key, at, insn).map_err(fault)? {
                        found.push((at, reference));
                    }
                }
            }
            if relocs.as_mut().and_then(|relocs| relocs.next_if(|(offset, _)| **offset < next)).is_some() {
                return Err(fault(RelocationError::Doubled));
            }
            at += if wide { 2 } else { 1 };
        }
        Ok(found)
    }

    fn relocated(
        &self,
        key: FunctionKey,
        insn: Insn,
        reloc: Reloc,
    ) -> Result<Reference<'_>, RelocationError> {
        let symbol = self.symbol(reloc)?;
        let name = if symbol.name.is_empty() { "a section" } else { symbol.name.as_str() };
        match (reloc.kind, symbol.place) {
            (R_BPF_64_32, SymbolPlace::Section(section)) if insn.is_local_call() => {
                // The addend counts instructions from the one before the symbol.
                let offset = i64::try_from(symbol.value)
                    .ok()
                    .and_then(|value| value.checked_add((i64::from(insn.imm) + 1) * INSN_BYTES as i64));
                self.function_at(section, offset, name)
            }
            (R_BPF_64_32, SymbolPlace::Undefined) if insn.code == op::CALL => {
                match self.externs.get(&symbol.name) {
                    Some(Extern::Function) => {
                        Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Func })
                    }
                    _ => Err(RelocationError::UndeclaredCall(name.to_owned())),
                }
            }
            (R_BPF_64_64, SymbolPlace::Section(section)) if insn.is_ld_imm64() => {
                self.address(section, symbol, insn, name)
            }
            (R_BPF_64_64, SymbolPlace::Undefined) if insn.is_ld_imm64() => {
                match self.externs.get(&symbol.name) {
                    Some(Extern::Kconfig { offset }) => {
                        let map = self.maps.kconfig.ok_or(RelocationError::NoKconfig)?;
                        let offset = offset.cast_signed().wrapping_add(insn.imm);
                        Ok(Reference::MapValue { map, offset })
                    }
                    Some(Extern::Variable) => {
                        Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Var })
                    }
                    Some(Extern::Function) => {
                        Ok(Reference::Kernel { name: &symbol.name, weak: symbol.is_weak, kind: Kind::Func })
                    }
                    Some(Extern::Address) => {
                        Ok(Reference::Address { name: &symbol.name, weak: symbol.is_weak })
                    }
                    None => Err(RelocationError::Undefined(name.to_owned())),
                }
            }
            (_, SymbolPlace::Common) => Err(RelocationError::Common(name.to_owned())),
            (kind, place) => Err(RelocationError::WrongKind {
                kind,
                symbol: format!("{name} ({place:?})"),
                code: insn.code,
                section: key.section,
            }),
        }
    }

    fn function_at(
        &self,
        section: usize,
        offset: Option<i64>,
        name: &str,
    ) -> Result<Reference<'_>, RelocationError> {
        let offset = offset
            .and_then(|offset| u64::try_from(offset).ok())
            .ok_or_else(|| RelocationError::CallOutside(name.to_owned()))?;
        Ok(Reference::Function(FunctionKey { section, offset }))
    }

    fn address<'a>(
        &'a self,
        section: usize,
        symbol: &'a Symbol,
        insn: Insn,
        name: &'a str,
    ) -> Result<Reference<'a>, RelocationError> {
        let offset =
            i64::try_from(symbol.value).ok().and_then(|value| value.checked_add(i64::from(insn.imm)));
        if let Some(map) = self.maps.data_section(section) {
            let size = self.facts.maps[map].value_size;
            return offset
                .and_then(|offset| i32::try_from(offset).ok())
                .map(|offset| Reference::MapValue { map, offset })
                .ok_or_else(|| RelocationError::OutsideSection(name.to_owned(), size));
        }
        let place = offset.and_then(|offset| u64::try_from(offset).ok());
        if let Some(map) = place.and_then(|place| self.maps.declared(section, place)) {
            return Ok(Reference::Map(map));
        }
        match self.elf.sections.get(section) {
            Some(header) if header.is_code() => self.function_at(section, offset, name),
            Some(header) if header.name == jump_tables::SECTION => {
                TablePlace::of(symbol, section, insn.imm, name).map(Reference::JumpTable)
            }
            Some(header) => Err(RelocationError::NotLoaded(name.to_owned(), header.name.clone())),
            None => Err(RelocationError::NoSection(name.to_owned())),
        }
    }
}

/// Returns the target of an instruction without a relocation, which can only be a function of the same section.
fn unrelocated(
    key: FunctionKey,
    at: usize,
    insn: Insn,
) -> Result<Option<Reference<'static>>, RelocationError> {
    let relative = || {
        let target = (at as i64 + i64::from(insn.imm) + 1) * INSN_BYTES as i64;
        i64::try_from(key.offset)
            .ok()
            .and_then(|offset| u64::try_from(offset.checked_add(target)?).ok())
            .map(|offset| Some(Reference::Function(FunctionKey { section: key.section, offset })))
            .ok_or(RelocationError::BeforeSection)
    };
    if insn.is_local_call() || insn.is_function_pointer() {
        return relative();
    }
    // These numbers are valid only on the machine that wrote them, and must never be used here.
    if insn.is_ld_imm64() && insn.src() != 0 {
        return Err(RelocationError::Unrelocated("64-bit load", insn.src()));
    }
    if insn.code == op::CALL && insn.src() != 0 {
        return Err(RelocationError::Unrelocated("call", insn.src()));
    }
    Ok(None)
}
