//! Frame depths, by pointers followed through registers, spills and calls. If an offset is not a constant, the depth is
//! that of the verifier, or if that is unknown, a full frame.

use bpfman_model::{Insn, ProgramText};

use crate::analysis::pointer::{self, OWN, Pointer, Reach};
use crate::analysis::values::{RegisterValue, Values};
use crate::chain::member::{effects, function_at, span};
use crate::text::flow;
use crate::text::opcode;
use crate::text::scan::{Effect, target};

/// Reach of a function and its callees below its frame pointer, and below each argument's target.
pub(super) type FunctionSummary = [Option<Reach>; 6];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Constant bytes below the frame pointer, in whole slots of eight as the verifier counts.
    pub(crate) bytes: u32,
    /// False if an offset into the frame is not a constant.
    pub(crate) certain: bool,
}

pub(crate) fn depths(text: &ProgramText) -> Vec<Depth> {
    summaries(text).0.iter().map(|summary| depth(summary[OWN])).collect()
}

pub(super) fn summaries(text: &ProgramText) -> (Vec<FunctionSummary>, Vec<usize>) {
    let callbacks: Vec<usize> = effects(text)
        .filter_map(|(at, effect)| match effect {
            Effect::FunctionPointer { distance } => function_at(text, target(at, distance)?),
            _ => None,
        })
        .collect();
    let mut summaries: Vec<FunctionSummary> = vec![[None; 6]; text.functions.len()];
    // A caller's frame depends on its callees' use of arguments. Calls nest at most as deep as there are functions.
    for _ in 0..=text.functions.len() {
        let before = summaries.clone();
        for function in (0..text.functions.len()).rev() {
            summaries[function] = summarise(text, function, &summaries, &callbacks);
        }
        if before == summaries {
            break;
        }
    }
    (summaries, callbacks)
}

fn depth(own: Option<Reach>) -> Depth {
    match own {
        None => Depth { bytes: 0, certain: true },
        Some(reach) => {
            Depth { bytes: reach.lowest.min(0).unsigned_abs().next_multiple_of(8), certain: reach.certain }
        }
    }
}

pub(super) struct Analysis<'a> {
    text: &'a ProgramText,
    summaries: &'a [FunctionSummary],
    callbacks: &'a [usize],
    summary: FunctionSummary,
}

fn summarise(
    text: &ProgramText,
    function: usize,
    summaries: &[FunctionSummary],
    callbacks: &[usize],
) -> FunctionSummary {
    let entry = pointer::at_entry(function > 0);
    let mut analysis = Analysis::new(text, summaries, callbacks);
    flow::run(&text.insns, span(text, function), entry, |at, insn, effect, state| {
        analysis.step(at, insn, effect, state);
    });
    analysis.summary
}

impl<'a> Analysis<'a> {
    pub(super) fn new(
        text: &'a ProgramText,
        summaries: &'a [FunctionSummary],
        callbacks: &'a [usize],
    ) -> Self {
        Self { text, summaries, callbacks, summary: [None; 6] }
    }

    fn touch(&mut self, pointer: Pointer, offset: i32) {
        for (noted, reach) in self.summary.iter_mut().zip(pointer.0) {
            if let Some(reach) = reach {
                let used = Reach { exact: false, ..reach.moved(offset) };
                *noted = Some(noted.map_or(used, |noted| noted.or(used)));
            }
        }
    }

    pub(super) fn step(&mut self, at: usize, insn: Insn, effect: Effect, state: &mut Values<Pointer>) {
        let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
        match effect {
            Effect::Helper(id) => self.call_kernel(Some(id), state),
            Effect::Kfunc { .. } => self.call_kernel(None, state),
            Effect::LocalCall { distance } => {
                let callee = target(at, distance).and_then(|to| function_at(self.text, to));
                for argument in 1..=5 {
                    let below = callee.and_then(|callee| self.summaries[callee][argument]);
                    self.pass(state.registers[argument], below);
                }
                state.forget_scratch();
            }
            Effect::OldPacketLoad => state.forget_scratch(),
            _ if dst > 10 || src > 10 => {}
            _ => match insn.class() {
                opcode::CLASS_LD => state.registers[dst] = Pointer::default(),
                opcode::CLASS_LDX => {
                    let from = state.registers[src];
                    self.touch(from, i32::from(insn.off));
                    state.registers[dst] = load(from, insn, state);
                }
                opcode::CLASS_ST => self.touch(state.registers[dst], i32::from(insn.off)),
                opcode::CLASS_STX => self.store(insn, dst, src, state),
                opcode::CLASS_ALU64 => {
                    let result = arithmetic(insn, state.registers[dst], state.registers[src]);
                    if result.0[OWN].is_some_and(|reach| reach.exact) {
                        // A constant address in the frame counts even before it is used.
                        self.touch(Pointer([result.0[OWN], None, None, None, None, None]), 0);
                    }
                    state.registers[dst] = result;
                }
                opcode::CLASS_ALU => state.registers[dst] = Pointer::default(),
                _ => {}
            },
        }
    }

    fn pass(&mut self, pointer: Pointer, below: Option<Reach>) {
        self.touch(pointer, 0);
        if let Some(below) = below {
            let reached = pointer.map(|reach| {
                let moved = reach.moved(below.lowest.min(0));
                if below.certain { moved } else { moved.anywhere() }
            });
            self.touch(reached, 0);
        }
    }

    /// Follows a call of the kernel, which may call back the program's functions with a received pointer.
    fn call_kernel(&mut self, helper: Option<i32>, state: &mut Values<Pointer>) {
        for register in 1..=5 {
            let pointer = state.registers[register];
            let arguments: &[usize] = match (helper, register) {
                // `bpf_loop(count, function, context, flags)` calls `function(index, context)`.
                (Some(181), 3) => &[2],
                // `bpf_for_each_map_elem(map, function, context, flags)` calls `function(map, key, value, context)`.
                (Some(164), 3) => &[4],
                // No other argument of these reaches the function; older helpers have no callbacks.
                (Some(164 | 181), _) => &[],
                (Some(id), _) if id < 164 => &[],
                _ => &[1, 2, 3, 4, 5],
            };
            let mut below: Option<Reach> = None;
            for callback in self.callbacks {
                for argument in arguments {
                    below = match (below, self.summaries[*callback][*argument]) {
                        (Some(a), Some(b)) => Some(a.or(b)),
                        (a, b) => a.or(b),
                    };
                }
            }
            self.pass(pointer, below);
        }
        state.forget_scratch();
    }

    fn store(&mut self, insn: Insn, dst: usize, src: usize, state: &mut Values<Pointer>) {
        let to = state.registers[dst];
        let value = state.registers[src];
        self.touch(to, i32::from(insn.off));
        if insn.code & 0xe0 == opcode::MODE_ATOMIC {
            match insn.imm {
                opcode::ATOMIC_CMPXCHG => state.registers[0] = Pointer::default(),
                opcode::ATOMIC_LOAD_ACQUIRE => {
                    state.registers[dst] = load(value, insn, state);
                    self.touch(value, i32::from(insn.off));
                }
                operation if operation & opcode::ATOMIC_FETCH != 0 => {
                    state.registers[src] = Pointer::default();
                }
                _ => {}
            }
        } else if insn.code & 0x18 == opcode::SIZE_DW && value.is_pointer() && to.is_pointer() {
            match exact_slot(to, insn.off) {
                Some(slot) => {
                    let there = state.slots.entry(slot).or_default();
                    *there = there.or(value);
                }
                None => state.anywhere = state.anywhere.or(value),
            }
        }
    }
}

fn exact_slot(pointer: Pointer, offset: i16) -> Option<i32> {
    match pointer.0 {
        [Some(own), None, None, None, None, None] if own.exact => Some(own.lowest + i32::from(offset)),
        _ => None,
    }
}

fn load(from: Pointer, insn: Insn, state: &Values<Pointer>) -> Pointer {
    if !from.is_pointer() || insn.code & 0x18 != opcode::SIZE_DW {
        return Pointer::default();
    }
    match exact_slot(from, insn.off) {
        Some(slot) => state.slots.get(&slot).copied().unwrap_or_default().or(state.anywhere),
        None => state.slots.values().fold(state.anywhere, |all, slot| all.or(*slot)),
    }
}

/// Only sums and copies of pointers are pointers: the verifier allows no others.
fn arithmetic(insn: Insn, dst: Pointer, src: Pointer) -> Pointer {
    let register = insn.code & opcode::SOURCE_REGISTER != 0;
    match (insn.code & 0xf0, register) {
        (opcode::MOV, true) if insn.off == 0 => src,
        (opcode::ADD, false) => dst.map(|reach| reach.moved(insn.imm)),
        (opcode::SUB, false) => dst.map(|reach| reach.moved(insn.imm.saturating_neg())),
        (opcode::ADD, true) => dst.or(src).map(Reach::anywhere),
        (opcode::SUB, true) if dst.0[OWN].is_some() && src.0[OWN].is_some() => Pointer::default(),
        (opcode::SUB, true) => dst.map(Reach::anywhere),
        _ => Pointer::default(),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
