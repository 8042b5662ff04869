//! Codes that a member can return, by constants: checks of other codes are left out.

use bpfman_model::{Insn, ProgramText, op};

use crate::analysis::values::RegisterValue;
use crate::chain::hook::{Code, SpliceHook};
use crate::chain::member::span;
use crate::chain::proceed::ProceedMask;
use crate::text::flow;
use crate::text::opcode;
use crate::text::scan::Effect;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codes(u64);

const ANY: u64 = 1 << 63;

impl Codes {
    pub(crate) const UNKNOWN: Self = Self(ANY);

    pub(crate) fn constant(value: i32) -> Self {
        if (-1..=31).contains(&value) { Self(1 << (value + 1)) } else { Self(ANY) }
    }

    pub(crate) fn known(self) -> Option<impl Iterator<Item = Code>> {
        (self.0 & ANY == 0).then(|| (-1..=31).filter(move |code| self.0 >> (code + 1) & 1 == 1))
    }

    pub(crate) fn only(self) -> Option<Code> {
        let mut known = self.known()?;
        known.next().filter(|_| known.next().is_none())
    }

    pub(crate) fn outside(self, hook: SpliceHook, set: ProceedMask) -> Self {
        set.codes(hook).fold(self, |left, code| Self(left.0 & !(1 << (code + 1))))
    }

    pub(crate) fn of(self, hook: SpliceHook, set: ProceedMask) -> ProceedMask {
        if self.0 & ANY != 0 {
            return set;
        }
        let occurring = set.codes(hook).filter(|code| self.0 >> (code + 1) & 1 == 1);
        ProceedMask(occurring.fold(0, |bits, code| bits | 1 << (code - hook.first_code())))
    }
}

impl RegisterValue for Codes {
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

type Registers = [Codes; 11];

pub(crate) fn possible(text: &ProgramText) -> Codes {
    let mut returned = Codes::default();
    let entry = [Codes::UNKNOWN; 11];
    flow::run(&text.insns, span(text, 0), entry, |_, insn, effect, registers| match effect {
        Effect::Exit => returned = returned.or(registers[0]),
        // A successful tail call returns the result of the other program.
        effect if crate::analysis::survey::is_tail_call(effect) => {
            returned = Codes(ANY);
            forget_scratch(registers);
        }
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. } => forget_scratch(registers),
        Effect::IndirectJump => returned = Codes::UNKNOWN,
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
    registers[..6].fill(Codes::UNKNOWN);
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
                (true, 0) => registers[src],
                _ => Codes(ANY),
            }
        }
        opcode::CLASS_ST | op::CLASS_JMP | op::CLASS_JMP32 => return,
        opcode::CLASS_STX => {
            // Atomic operations may write either operand or register 0.
            if insn.code & 0xe0 == opcode::MODE_ATOMIC {
                for written in [0, dst, src] {
                    registers[written] = Codes(ANY);
                }
            }
            return;
        }
        _ => Codes(ANY),
    };
    registers[dst] = result;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{EXIT, copy, helper, local_call, program, set_r0};

    fn of(body: &[Insn]) -> Option<Vec<Code>> {
        let function = [set_r0(1), EXIT];
        let text = program(&[body, &function]);
        possible(&text.0).known().map(Iterator::collect)
    }

    const IF_R1_IS_0_SKIP_1: Insn = Insn::new(0x15, 1, 0, 1, 0);

    #[test]
    fn constants_on_all_ways_are_known() {
        assert_eq!(of(&[set_r0(2), EXIT]), Some(vec![2]));
        assert_eq!(of(&[Insn::new(0xb4, 0, 0, 0, -1), EXIT]), Some(vec![-1]));
        assert_eq!(of(&[set_r0(2), IF_R1_IS_0_SKIP_1, set_r0(1), EXIT]), Some(vec![1, 2]));
        let two_exits = [set_r0(0), IF_R1_IS_0_SKIP_1, EXIT, set_r0(31), EXIT];
        assert_eq!(of(&two_exits), Some(vec![0, 31]));
        assert_eq!(of(&[Insn::new(0xb7, 6, 0, 0, 3), helper(7), copy(0, 6), EXIT]), Some(vec![3]));
    }

    #[test]
    fn whatever_writes_the_register_makes_it_unknown() {
        let writers = [
            helper(7),
            local_call(1),
            Insn::new(op::CALL, 0, op::PSEUDO_KFUNC_CALL, 0, 9),
            Insn::new(0x71, 0, 1, 0, 0),     // load
            Insn::new(0x07, 0, 0, 0, 1),     // add
            Insn::new(0x84, 0, 0, 0, 0),     // negate
            Insn::new(0xbf, 0, 1, 0, 0),     // copy of an argument
            Insn::new(0xbf, 0, 0, 8, 0),     // sign-extending copy
            Insn::new(0xdb, 1, 0, 0, 0x01),  // atomic fetch
            Insn::new(0xdb, 1, 2, 0, 0xf1),  // compare and exchange
            Insn::new(0xdb, 0, 1, 0, 0x100), // atomic load
        ];
        for writer in writers {
            assert_eq!(of(&[set_r0(2), writer, EXIT]), None, "{writer:?}");
        }
        let wide = [set_r0(2), Insn::new(op::LD_IMM64, 0, 0, 0, 2), Insn::default(), EXIT];
        assert_eq!(of(&wide), None);
        assert_eq!(of(&[set_r0(32), EXIT]), None, "codes without a bit are any code");
    }

    #[test]
    fn an_old_packet_load_may_leave_with_zero() {
        assert_eq!(of(&[Insn::new(0x30, 0, 0, 0, 12), set_r0(2), EXIT]), Some(vec![0, 2]));
    }

    #[test]
    fn a_tail_call_may_return_anything() {
        assert_eq!(of(&[helper(12), set_r0(2), EXIT]), None);
    }
}
