//! The timed twin: a copy of the chain that reads the clock between members, which costs more than most members. The
//! chain's entry counts packets per CPU and sends every 1,024th to it by a tail call (2 ns per packet).

use bpfman_model::{Insn, MapId};

use crate::analysis::stack::{CLOCK_BYTES, ContextPlace};
use crate::chain::counters::COUNTER_ROWS;
use crate::chain::hook::SpliceHook;
use crate::emit::compile::Timing;
use crate::emit::glue;
use crate::text::asm::Asm;
use crate::text::opcode;

const LOOKUP: i32 = 1;
const CLOCK: i32 = 5;

/// One packet in this many is timed: a power of two.
pub const TIMED_ONE_IN: u32 = 1024;

/// Layout of the times: rows as in [`crate::CounterLayout`], two 64-bit cells per slot: samples and nanoseconds. The
/// last slot is the clock itself: subtract its mean. A member's time includes the check of the previous verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeLayout {
    /// Number of members that can run, plus one.
    pub slots: usize,
}

impl TimeLayout {
    /// Returns the layout for a chain of `members` members that can run.
    #[must_use]
    pub const fn new(members: usize) -> Self {
        Self { slots: members + 1 }
    }

    /// Returns the size of a row on one CPU, in bytes.
    #[must_use]
    pub const fn value_size(self) -> usize {
        self.slots * 16
    }

    /// Returns the slot of the clock itself.
    #[must_use]
    pub const fn clock(self) -> usize {
        self.slots - 1
    }

    /// Returns the index of the cell (eight bytes each) of a slot's samples; its nanoseconds follow.
    #[must_use]
    pub const fn samples(self, slot: usize) -> usize {
        slot * 2
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) samples: MapId,
    pub(crate) layout: TimeLayout,
    pub(crate) hook: SpliceHook,
    pub(crate) context: ContextPlace,
    pub(crate) frame: u32,
}

/// Sends one of 1,024 packets to the twin. Preserves register 1.
pub(crate) fn tick(asm: &mut Asm, timing: Timing, twin: MapId) {
    let go = asm.label();
    const CONTEXT: u8 = 6;
    asm.push(Insn::new(opcode::MOV64_REG, CONTEXT, 1, 0, 0));
    asm.push(Insn::new(opcode::STORE_DW_IMM, opcode::FRAME, 0, glue::below(8), 0));
    look_up(asm, timing.ticks, 8);
    asm.branch(opcode::JEQ64, 0, go);
    add(asm, 0, None);
    asm.push(Insn::new(opcode::AND64_IMM, 1, 0, 0, TIMED_ONE_IN as i32 - 1));
    asm.branch_on(1, opcode::JNE64, u32::from(timing.phase) % TIMED_ONE_IN, go);
    asm.push(Insn::new(opcode::MOV64_REG, 1, CONTEXT, 0, 0));
    glue::tail_call(asm, twin);
    asm.bind(go);
    asm.push(Insn::new(opcode::MOV64_REG, 1, CONTEXT, 0, 0));
}

fn look_up(asm: &mut Asm, map: MapId, depth: u32) {
    asm.push(Insn::new(opcode::MOV64_REG, 2, opcode::FRAME, 0, 0));
    asm.push(Insn::new(opcode::ADD64_IMM, 2, 0, 0, i32::from(glue::below(depth))));
    asm.load_map(1, map);
    asm.helper(LOOKUP);
}

fn add(asm: &mut Asm, offset: i16, register: Option<u8>) {
    asm.push(Insn::new(opcode::LOAD_DW, 1, 0, offset, 0));
    asm.push(match register {
        Some(register) => Insn::new(opcode::ADD64_REG, 1, register, 0, 0),
        None => Insn::new(opcode::ADD64_IMM, 1, 0, 0, 1),
    });
    asm.push(Insn::new(opcode::STORE_DW_REG, 0, 1, offset, 0));
}

impl Clock {
    fn free(&self) -> impl Iterator<Item = u8> {
        let context = self.context;
        (6..=9).filter(move |register| context != ContextPlace::Register(*register))
    }

    fn last_reading(&self) -> i16 {
        glue::below(self.frame + 8)
    }

    fn read(&self, asm: &mut Asm) {
        asm.helper(CLOCK);
        asm.push(Insn::new(opcode::STORE_DW_REG, opcode::FRAME, 0, self.last_reading(), 0));
    }

    /// Stores the interface's row, measures the clock itself, and starts it. Preserves register 1.
    pub(crate) fn start(&self, asm: &mut Asm) {
        let context = self.free().nth(2).unwrap_or(9);
        asm.push(Insn::new(opcode::MOV64_REG, context, 1, 0, 0));
        asm.push(Insn::new(opcode::LOAD_W, 2, 1, self.hook.ifindex_offset(), 0));
        asm.push(Insn::new(opcode::AND32_IMM, 2, 0, 0, COUNTER_ROWS as i32 - 1));
        asm.push(Insn::new(opcode::STORE_DW_REG, opcode::FRAME, 2, glue::below(self.frame + CLOCK_BYTES), 0));
        self.read(asm);
        self.lap(asm, self.layout.clock());
        asm.push(Insn::new(opcode::MOV64_REG, 1, context, 0, 0));
    }

    /// Records a member's time, and starts that of the next. Preserves register 0.
    pub(crate) fn lap(&self, asm: &mut Asm, slot: usize) {
        let mut free = self.free();
        let (verdict, time) = (free.next().unwrap_or(6), free.next().unwrap_or(7));
        let cell = (self.layout.samples(slot) * 8) as i16;
        let skip = asm.label();
        asm.push(Insn::new(opcode::MOV64_REG, verdict, 0, 0, 0));
        asm.helper(CLOCK);
        asm.push(Insn::new(opcode::MOV64_REG, time, 0, 0, 0));
        asm.push(Insn::new(opcode::LOAD_DW, 1, opcode::FRAME, self.last_reading(), 0));
        asm.push(Insn::new(opcode::SUB64_REG, time, 1, 0, 0));
        look_up(asm, self.samples, self.frame + CLOCK_BYTES);
        asm.branch(opcode::JEQ64, 0, skip);
        add(asm, cell, None);
        add(asm, cell + 8, Some(time));
        asm.bind(skip);
        // Read the clock again, so that recording is not charged to a member.
        self.read(asm);
        asm.push(Insn::new(opcode::MOV64_REG, 0, verdict, 0, 0));
    }
}
