//! Slots of a frame that may be read before the function wrote them: they must be zeroed.
//!
//! The verifier lets privileged programs read stack that they never wrote, which holds data of earlier members. Only a
//! write by the frame pointer itself is certain. A load by any pointer that may point into the frame counts as a read,
//! and a call with such a pointer as a read of the whole frame.

use bpfman_model::{Insn, ProgramText};

use crate::analysis::frame::{self, Analysis, FunctionSummary};
use crate::analysis::pointer::{self, FULL, OWN, Pointer, Reach};
use crate::analysis::values::Values;
use crate::chain::member::{effects, span};
use crate::text::flow::{self, FlowFacts};
use crate::text::opcode;
use crate::text::scan::Effect;

/// Set of slots of eight bytes; the lowest bit is right below the frame pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameSlots(u64);

impl FrameSlots {
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Returns the distances of slot starts below the frame pointer, within `frame` bytes.
    pub(crate) fn depths(self, frame: u32) -> impl Iterator<Item = u32> {
        (8..=frame).step_by(8).filter(move |depth| self.0 >> (depth / 8 - 1) & 1 == 1)
    }
}

/// Set of bytes of a frame; the lowest bit of the first word is right below the frame pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FrameBytes([u64; FULL as usize / 64]);

impl FrameBytes {
    const NONE: Self = Self([0; FULL as usize / 64]);

    fn has(&self, depth: u32) -> bool {
        self.0[depth as usize / 64] >> (depth % 64) & 1 == 1
    }

    fn add(&mut self, depth: u32) {
        self.0[depth as usize / 64] |= 1 << (depth % 64);
    }
}

#[derive(Clone)]
struct Known {
    pointers: Values<Pointer>,
    written: FrameBytes,
}

impl FlowFacts for Known {
    fn join(&mut self, other: &Self) -> bool {
        let mut widened = self.pointers.join(&other.pointers);
        for (mine, theirs) in self.written.0.iter_mut().zip(other.written.0) {
            widened |= *mine & !theirs != 0;
            *mine &= theirs;
        }
        widened
    }
}

pub(crate) fn slots(text: &ProgramText) -> Vec<FrameSlots> {
    let (summaries, callbacks) = frame::summaries(text);
    // The reads of a tail-called program, and the target of an indirect jump, are unknown.
    let is_opaque = |effect| matches!(effect, Effect::IndirectJump) || effect == Effect::Helper(TAIL_CALL);
    let is_unclear = effects(text).any(|(_, effect)| is_opaque(effect));
    let of = |function| match is_unclear {
        true => FrameSlots::ALL,
        false => of_function(text, function, &summaries, &callbacks),
    };
    (0..text.functions.len()).map(of).collect()
}

const TAIL_CALL: i32 = 12;

fn of_function(
    text: &ProgramText,
    function: usize,
    summaries: &[FunctionSummary],
    callbacks: &[usize],
) -> FrameSlots {
    let mut analysis = Analysis::new(text, summaries, callbacks);
    let mut reads = Reads::default();
    let entry = Known { pointers: pointer::at_entry(function > 0), written: FrameBytes::NONE };
    flow::run(&text.insns, span(text, function), entry, |at, insn, effect, known| {
        step(insn, effect, known, &mut reads, !callbacks.is_empty());
        analysis.step(at, insn, effect, &mut known.pointers);
    });
    reads.unwritten
}

fn step(insn: Insn, effect: Effect, known: &mut Known, reads: &mut Reads, calls_back: bool) {
    let own = |register: u8| known.pointers.registers.get(usize::from(register)).and_then(|at| at.0[OWN]);
    match effect {
        Effect::Helper(_) if !calls_back => {
            for reach in (1..=5).filter_map(own) {
                reads.upwards(reach, &known.written);
            }
        }
        // A callee may also read below the pointer.
        Effect::Helper(_) | Effect::Kfunc { .. } | Effect::LocalCall { .. } => {
            if (1..=5).filter_map(own).next().is_some() {
                reads.anywhere(&known.written);
            }
        }
        _ => match insn.class() {
            opcode::CLASS_LDX => reads.one(own(insn.src()), insn, &known.written),
            opcode::CLASS_STX if insn.code & opcode::MODE == opcode::MODE_ATOMIC => {
                reads.one(own(insn.dst()), insn, &known.written);
                reads.one(own(insn.src()), insn, &known.written);
            }
            opcode::CLASS_ST | opcode::CLASS_STX if insn.dst() == opcode::FRAME => {
                bytes(0, insn).for_each(|depth| known.written.add(depth));
            }
            _ => {}
        },
    }
}

fn bytes(from: i32, insn: Insn) -> impl Iterator<Item = u32> {
    let size = i32::from(opcode::access_size(insn.code));
    let start = from + i32::from(insn.off);
    (start..start + size).filter_map(|offset| u32::try_from(-offset - 1).ok()).filter(|depth| *depth < FULL)
}

#[derive(Default)]
struct Reads {
    unwritten: FrameSlots,
}

impl Reads {
    fn read(&mut self, depth: u32, written: &FrameBytes) {
        if !written.has(depth) {
            self.unwritten.0 |= 1 << (depth / 8);
        }
    }

    fn one(&mut self, pointer: Option<Reach>, insn: Insn, written: &FrameBytes) {
        match pointer {
            None => {}
            Some(reach) if reach.exact => {
                bytes(reach.lowest, insn).for_each(|depth| self.read(depth, written))
            }
            Some(_) => self.anywhere(written),
        }
    }

    fn upwards(&mut self, reach: Reach, written: &FrameBytes) {
        if !reach.certain {
            return self.anywhere(written);
        }
        let deepest = reach.lowest.min(0).unsigned_abs().min(FULL);
        (0..deepest).for_each(|depth| self.read(depth, written));
    }

    fn anywhere(&mut self, written: &FrameBytes) {
        (0..FULL).for_each(|depth| self.read(depth, written));
    }
}

#[cfg(test)]
#[path = "unwritten_tests.rs"]
mod tests;
