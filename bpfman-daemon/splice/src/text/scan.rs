use std::ops::Range;

use bpfman_model::{Insn, op};

use crate::text::opcode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Leaves the function.
    Exit,
    /// Falls through as well if `conditional`. The distance is relative to the next instruction.
    Jump { distance: i32, conditional: bool },
    /// Number of a kernel helper.
    Helper(i32),
    /// `module` is nonzero for a function of a module.
    Kfunc { id: i32, module: i16 },
    /// Relative to the next instruction.
    LocalCall { distance: i32 },
    /// Relative to the next instruction.
    FunctionPointer { distance: i32 },
    /// A failing load leaves the program.
    OldPacketLoad,
    /// `may_goto` and other instructions of its code.
    BoundedLoop { distance: i32 },
    /// A map by its index in the loader's array, or a module's variable.
    UnboundReference,
    /// Jumps by a table of the program's own positions (Linux 6.19 and later).
    IndirectJump,
    /// No relevant effect.
    Plain,
}

/// Returns the effect of an instruction. 64-bit loads need the `next` one.
pub(crate) fn effect(insn: Insn, next: Option<Insn>) -> Effect {
    match insn.class() {
        op::CLASS_JMP | op::CLASS_JMP32 => jump_effect(insn),
        opcode::CLASS_LD => match (insn.code & 0xe0, insn.src()) {
            (opcode::MODE_ABS | opcode::MODE_IND, _) => Effect::OldPacketLoad,
            (_, op::PSEUDO_FUNC) if insn.is_ld_imm64() => Effect::FunctionPointer { distance: insn.imm },
            (_, opcode::PSEUDO_MAP_IDX | opcode::PSEUDO_MAP_IDX_VALUE) => Effect::UnboundReference,
            (_, op::PSEUDO_BTF_ID) if next.is_some_and(|half| half.imm != 0) => Effect::UnboundReference,
            _ => Effect::Plain,
        },
        _ => Effect::Plain,
    }
}

fn jump_effect(insn: Insn) -> Effect {
    let off = i32::from(insn.off);
    match (insn.code & 0xf0, insn.class()) {
        (opcode::JUMP_EXIT, _) => Effect::Exit,
        (opcode::JUMP_CALL, _) => match insn.src() {
            op::PSEUDO_CALL => Effect::LocalCall { distance: insn.imm },
            op::PSEUDO_KFUNC_CALL => Effect::Kfunc { id: insn.imm, module: insn.off },
            _ => Effect::Helper(insn.imm),
        },
        (0x00, _) if insn.code & opcode::SOURCE_REGISTER != 0 => Effect::IndirectJump,
        (0x00, op::CLASS_JMP32) => Effect::Jump { distance: insn.imm, conditional: false },
        (0x00, _) => Effect::Jump { distance: off, conditional: false },
        _ if insn.code == op::JCOND => Effect::BoundedLoop { distance: off },
        _ => Effect::Jump { distance: off, conditional: true },
    }
}

/// Returns instructions' effects by position. Second halves of 64-bit loads are no instructions.
pub(crate) fn walk(insns: &[Insn], range: Range<usize>) -> impl Iterator<Item = (usize, Effect)> + '_ {
    let mut at = range.start;
    std::iter::from_fn(move || {
        if at >= range.end {
            return None;
        }
        let here = at;
        at += width(insns[here]);
        Some((here, effect(insns[here], insns.get(here + 1).copied())))
    })
}

pub(crate) fn width(insn: Insn) -> usize {
    if insn.is_ld_imm64() { 2 } else { 1 }
}

pub(crate) fn target(at: usize, distance: i32) -> Option<usize> {
    usize::try_from(at as i64 + 1 + i64::from(distance)).ok()
}
