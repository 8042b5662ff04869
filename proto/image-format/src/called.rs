//! Called functions of an object: a static function is a program only if nothing calls it.

use std::collections::{BTreeMap, HashSet};

use object::read::SectionIndex;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind, SymbolIndex,
};

use crate::Endian;
use crate::bytecode::File;

const INSN: u64 = 8;
/// Calls a function of the object if the source register is `PSEUDO_CALL`.
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
/// Two instructions; loads a function's address if the source register is `PSEUDO_FUNC`.
const LD_IMM64: u8 = 0x18;
const PSEUDO_FUNC: u8 = 4;

#[derive(Debug, Default)]
pub(crate) struct Called(HashSet<(SectionIndex, u64)>);

impl Called {
    /// Collects the called functions. Skips unreadable code: the daemon reports its defect at load.
    pub(crate) fn read(file: &File<'_>, endian: Endian) -> Self {
        let mut called = Self::default();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            let Ok(code) = section.data() else { continue };
            let symbols: BTreeMap<u64, SymbolIndex> = section
                .relocations()
                .filter_map(|(at, relocation)| match relocation.target() {
                    RelocationTarget::Symbol(symbol) => Some((at, symbol)),
                    _ => None,
                })
                .collect();
            let mut at = 0;
            for insn in code.chunks_exact(INSN as usize) {
                let place = at;
                at += INSN;
                let (source, number) = operands(insn, endian);
                // A call counts instructions from the next one; an address counts bytes.
                let addend = match (insn[0], source) {
                    (CALL, PSEUDO_CALL) | (LD_IMM64, PSEUDO_FUNC) if !symbols.contains_key(&place) => {
                        called.add(section.index(), place, (number + 1) * INSN as i64);
                        continue;
                    }
                    (CALL, PSEUDO_CALL) => (number + 1) * INSN as i64,
                    (LD_IMM64, _) => number,
                    _ => continue,
                };
                let symbol = symbols.get(&place).and_then(|symbol| file.symbol_by_index(*symbol).ok());
                if let Some((symbol, target)) = symbol.and_then(|s| Some((s.address(), s.section_index()?))) {
                    called.add(target, symbol, addend);
                }
            }
        }
        called
    }

    fn add(&mut self, section: SectionIndex, from: u64, distance: i64) {
        self.0.extend(from.checked_add_signed(distance).map(|at| (section, at)));
    }

    pub(crate) fn has(&self, section: SectionIndex, at: u64) -> bool {
        self.0.contains(&(section, at))
    }
}

fn operands(insn: &[u8], endian: Endian) -> (u8, i64) {
    let number = [insn[4], insn[5], insn[6], insn[7]];
    match endian {
        Endian::Little => (insn[1] >> 4, i64::from(i32::from_le_bytes(number))),
        Endian::Big => (insn[1] & 0xf, i64::from(i32::from_be_bytes(number))),
    }
}
