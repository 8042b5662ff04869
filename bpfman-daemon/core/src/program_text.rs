//! A relocated program: instructions, functions, type and line information.
//!
//! Produced by the crate `object`, joined by `splice`, loaded by `kernel`. Pure data, so that the same members
//! give the same bytes everywhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Insn, MapId, op};

/// One function inside a program's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpan {
    /// Symbol name.
    pub name: String,
    /// Index of its first instruction.
    pub start: usize,
    /// Number of its instructions.
    pub len: usize,
}

/// `struct bpf_func_info`: which BTF FUNC describes the function at an instruction.
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

/// A table of places in a program, by which `gotox` jumps: what clang makes of a dense `switch` (Linux 6.19 and later).
///
/// The kernel has it as a map of type `insn_array`, which belongs to one loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpTable {
    /// Indexes of the 64-bit loads of its address, whose source and immediates are 0.
    pub loads: Vec<usize>,
    /// The index of the instruction that each entry leads to.
    pub entries: Vec<u32>,
}

/// A relocated program whose map references are still indexes into its object's maps.
///
/// In every map reference (`Insn::is_map_reference`) the first half's `imm` is the index of a [`crate::MapSpec`];
/// for a map value reference the second half's `imm` is the byte offset in the value. Local calls and function
/// pointers are relative, as the kernel wants them. The entry function comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramText {
    /// Symbol name of the entry function.
    pub name: String,
    /// The object's licence, as in its `license` section.
    pub license: String,
    /// All instructions: the entry function, then the functions it reaches.
    pub insns: Vec<Insn>,
    /// Every function, in order, without gaps; the first is the entry.
    pub functions: Vec<FunctionSpan>,
    /// Raw BTF that `func_info` and `line_info` refer to, already acceptable to the kernel; none if the object has none.
    pub btf: Option<Arc<[u8]>>,
    /// One entry a function, strictly increasing, empty without BTF.
    pub func_info: Vec<FuncInfo>,
    /// Strictly increasing, may be empty.
    pub line_info: Vec<LineInfo>,
    /// Declared to handle packets in several buffers (`xdp.frags`).
    pub frags: bool,
    /// Declared sleepable (`.s` sections).
    pub sleepable: bool,
    /// Kernel modules whose functions and variables the instructions mention. The `off` of a call of a kernel function, and
    /// the second half's `imm` of a variable's address, is 0 for the kernel itself, else 1 and the place in this list.
    pub modules: Vec<String>,
    /// Tables that the instructions jump by.
    pub jump_tables: Vec<JumpTable>,
}

impl ProgramText {
    /// Indexes of the maps that the instructions mention, ascending and without repetition.
    #[must_use]
    pub fn map_indexes(&self) -> Vec<usize> {
        let mut found: Vec<usize> = references(&self.insns).map(|at| self.insns[at].imm as usize).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Replaces each map index by the id of the kernel's map at that place.
    ///
    /// Returns the offending index if `maps` is too short.
    pub fn bind(&self, maps: &[MapId]) -> Result<BoundText, usize> {
        self.bind_by(|index| maps.get(index).copied())
    }

    /// The same by a function, which may have none.
    ///
    /// # Errors
    /// The offending index.
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

/// A program whose map references carry kernel map ids: what can be spliced and loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundText(pub ProgramText);

impl BoundText {
    /// One function without types, which mentions maps by their ids.
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

    /// Ids of the maps that the instructions mention, ascending and without repetition.
    #[must_use]
    pub fn map_ids(&self) -> Vec<MapId> {
        let insns = &self.0.insns;
        let mut found: Vec<MapId> =
            references(insns).map(|at| MapId(insns[at].imm.cast_unsigned())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Ids of the maps in whose values the instructions name a place, ascending and without repetition.
    #[must_use]
    pub fn value_map_ids(&self) -> Vec<MapId> {
        let insns = &self.0.insns;
        let values = references(insns).filter(|at| insns[*at].src() == op::PSEUDO_MAP_VALUE);
        let mut found: Vec<MapId> = values.map(|at| MapId(insns[at].imm.cast_unsigned())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Positions of all map references, for the loader to put descriptors in.
    pub fn map_references(&self) -> impl Iterator<Item = usize> + '_ {
        references(&self.0.insns)
    }
}

/// Positions of map references; skips the second half of each 64-bit load, whose bytes are data.
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
