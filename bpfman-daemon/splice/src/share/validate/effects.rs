//! Compares effects of both programs, and applies them to the state.

use bpfman_model::Insn;

use super::state::{JointState, ProgramSide, SLOT, TIME};
use super::term::TermKind;
use super::walk::{ProgramPair, StepResult};
use crate::specialise::of_helper;
use crate::text::opcode;
use crate::text::scan::Effect;

/// Helpers that write to no packet by the kernel's documentation, and accept no address in it for their output.
#[rustfmt::skip]
const KEEPS_PACKET: [i32; 20] =
    [1, 2, 3, 5, 6, 7, 8, 23, 25, 26, 28, 51, 125, 130, 131, 132, 133, 160, 189, 195];

const RETURNS_ADDRESS: [i32; 3] = [1, 131, 195];

impl ProgramPair<'_> {
    pub(super) fn effect(
        &mut self,
        (was, insn, has): (usize, Insn, Effect),
        (is, now, does): (usize, Insn, Effect),
        state: &mut JointState,
    ) -> StepResult<()> {
        state.last = 2 * is;
        let is_same_call = match (has, does) {
            (Effect::LocalCall { distance }, Effect::LocalCall { distance: other }) => {
                self.function(ProgramSide::Before, was, distance)?
                    == self.function(ProgramSide::After, is, other)?
            }
            _ => false,
        };
        if insn != now && !is_same_call {
            return Err("another effect");
        }
        let is_atomic = insn.class() == opcode::CLASS_STX && insn.code & opcode::MODE == opcode::MODE_ATOMIC;
        let read = match (has, insn.class()) {
            (Effect::Exit, _) => vec![0],
            (Effect::Helper(id), _) => (1..=of_helper(id)).collect(),
            (Effect::Kfunc { .. } | Effect::LocalCall { .. }, _) => (1..=5).collect(),
            (_, opcode::CLASS_LDX) => vec![insn.src()],
            (_, opcode::CLASS_ST) => vec![insn.dst()],
            (_, opcode::CLASS_STX) if is_atomic => vec![0, insn.dst(), insn.src()],
            (_, opcode::CLASS_STX) => vec![insn.dst(), insn.src()],
            _ => return Err("an instruction that is unknown"),
        };
        for register in read {
            let (before, after) =
                (state.get(ProgramSide::Before, register), state.get(ProgramSide::After, register));
            if !state.is_same(&mut self.terms, before, after) {
                return Err("another value");
            }
        }
        let kind = match (has, insn.class()) {
            (Effect::Exit, _) => return Ok(()),
            (Effect::Helper(id), _) if RETURNS_ADDRESS.contains(&id) => TermKind::Elsewhere,
            (Effect::Helper(id), _) if KEEPS_PACKET.contains(&id) => TermKind::Number,
            (Effect::Plain, opcode::CLASS_LDX) => TermKind::Number,
            (Effect::Plain, _) => self.store(insn, is_atomic, state)?,
            _ => {
                state.change_packet(&mut self.terms, true);
                TermKind::Unknown
            }
        };
        let written = match (has, insn.class(), insn.imm) {
            (Effect::Plain, opcode::CLASS_ST, _) => 0..0,
            (Effect::Plain, opcode::CLASS_LDX, _) => insn.dst()..insn.dst() + 1,
            (Effect::Plain, _, imm) if is_atomic => match imm {
                opcode::ATOMIC_LOAD_ACQUIRE => insn.dst()..insn.dst() + 1,
                opcode::ATOMIC_CMPXCHG => 0..1,
                _ if imm & opcode::ATOMIC_FETCH != 0 => insn.src()..insn.src() + 1,
                _ => 0..0,
            },
            (Effect::Plain, ..) => 0..0,
            _ => 0..6,
        };
        for register in written {
            let term = self.terms.symbol(if register == 0 || has == Effect::Plain {
                kind
            } else {
                TermKind::Unknown
            });
            state.set_both(register, term);
        }
        state.values[TIME] = self.terms.symbol(TermKind::Unknown);
        Ok(())
    }

    fn store(&mut self, insn: Insn, is_atomic: bool, state: &mut JointState) -> StepResult<TermKind> {
        let (address, size) = (
            self.address(ProgramSide::Before, insn.dst(), insn.off, state),
            i64::from(opcode::access_size(insn.code)),
        );
        if self.reserved(address, size)?.is_some() {
            return Err("a reserved slot");
        }
        if !matches!(self.terms.traits(address).kind, TermKind::Elsewhere | TermKind::Context) {
            state.change_packet(&mut self.terms, false);
        }
        if let Some(is_whole) = self.is_context_slot(address, size) {
            let is_value = is_whole && !is_atomic && insn.class() == opcode::CLASS_STX;
            let value = if is_value {
                state.get(ProgramSide::Before, insn.src())
            } else {
                self.terms.symbol(TermKind::Unknown)
            };
            state.values[SLOT] = value;
        }
        Ok(TermKind::Unknown)
    }
}
