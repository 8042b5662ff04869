//! Liveness analysis, backward from visible effects of a function.

use std::ops::Range;

use bpfman_model::{Insn, op};

use crate::specialise::arguments::of_helper;
use crate::specialise::reachable::{InsnFacts, successors};
use crate::text::opcode;
use crate::text::scan::{Effect, effect, walk};

/// Registers 0 to 10, one bit each.
type Registers = u16;

const fn bit(register: u8) -> Registers {
    1 << (register & 0xf)
}

const fn arguments(count: u8) -> Registers {
    ((1 << count) - 1) << 1
}

/// Registers that a call may change.
const SCRATCH: Registers = 0b11_1111;

const TSTAMP_TYPE: i16 = 180;

struct Use {
    reads: Registers,
    writes: Registers,
    /// No effect except writing its register.
    is_pure: bool,
}

fn used(insn: Insn, effect: Effect) -> Use {
    let (dst, src) = (bit(insn.dst()), bit(insn.src()));
    let by_register = insn.code & opcode::SOURCE_REGISTER != 0;
    let acts = |reads, writes| Use { reads, writes, is_pure: false };
    match effect {
        Effect::Exit => acts(bit(0), 0),
        Effect::Helper(id) => acts(arguments(of_helper(id)), SCRATCH),
        Effect::Kfunc { .. } | Effect::LocalCall { .. } => acts(arguments(5), SCRATCH),
        Effect::OldPacketLoad => acts(bit(6) | src, SCRATCH),
        Effect::Jump { conditional: false, .. } | Effect::BoundedLoop { .. } => acts(0, 0),
        Effect::Jump { .. } | Effect::IndirectJump => acts(dst | if by_register { src } else { 0 }, 0),
        Effect::FunctionPointer { .. } | Effect::UnboundReference => acts(0, dst),
        Effect::Plain => match insn.class() {
            opcode::CLASS_ALU | opcode::CLASS_ALU64 => {
                let operation = insn.code & 0xf0;
                // NEG and END have no second operand: their source bit has another meaning.
                let alone = matches!(operation, opcode::NEG | opcode::END);
                let second = if by_register && !alone { src } else { 0 };
                let first = if operation == opcode::MOV { 0 } else { dst };
                // Computed addresses in the frame determine its depth, so they stay.
                let is_pure = (second | dst) & bit(opcode::FRAME) == 0;
                Use { reads: first | second, writes: dst, is_pure }
            }
            // Reading `tstamp_type` changes what a TC program reads as `tstamp` (Linux 5.18).
            opcode::CLASS_LDX => {
                let is_asked_for = insn.off == TSTAMP_TYPE && insn.code & opcode::SIZE == opcode::SIZE_B;
                Use { reads: src, writes: dst, is_pure: !is_asked_for }
            }
            opcode::CLASS_LD => {
                let is_plain = matches!(insn.src(), 0 | op::PSEUDO_MAP_VALUE);
                Use { reads: 0, writes: dst, is_pure: is_plain && insn.is_ld_imm64() }
            }
            opcode::CLASS_ST => acts(dst, 0),
            // Atomic operations may write their operand or register 0, or not.
            _ if insn.code & opcode::MODE == opcode::MODE_ATOMIC => acts(dst | src | bit(0), 0),
            _ => acts(dst | src, 0),
        },
    }
}

/// Live registers and unneeded instructions, by position from the function's start.
pub(super) struct Liveness {
    live: Vec<Registers>,
    pub(super) needless: Vec<bool>,
}

impl Liveness {
    pub(super) fn is_nothing_to(&self, insn: Insn, next: Option<Insn>, place: usize) -> bool {
        let used = used(insn, effect(insn, next));
        used.is_pure && self.live.get(place).is_some_and(|live| live & used.writes == 0)
    }
}

pub(super) fn liveness(insns: &[Insn], range: &Range<usize>, places: &[InsnFacts]) -> Liveness {
    let order: Vec<(usize, Use)> = walk(insns, range.clone())
        .map(|(at, _)| (at, used(insns[at], effect(insns[at], insns.get(at + 1).copied()))))
        .filter(|(at, _)| places[at - range.start].reached)
        .collect();
    let mut live: Vec<Registers> = vec![0; range.len()];
    let behind = |live: &[Registers], at: usize| {
        let ways = successors(insns, range, places, at).into_iter().flatten();
        ways.filter(|to| range.contains(to)).fold(0, |all, to| all | live[to - range.start])
    };
    loop {
        let mut grew = false;
        for (at, one) in order.iter().rev() {
            let after = behind(&live, *at);
            let before =
                if one.is_pure && after & one.writes == 0 { after } else { after & !one.writes | one.reads };
            let place = &mut live[at - range.start];
            grew |= *place != before;
            *place = before;
        }
        if !grew {
            break;
        }
    }
    let mut needless = vec![false; range.len()];
    for (at, one) in &order {
        needless[at - range.start] = one.is_pure && behind(&live, *at) & one.writes == 0;
    }
    Liveness { live, needless }
}

/// Returns which instructions of a function without dead code have no effect.
pub(crate) fn needless(insns: &[Insn]) -> Vec<bool> {
    let places = vec![InsnFacts::undecided(); insns.len()];
    liveness(insns, &(0..insns.len()), &places).needless
}
