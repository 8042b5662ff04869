//! Which codes a member can return, as far as constants in its instructions show.
//!
//! It saves a check or a table that the verifier would have to prove useless, and never more: what is not a
//! visible constant counts as any code.

use bpfmand_core::{Insn, op};

use crate::flow::{self, Knowledge};
use crate::hook::{Code, HookKind};
use crate::member::span;
use crate::opcode;
use crate::proceed::ProceedMask;
use crate::scan::Effect;
use bpfmand_core::ProgramText;

/// A set of codes from -1 to 31, or any code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codes(u64);

const ANY: u64 = 1 << 63;

impl Codes {
    fn constant(value: i32) -> Self {
        if (-1..=31).contains(&value) { Self(1 << (value + 1)) } else { Self(ANY) }
    }

    /// Codes of either.
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The codes by value; none if they are not known.
    pub(crate) fn known(self) -> Option<impl Iterator<Item = Code>> {
        (self.0 & ANY == 0).then(|| (-1..=31).filter(move |code| self.0 >> (code + 1) & 1 == 1))
    }

    /// What is left when the codes of `set` went on.
    pub(crate) fn outside(self, hook: HookKind, set: ProceedMask) -> Self {
        set.codes(hook).fold(self, |left, code| Self(left.0 & !(1 << (code + 1))))
    }

    /// The part of `set` that can occur.
    pub(crate) fn of(self, hook: HookKind, set: ProceedMask) -> ProceedMask {
        if self.0 & ANY != 0 {
            return set;
        }
        let occurring = set.codes(hook).filter(|code| self.0 >> (code + 1) & 1 == 1);
        ProceedMask(occurring.fold(0, |bits, code| bits | 1 << (code - hook.first_code())))
    }
}

/// What each register may hold, as a verdict.
#[derive(Clone)]
struct Registers([Codes; 11]);

impl Knowledge for Registers {
    fn join(&mut self, other: &Self) -> bool {
        let mut widened = false;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            let both = mine.or(theirs);
            widened |= both != *mine;
            *mine = both;
        }
        widened
    }
}

/// The codes that the entry function can return.
pub(crate) fn possible(text: &ProgramText) -> Codes {
    let mut returned = Codes::default();
    let entry = Registers([Codes(ANY); 11]);
    flow::run(&text.insns, span(text, 0), entry, |_, insn, effect, registers| match effect {
        Effect::Exit => returned = returned.or(registers.0[0]),
        // A tail call that succeeds returns whatever the other program does.
        Effect::Helper(crate::refuse::TAIL_CALL) => {
            returned = Codes(ANY);
            forget_scratch(registers);
        }
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. } => forget_scratch(registers),
        // A failing load leaves the program with 0.
        Effect::OldPacketLoad => {
            returned = returned.or(Codes::constant(0));
            forget_scratch(registers);
        }
        _ => assign(insn, registers),
    });
    returned
}

fn forget_scratch(registers: &mut Registers) {
    for register in &mut registers.0[..6] {
        *register = Codes(ANY);
    }
}

fn assign(insn: Insn, registers: &mut Registers) {
    let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
    if dst > 10 || src > 10 {
        return;
    }
    let result = match insn.class() {
        opcode::CLASS_ALU | opcode::CLASS_ALU64 if insn.code & 0xf0 == opcode::MOV => {
            match (insn.code & opcode::SOURCE_REGISTER != 0, insn.off) {
                (false, 0) => Codes::constant(insn.imm),
                (true, 0) => registers.0[src],
                _ => Codes(ANY),
            }
        }
        opcode::CLASS_ST | op::CLASS_JMP | op::CLASS_JMP32 => return,
        opcode::CLASS_STX => {
            // Atomic operations may write either operand or register 0.
            if insn.code & 0xe0 == opcode::MODE_ATOMIC {
                for written in [0, dst, src] {
                    registers.0[written] = Codes(ANY);
                }
            }
            return;
        }
        _ => Codes(ANY),
    };
    registers.0[dst] = result;
}
