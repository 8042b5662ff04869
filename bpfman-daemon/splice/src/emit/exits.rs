//! Exits of a program: they count the packet, if enabled, and set the result for the hook.

use bpfman_model::{Insn, MapId};

use crate::analysis::stack::ContextPlace;
use crate::analysis::values::RegisterValue;
use crate::analysis::verdicts::Codes;
use crate::chain::counters::{COUNTER_ROWS, CounterLayout};
use crate::chain::hook::{Code, SpliceHook};
use crate::emit::glue;
use crate::text::asm::{Asm, Label};
use crate::text::opcode;

const LOOKUP: i32 = 1;

/// A failed tail call to a member: not a verdict of any hook.
pub(crate) const FAILED: Code = 0x6661_696c;

/// Register of the verdict. At the exits, members have ended, so that their registers are free.
const VERDICT: u8 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Stopped(Codes),
    AllProceeded,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    pub(crate) map: MapId,
    pub(crate) layout: CounterLayout,
    /// Hides from the verifier which cell each exit uses: without CAP_PERFMON, it requires one bound for all exits.
    pub(crate) is_hidden: bool,
}

pub(crate) struct Exits {
    hook: SpliceHook,
    counting: Option<Counting>,
    ways: Vec<(Label, usize, Out)>,
    first: Option<Label>,
}

impl Exits {
    pub(crate) const fn new(hook: SpliceHook, counting: Option<Counting>) -> Self {
        Self { hook, counting, ways: Vec::new(), first: None }
    }

    /// Returns the exit for a member that ends the chain with one of `codes` in register 0.
    pub(crate) fn stopped(&mut self, asm: &mut Asm, member: usize, codes: Codes) -> Label {
        // Without counters all members share one exit.
        let shared = self.ways.iter_mut().find(|(_, _, out)| matches!(out, Out::Stopped(_)));
        if let (None, Some((label, _, Out::Stopped(all)))) = (self.counting, shared) {
            *all = all.or(codes);
            return *label;
        }
        self.way(asm, member, Out::Stopped(codes))
    }

    pub(crate) fn all_proceeded(&mut self, asm: &mut Asm) -> Label {
        let slot = self.counting.map_or(0, |counting| counting.layout.all_proceeded());
        self.way(asm, slot, Out::AllProceeded)
    }

    pub(crate) fn failed(&mut self, asm: &mut Asm, member: usize) -> Label {
        let shared = self.ways.iter().find(|(_, _, out)| *out == Out::Failed);
        if let (None, Some((label, _, _))) = (self.counting, shared) {
            return *label;
        }
        self.way(asm, member, Out::Failed)
    }

    fn way(&mut self, asm: &mut Asm, slot: usize, out: Out) -> Label {
        let label = asm.label();
        self.ways.push((label, slot, out));
        label
    }

    pub(crate) fn run_into(&mut self, way: Label) {
        self.first = Some(way);
    }

    pub(crate) fn emit(mut self, asm: &mut Asm, context: ContextPlace) {
        self.ways.sort_by_key(|(label, _, _)| Some(*label) != self.first);
        match self.counting {
            None => self.emit_plain(asm),
            Some(counting) => self.emit_counted(asm, counting, context),
        }
    }

    fn emit_plain(self, asm: &mut Asm) {
        for (label, _, out) in self.ways {
            asm.bind(label);
            match out {
                Out::Stopped(codes) => glue::stopped(asm, self.hook, codes),
                Out::AllProceeded => glue::answer(asm, self.hook.end_verdict()),
                Out::Failed => glue::answer(asm, self.hook.fail_verdict()),
            }
        }
    }

    /// Emits the exits: each selects its cell, and all share the code for counting and the result.
    fn emit_counted(self, asm: &mut Asm, counting: Counting, context: ContextPlace) {
        let layout = counting.layout;
        // The context may be in a register until the row is known.
        let offset = if context == ContextPlace::Register(9) { 8 } else { 9 };
        let (by_verdict, count) = (asm.label(), asm.label());
        let mut answers = Codes::default();
        let mut verdicts_differ = false;
        for (label, slot, out) in &self.ways {
            asm.bind(*label);
            let (cell, codes) = match out {
                Out::Stopped(codes) => (codes.only().map(|code| layout.cell(*slot, code)), *codes),
                Out::AllProceeded => {
                    let code = self.hook.end_verdict();
                    asm.set(0, code);
                    (Some(layout.cell(*slot, code)), Codes::constant(code))
                }
                Out::Failed => {
                    asm.set(0, self.hook.fail_verdict());
                    (Some(layout.failed_cell(*slot)), Codes::constant(self.hook.fail_verdict()))
                }
            };
            answers = answers.or(codes);
            verdicts_differ |= cell.is_none();
            // A row has less than 5,000 bytes.
            asm.set(offset, (cell.unwrap_or(slot * layout.columns) * 8) as i32);
            asm.jump(if cell.is_some() { count } else { by_verdict });
        }
        if verdicts_differ {
            asm.bind(by_verdict);
            add_column(asm, self.hook, layout, offset);
        }
        asm.bind(count);
        emit_count(asm, self.hook, counting, context, offset);
        glue::stopped(asm, self.hook, answers);
    }
}

/// Counts the verdict of a shadow member in the member's slot, which no exit uses. The context stays in its place.
pub(crate) fn count_shadow(
    asm: &mut Asm,
    hook: SpliceHook,
    counting: Counting,
    context: ContextPlace,
    member: usize,
) {
    let layout = counting.layout;
    let mut free = (6..=9).rev().filter(|register| context != ContextPlace::Register(*register));
    let (Some(offset), Some(kept)) = (free.next(), free.next()) else { return };
    asm.set(offset, (member * layout.columns * 8) as i32);
    add_column(asm, hook, layout, offset);
    glue::load_context(asm, context);
    if let ContextPlace::Slot(_) = context {
        asm.push(Insn::new(opcode::MOV64_REG, kept, 1, 0, 0));
    }
    add_one(asm, hook, counting, context, offset);
    if let ContextPlace::Slot(depth) = context {
        asm.push(Insn::new(opcode::STORE_DW_REG, opcode::FRAME, kept, glue::below(depth), 0));
    }
}

fn add_column(asm: &mut Asm, hook: SpliceHook, layout: CounterLayout, offset: u8) {
    let (other, done) = (asm.label(), asm.label());
    asm.push(Insn::new(opcode::MOV32_REG, 3, 0, 0, 0));
    if hook.first_code() != 0 {
        asm.push(Insn::new(opcode::ADD32_IMM, 3, 0, 0, -hook.first_code()));
    }
    // Unsigned: codes below the first are large.
    asm.branch_on(3, opcode::JGT32, layout.known_columns() as u32 - 1, other);
    asm.push(Insn::new(opcode::LSH32_IMM, 3, 0, 0, 3));
    asm.jump(done);
    asm.bind(other);
    asm.set(3, layout.other_column() as i32 * 8);
    asm.bind(done);
    asm.push(Insn::new(opcode::ADD64_REG, offset, 3, 0, 0));
}

/// Emits the count of an exit. Preserves register 0.
fn emit_count(asm: &mut Asm, hook: SpliceHook, counting: Counting, context: ContextPlace, offset: u8) {
    glue::load_context(asm, context);
    asm.push(Insn::new(opcode::MOV64_REG, VERDICT, 0, 0, 0));
    add_one(asm, hook, counting, context, offset);
    asm.push(Insn::new(opcode::MOV64_REG, 0, VERDICT, 0, 0));
}

/// Adds one to the cell at `offset` in the interface's row. The context is in register 1.
fn add_one(asm: &mut Asm, hook: SpliceHook, counting: Counting, context: ContextPlace, offset: u8) {
    // The key takes the slot of the context, which has been read, or else the first eight bytes of the frame.
    let key = match context {
        ContextPlace::Slot(depth) => glue::below(depth),
        ContextPlace::Nowhere | ContextPlace::Register(_) => glue::below(8),
    };
    let done = asm.label();
    asm.push(Insn::new(opcode::LOAD_W, 1, 1, hook.ifindex_offset(), 0));
    if counting.is_hidden {
        // Two equal XORs restore the offset, but the verifier then knows only that it has 32 bits.
        asm.push(Insn::new(opcode::XOR32_REG, offset, 1, 0, 0));
        asm.push(Insn::new(opcode::XOR32_REG, offset, 1, 0, 0));
    }
    asm.push(Insn::new(opcode::AND32_IMM, 1, 0, 0, COUNTER_ROWS as i32 - 1));
    // Store the whole slot: without CAP_PERFMON, the verifier refuses to overwrite part of an address in it.
    asm.push(Insn::new(opcode::STORE_DW_REG, opcode::FRAME, 1, key, 0));
    asm.push(Insn::new(opcode::MOV64_REG, 2, opcode::FRAME, 0, 0));
    asm.push(Insn::new(opcode::ADD64_IMM, 2, 0, 0, i32::from(key)));
    asm.load_map(1, counting.map);
    asm.helper(LOOKUP);
    asm.branch_on(0, opcode::JEQ64, 0, done);
    if counting.is_hidden {
        let last = counting.layout.value_size() as u32 - 8;
        asm.push(Insn::new(opcode::AND32_IMM, offset, 0, 0, !7));
        asm.branch_on(offset, opcode::JGT32, last, done);
    }
    asm.push(Insn::new(opcode::ADD64_REG, 0, offset, 0, 0));
    asm.push(Insn::new(opcode::LOAD_DW, 1, 0, 0, 0));
    asm.push(Insn::new(opcode::ADD64_IMM, 1, 0, 0, 1));
    asm.push(Insn::new(opcode::STORE_DW_REG, 0, 1, 0, 0));
    asm.bind(done);
}
