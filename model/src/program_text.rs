//! Relocated programs: instructions, functions, type and line information.
//!
//! The crate `object` produces them, `splice` joins them and `kernel` loads them. They are pure data, so that the same
//! members give the same bytes everywhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Insn, MapId, op};

/// Function within a program's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpan {
    /// Symbol name.
    pub name: String,
    /// Index of its first instruction.
    pub start: usize,
    /// Number of its instructions.
    pub len: usize,
}

/// `struct bpf_func_info`: the BTF FUNC of the function at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FuncInfo {
    /// Instruction index.
    pub insn_off: u32,
    /// Type id of the FUNC in the program's BTF.
    pub type_id: u32,
}

/// `struct bpf_line_info`: the source line of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LineInfo {
    /// Instruction index.
    pub insn_off: u32,
    /// Offset of the file name in the BTF's strings.
    pub file_name_off: u32,
    /// Offset of the line's text in the BTF's strings.
    pub line_off: u32,
    /// Line number shifted left by ten, column in the low ten bits.
    pub line_col: u32,
}

/// Table of positions in a program, for jumps by `gotox`: clang makes it of a dense `switch` (Linux 6.19 and later).
///
/// In the kernel it is a map of type `insn_array`, which belongs to one loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpTable {
    /// Indexes of the 64-bit loads of its address; their source and immediates are 0.
    pub loads: Vec<usize>,
    /// Index of the instruction that each entry leads to.
    pub entries: Vec<u32>,
}

/// Relocated program with map references that are indexes into its object's maps.
///
/// In every map reference (`Insn::is_map_reference`) the first half's `imm` is the index of a [`crate::MapSpec`]; for a
/// map value reference the second half's `imm` is the byte offset in the value. Local calls and function pointers are
/// relative, as the kernel requires. The entry function comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramText {
    /// Symbol name of the entry function.
    pub name: String,
    /// Licence of the object, as in its `license` section.
    pub license: String,
    /// All instructions: the entry function, then the functions that it reaches.
    pub insns: Vec<Insn>,
    /// All functions, in order, without gaps; the first is the entry.
    pub functions: Vec<FunctionSpan>,
    /// Raw BTF that `func_info` and `line_info` refer to, as the kernel accepts it; `None` without.
    pub btf: Option<Arc<[u8]>>,
    /// One entry per function, strictly increasing, empty without BTF.
    pub func_info: Vec<FuncInfo>,
    /// Strictly increasing, may be empty.
    pub line_info: Vec<LineInfo>,
    /// True if it is declared to handle packets in several buffers (`xdp.frags`).
    pub frags: bool,
    /// True if it is declared sleepable (`.s` sections).
    pub sleepable: bool,
    /// Kernel modules with functions and variables that the instructions refer to. The `off` of a call of a kernel
    /// function, and the second half's `imm` of a variable's address, is 0 for the kernel itself, else the index in
    /// this list plus 1.
    pub modules: Vec<String>,
    /// Jump tables of the instructions.
    pub jump_tables: Vec<JumpTable>,
}

impl ProgramText {
    /// Returns the indexes of the maps that the instructions refer to, ascending and without repetition.
    #[must_use]
    pub fn map_indexes(&self) -> Vec<usize> {
        let mut found: Vec<usize> = references(&self.insns).map(|at| self.insns[at].imm as usize).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Replaces each map index by the id of the kernel's map at that index.
    ///
    /// Returns the invalid index if `maps` is too short.
    pub fn bind(&self, maps: &[MapId]) -> Result<BoundText, usize> {
        self.bind_by(|index| maps.get(index).copied())
    }

    /// Replaces each map index by the id that a function returns.
    ///
    /// # Errors
    /// Returns the index for which the function has no id.
    pub fn bind_by(&self, map: impl Fn(usize) -> Option<MapId>) -> Result<BoundText, usize> {
        let mut text = self.clone();
        let at: Vec<usize> = references(&text.insns).collect();
        for at in at {
            let index = text.insns[at].imm as usize;
            let id = map(index).ok_or(index)?;
            text.insns[at].imm = id.0.cast_signed();
        }
        Ok(BoundText(text))
    }
}

/// Program with map references that are kernel map ids, ready to be spliced and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundText(pub ProgramText);

impl BoundText {
    /// Creates a program of one function without types, which refers to maps by their ids.
    #[must_use]
    pub fn of_one_function(name: &str, license: &str, insns: Vec<Insn>) -> Self {
        Self(ProgramText {
            name: name.to_owned(),
            license: license.to_owned(),
            functions: vec![FunctionSpan { name: name.to_owned(), start: 0, len: insns.len() }],
            insns,
            btf: None,
            func_info: Vec::new(),
            line_info: Vec::new(),
            frags: false,
            sleepable: false,
            modules: Vec::new(),
            jump_tables: Vec::new(),
        })
    }

    /// Returns the ids of the maps that the instructions refer to, ascending and without repetition.
    #[must_use]
    pub fn map_ids(&self) -> Vec<MapId> {
        let insns = &self.0.insns;
        let mut found: Vec<MapId> =
            references(insns).map(|at| MapId(insns[at].imm.cast_unsigned())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the ids of the maps whose values the instructions refer to, ascending and without repetition.
    #[must_use]
    pub fn value_map_ids(&self) -> Vec<MapId> {
        let insns = &self.0.insns;
        let values = references(insns).filter(|at| insns[*at].src() == op::PSEUDO_MAP_VALUE);
        let mut found: Vec<MapId> = values.map(|at| MapId(insns[at].imm.cast_unsigned())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the positions of all map references, where the loader puts descriptors.
    pub fn map_references(&self) -> impl Iterator<Item = usize> + '_ {
        references(&self.0.insns)
    }
}

/// Returns the positions of map references; skips the second half of each 64-bit load, which is data.
fn references(insns: &[Insn]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < insns.len() {
            let here = at;
            at += if insns[here].is_ld_imm64() { 2 } else { 1 };
            if insns[here].is_map_reference() {
                return Some(here);
            }
        }
        None
    })
}
