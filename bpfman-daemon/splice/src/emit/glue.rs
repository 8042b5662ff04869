//! Instructions between members and at the end of the chain.

use bpfman_model::{Insn, MapId};

use crate::analysis::stack::ContextPlace;
use crate::analysis::unwritten::FrameSlots;
use crate::analysis::verdicts::Codes;
use crate::chain::hook::{Code, SpliceHook, TCX_TABLE};
use crate::chain::proceed::{ProceedMask, emit_test};
use crate::text::asm::{Asm, Label};
use crate::text::opcode;

const REDIRECT: i32 = 23;
const TAIL_CALL: i32 = 12;

pub(crate) fn save_context(asm: &mut Asm, place: ContextPlace) {
    match place {
        ContextPlace::Nowhere => {}
        ContextPlace::Slot(depth) => {
            asm.push(Insn::new(opcode::STORE_DW_REG, opcode::FRAME, 1, below(depth), 0))
        }
        ContextPlace::Register(register) => asm.push(Insn::new(opcode::MOV64_REG, register, 1, 0, 0)),
    }
}

pub(crate) fn load_context(asm: &mut Asm, place: ContextPlace) {
    match place {
        ContextPlace::Nowhere => {}
        ContextPlace::Slot(depth) => asm.push(Insn::new(opcode::LOAD_DW, 1, opcode::FRAME, below(depth), 0)),
        ContextPlace::Register(register) => asm.push(Insn::new(opcode::MOV64_REG, 1, register, 0, 0)),
    }
}

/// Zeroes slots: privileged programs may read stack that they never wrote, and would leak a pointer there into a map.
pub(crate) fn zero_frame(asm: &mut Asm, frame: u32, slots: FrameSlots) {
    for depth in slots.depths(frame) {
        asm.push(Insn::new(opcode::STORE_DW_IMM, opcode::FRAME, 0, below(depth), 0));
    }
}

/// Returns an offset from the frame pointer. Frames are at most 512 bytes deep.
pub(crate) fn below(depth: u32) -> i16 {
    -(depth as i16)
}

/// The context is in register 1. Falls through if the tail call fails.
pub(crate) fn tail_call(asm: &mut Asm, array: MapId) {
    asm.load_map(2, array);
    asm.set(3, 0);
    asm.helper(TAIL_CALL);
}

/// Jumps to `stop` unless the code is in the set. If `far`, only an unconditional jump reaches `stop`.
pub(crate) fn check(asm: &mut Asm, hook: SpliceHook, set: ProceedMask, stop: Label, far: bool) {
    if far {
        let (near_stop, go) = (asm.label(), asm.label());
        emit_test(asm, hook, set, near_stop);
        asm.jump(go);
        asm.bind(near_stop);
        asm.jump(stop);
        asm.bind(go);
    } else {
        emit_test(asm, hook, set, stop);
    }
}

/// Clears the redirect target: a later member's REDIRECT would otherwise send the packet to it.
pub(crate) fn forget_redirect(asm: &mut Asm) {
    asm.set(1, 0);
    asm.set(2, 0);
    asm.helper(REDIRECT);
}

pub(crate) fn answer(asm: &mut Asm, code: Code) {
    asm.set(0, code);
    asm.exit();
}

pub(crate) fn stopped(asm: &mut Asm, hook: SpliceHook, codes: Codes) {
    let as_it_is = match codes.known() {
        Some(mut known) => known.all(|code| hook.translate(code) == code),
        None => !matches!(hook, SpliceHook::TcTcx | SpliceHook::TcTcxOpen),
    };
    if !as_it_is {
        emit_tcx_table(asm);
        if hook == SpliceHook::TcTcxOpen {
            let kept = asm.label();
            asm.branch(opcode::JNE32, 0, kept);
            asm.set(0, hook.end_verdict());
            asm.bind(kept);
        }
    }
    asm.exit();
}

/// Translates a code to those of tcx. Continues at the next instruction, or exits.
fn emit_tcx_table(asm: &mut Asm) {
    let highest = TCX_TABLE.iter().map(|(code, _)| *code).max().unwrap_or(0);
    let bits = |answer: Code, changed: bool| {
        TCX_TABLE
            .iter()
            .filter(|(code, to)| *code >= 0 && *to == answer && (code != to) == changed)
            .fold(0u32, |bits, (code, _)| bits | 1 << code)
    };
    let (next, done) = (asm.label(), asm.label());
    // Unsigned: excludes -1 and all codes that the table does not list.
    asm.branch(opcode::JGT32, highest.cast_unsigned(), next);
    asm.set(1, 1);
    asm.push(Insn::new(opcode::LSH32_REG, 1, 0, 0, 0));
    let answers = [0, 2, 7];
    let kept = answers.iter().fold(0, |all, answer| all | bits(*answer, false));
    asm.branch_on(1, opcode::JSET32, kept, done);
    let mut changed = Vec::new();
    for answer in answers {
        let bits = bits(answer, true);
        if bits != 0 {
            let label = asm.label();
            asm.branch_on(1, opcode::JSET32, bits, label);
            changed.push((answer, label));
        }
    }
    asm.bind(next);
    asm.set(0, SpliceHook::TcTcx.end_verdict());
    asm.exit();
    for (index, (answer, label)) in changed.iter().enumerate() {
        asm.bind(*label);
        asm.set(0, *answer);
        if index + 1 < changed.len() {
            asm.jump(done);
        }
    }
    asm.bind(done);
}

#[cfg(test)]
#[path = "glue_tests.rs"]
mod tests;
