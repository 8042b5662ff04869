//! Constants in the arguments of calls: proved on all paths, else unknown.

use std::collections::BTreeMap;
use std::ops::Range;

use bpfman_model::{Insn, op};

use crate::text::flow::{FlowFacts, run};
use crate::text::opcode;
use crate::text::scan::{Effect, target, walk};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Constant {
    #[default]
    Unknown,
    Number(u64),
    Map(usize),
    Function(usize),
    /// Distance from the end of the function's own stack frame.
    Frame(i32),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RegisterConstants([Constant; 11]);

impl RegisterConstants {
    pub(super) fn get(&self, register: u8) -> Constant {
        self.0.get(usize::from(register)).copied().unwrap_or_default()
    }

    fn set(&mut self, register: u8, value: Constant) {
        if let Some(held) = self.0.get_mut(usize::from(register)) {
            *held = value;
        }
    }
}

impl FlowFacts for RegisterConstants {
    fn join(&mut self, other: &Self) -> bool {
        let before = self.0;
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            if *mine != theirs {
                *mine = Constant::Unknown;
            }
        }
        self.0 != before
    }
}

pub(super) fn at_calls(insns: &[Insn], function: Range<usize>) -> BTreeMap<usize, RegisterConstants> {
    let mut calls = BTreeMap::new();
    // An indirect jump reaches its targets from any path: no constant is known there.
    let is_followed =
        walk(insns, function.clone()).all(|(_, effect)| !matches!(effect, Effect::IndirectJump));
    if !is_followed {
        let is_call = |effect: &Effect| matches!(effect, Effect::Helper(_) | Effect::Kfunc { .. });
        let found = walk(insns, function).filter(|(_, effect)| is_call(effect));
        return found.map(|(at, _)| (at, RegisterConstants::default())).collect();
    }
    let mut entry = RegisterConstants::default();
    entry.set(opcode::FRAME, Constant::Frame(0));
    run(insns, function, entry, |at, insn, effect, known| {
        if matches!(effect, Effect::Helper(_) | Effect::Kfunc { .. }) {
            calls.insert(at, *known);
        }
        follow((at, insn, insns.get(at + 1).copied()), effect, known);
    });
    calls
}

fn follow((at, insn, next): (usize, Insn, Option<Insn>), effect: Effect, known: &mut RegisterConstants) {
    match effect {
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. } | Effect::OldPacketLoad => {
            known.0[..6].fill(Constant::Unknown);
        }
        Effect::FunctionPointer { distance } => {
            known.set(insn.dst(), target(at, distance).map_or(Constant::Unknown, Constant::Function));
        }
        _ => match insn.class() {
            opcode::CLASS_ALU | opcode::CLASS_ALU64 => known.set(insn.dst(), moved(insn, known)),
            opcode::CLASS_LDX => known.set(insn.dst(), Constant::Unknown),
            opcode::CLASS_STX if insn.code & opcode::MODE == opcode::MODE_ATOMIC => {
                for written in [0, insn.dst(), insn.src()] {
                    known.set(written, Constant::Unknown);
                }
            }
            opcode::CLASS_LD => known.set(insn.dst(), wide(insn, next)),
            _ => {}
        },
    }
}

fn moved(insn: Insn, known: &RegisterConstants) -> Constant {
    if insn.off != 0 {
        return Constant::Unknown;
    }
    if let (opcode::ADD64_IMM, Constant::Frame(place)) = (insn.code, known.get(insn.dst())) {
        return place.checked_add(insn.imm).map_or(Constant::Unknown, Constant::Frame);
    }
    match (insn.code, known.get(insn.src())) {
        (opcode::MOV64_IMM, _) => Constant::Number(i64::from(insn.imm).cast_unsigned()),
        (opcode::MOV32_IMM, _) => Constant::Number(u64::from(insn.imm.cast_unsigned())),
        (opcode::MOV64_REG, value) => value,
        (opcode::MOV32_REG, Constant::Number(value)) => Constant::Number(u64::from(value as u32)),
        _ => Constant::Unknown,
    }
}

fn wide(insn: Insn, next: Option<Insn>) -> Constant {
    match (insn.is_ld_imm64(), insn.src()) {
        (true, 0) => {
            let high = next.map_or(0, |half| half.imm.cast_unsigned());
            Constant::Number(u64::from(high) << 32 | u64::from(insn.imm.cast_unsigned()))
        }
        (true, op::PSEUDO_MAP_FD) => usize::try_from(insn.imm).map_or(Constant::Unknown, Constant::Map),
        _ => Constant::Unknown,
    }
}

#[cfg(test)]
#[test]
fn only_one_value_on_all_paths_is_a_constant() {
    use bpfman_model::op::{CALL, EXIT};
    let number = |register, imm| Insn::new(opcode::MOV64_IMM, register, 0, 0, imm);
    let call = Insn::new(CALL, 0, 0, 0, 181);
    let jump = Insn::new(opcode::JEQ64, 0, 0, 1, 0);
    let before = |insns: &[Insn]| {
        let calls = at_calls(insns, 0..insns.len());
        calls.values().map(|registers| registers.get(1)).collect::<Vec<_>>()
    };
    let exit = Insn::new(EXIT, 0, 0, 0, 0);
    assert_eq!(before(&[number(1, -1), call, call, exit]), [Constant::Number(u64::MAX), Constant::Unknown]);
    assert_eq!(before(&[number(1, 7), jump, number(1, 8), call, exit]), [Constant::Unknown]);
    assert_eq!(
        before(&[number(6, 7), jump, call, Insn::new(opcode::MOV64_REG, 1, 6, 0, 0), call, exit])[1],
        Constant::Number(7)
    );
    let added = Insn::new(opcode::ADD64_IMM, 1, 0, 0, 1);
    assert_eq!(before(&[number(1, 7), added, call, exit]), [Constant::Unknown]);
    let computed = Insn::new(0x0d, 1, 0, 0, 0);
    assert_eq!(before(&[number(1, 7), computed, call, exit]), [Constant::Unknown], "a jump by a table");
}
