//! Walks the chain once, from its first instruction to its last, and copies it: where paths with different facts meet,
//! the path with most facts gets a copy of its own.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::Insn;

use crate::share::condition::JumpTest;
use crate::share::expression::{ExpressionId, Expressions, START};
use crate::share::plan::{SharingPlan, SurveyedUses};
use crate::share::state::{PathFacts, TrackedValue};
use crate::share::step::{ContextSlot, PacketFields, overlaps, result, step};
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk, width};

pub(super) type BlockId = usize;

/// Access to a reserved slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotUse {
    Save(usize),
    Load(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) insn: Insn,
    /// Position of the instruction from which it comes.
    pub(super) origin: usize,
    pub(super) slot: Option<SlotUse>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Its last operation leaves the program.
    Exit,
    To(BlockId),
    Branch {
        op: Op,
        taken: BlockId,
        next: BlockId,
    },
}

pub(super) struct PathBlock {
    pub(super) ops: Vec<Op>,
    pub(super) end: End,
}

#[derive(Clone, Copy)]
pub(super) struct PathEdge {
    from: BlockId,
    taken: bool,
}

pub(super) struct EntryCode<'a> {
    /// The entry function.
    pub(super) insns: &'a [Insn],
    pub(super) fields: PacketFields,
    pub(super) slot: ContextSlot,
    /// Offset from the frame pointer of the first reserved slot; others are below it.
    pub(super) reserved: i16,
}

pub(super) struct Walk<'a> {
    pub(super) subject: &'a EntryCode<'a>,
    pub(super) plan: &'a SharingPlan,
    /// Maximum number of copies of an instruction.
    pub(super) copies: usize,
    pub(super) expressions: Expressions,
    leaders: BTreeSet<usize>,
    pub(super) loops: BTreeSet<usize>,
    pub(super) blocks: Vec<PathBlock>,
    pending: BTreeMap<usize, Vec<(Option<PathEdge>, PathFacts)>>,
    walked: BTreeSet<usize>,
    /// Copies for paths without facts.
    of_nothing: BTreeMap<usize, BlockId>,
    late: Vec<usize>,
    pub(super) found: SurveyedUses,
    /// Number of decided jumps, and of bases that are not computed again.
    pub(super) gains: usize,
    ops: usize,
}

impl<'a> Walk<'a> {
    /// Runs the walk; `None` if the function has jumps that the walk cannot follow, or becomes too large.
    pub(super) fn run(
        subject: &'a EntryCode<'a>,
        plan: &'a SharingPlan,
        copies: usize,
        expressions: Expressions,
    ) -> Option<(Self, Expressions)> {
        let (mut leaders, mut loops) = (BTreeSet::new(), BTreeSet::new());
        for (at, effect) in walk(subject.insns, 0..subject.insns.len()) {
            match effect {
                Effect::Jump { distance, .. } => {
                    let to = target(at, distance).filter(|to| *to < subject.insns.len())?;
                    leaders.insert(to);
                    if to <= at {
                        loops.insert(to);
                    }
                }
                Effect::BoundedLoop { .. }
                | Effect::IndirectJump
                | Effect::OldPacketLoad
                | Effect::UnboundReference => return None,
                _ => {}
            }
        }
        if loops.contains(&0) {
            return None;
        }
        let mut pass = Self {
            subject,
            plan,
            copies,
            expressions,
            leaders,
            loops,
            blocks: Vec::new(),
            pending: BTreeMap::from([(0, vec![(None, PathFacts::at_entry())])]),
            walked: BTreeSet::new(),
            of_nothing: BTreeMap::new(),
            late: Vec::new(),
            found: SurveyedUses::default(),
            gains: 0,
            ops: 0,
        };
        pass.walk_all()?;
        let expressions = std::mem::replace(&mut pass.expressions, Expressions::new());
        Some((pass, expressions))
    }

    fn walk_all(&mut self) -> Option<()> {
        let most = self.subject.insns.len() * self.copies + 256;
        loop {
            if self.ops > most || self.expressions.are_too_many() {
                return None;
            }
            if let Some(leader) = self.late.pop() {
                let block = self.of_nothing.get(&leader).copied()?;
                self.walk_block(block, leader, PathFacts::of_nothing(self.context_in_loops()))?;
                continue;
            }
            let Some((leader, arrivals)) = self.pending.pop_first() else { return Some(()) };
            self.walked.insert(leader);
            for (edges, state) in self.grouped(leader, arrivals) {
                let block = self.new_block();
                if self.loops.contains(&leader) {
                    self.of_nothing.insert(leader, block);
                }
                edges.into_iter().flatten().for_each(|edge| self.lead(edge, block));
                self.walk_block(block, leader, state)?;
            }
        }
    }

    fn new_block(&mut self) -> BlockId {
        self.blocks.push(PathBlock { ops: Vec::new(), end: End::Exit });
        self.blocks.len() - 1
    }

    fn lead(&mut self, edge: PathEdge, to: BlockId) {
        match &mut self.blocks[edge.from].end {
            End::Branch { taken, .. } if edge.taken => *taken = to,
            End::Branch { next, .. } => *next = to,
            End::To(block) => *block = to,
            End::Exit => {}
        }
    }

    /// Returns the context's slot in loops: it holds the context if nothing else is ever stored there.
    pub(super) fn context_in_loops(&self) -> TrackedValue {
        let Some(slot) = self.subject.slot else { return TrackedValue::Unknown };
        let stores = walk(self.subject.insns, 0..self.subject.insns.len()).filter(|(at, _)| {
            let insn = self.subject.insns[*at];
            matches!(insn.class(), opcode::CLASS_ST | opcode::CLASS_STX)
                && insn.dst() == opcode::FRAME
                && overlaps(insn, slot)
        });
        if stores.count() == 1 {
            TrackedValue::Known(crate::share::expression::CONTEXT)
        } else {
            TrackedValue::Unknown
        }
    }

    fn reach(&mut self, to: usize, state: PathFacts, edge: PathEdge) {
        if !self.walked.contains(&to) {
            self.pending.entry(to).or_default().push((Some(edge), state));
            return;
        }
        let block = match self.of_nothing.get(&to) {
            Some(block) => *block,
            None => {
                let block = self.new_block();
                self.of_nothing.insert(to, block);
                self.late.push(to);
                block
            }
        };
        self.lead(edge, block);
    }

    fn walk_block(&mut self, block: BlockId, leader: usize, mut state: PathFacts) -> Option<()> {
        let insns = self.subject.insns;
        let mut at = leader;
        loop {
            let insn = *insns.get(at)?;
            let next = insns.get(at + 1).copied();
            let effect = effect(insn, next);
            let op = Op { insn, origin: at, slot: None };
            match effect {
                Effect::Exit => {
                    self.push(block, op);
                    self.blocks[block].end = End::Exit;
                    return Some(());
                }
                Effect::Jump { distance, conditional: false } => {
                    self.blocks[block].end = End::To(block);
                    self.reach(target(at, distance)?, state, PathEdge { from: block, taken: false });
                    return Some(());
                }
                Effect::Jump { distance, conditional: true } => {
                    self.branch(block, op, (target(at, distance)?, at + 1), state);
                    return Some(());
                }
                _ => self.operation(block, op, next, effect, &mut state),
            }
            at += width(insn);
            if self.leaders.contains(&at) {
                self.blocks[block].end = End::To(block);
                self.reach(at, state, PathEdge { from: block, taken: false });
                return Some(());
            }
        }
    }

    fn branch(&mut self, block: BlockId, op: Op, (taken, next): (usize, usize), mut state: PathFacts) {
        let Some((condition, jumps)) = JumpTest::of(op.insn, &state, &self.expressions) else {
            self.both_ways(block, op, (taken, state.clone()), (next, state));
            return;
        };
        self.found.tests.push((op.origin, condition));
        if let Some(holds) = condition.decide(&state, &self.expressions) {
            self.gains += 1;
            self.blocks[block].end = End::To(block);
            let to = if holds == jumps { taken } else { next };
            self.reach(to, state, PathEdge { from: block, taken: false });
            return;
        }
        let mut there = state.clone();
        condition.learn(jumps, &mut there, &self.expressions);
        condition.learn(!jumps, &mut state, &self.expressions);
        self.both_ways(block, op, (taken, there), (next, state));
    }

    fn both_ways(&mut self, block: BlockId, op: Op, taken: (usize, PathFacts), next: (usize, PathFacts)) {
        self.ops += 1;
        self.blocks[block].end = End::Branch { op, taken: block, next: block };
        self.leaders.insert(next.0);
        self.reach(next.0, next.1, PathEdge { from: block, taken: false });
        self.reach(taken.0, taken.1, PathEdge { from: block, taken: true });
    }

    fn push(&mut self, block: BlockId, op: Op) {
        self.ops += 1;
        self.blocks[block].ops.push(op);
    }

    fn operation(
        &mut self,
        block: BlockId,
        op: Op,
        next: Option<Insn>,
        effect: Effect,
        state: &mut PathFacts,
    ) {
        let (fields, slot) = (self.subject.fields, self.subject.slot);
        let mut written = result(op.insn, next, (fields, slot), state, &mut self.expressions);
        let is_moved = match written {
            Some(TrackedValue::Known(id)) => self.computed_base(op, id, state),
            _ => None,
        };
        if let Some((base, by)) = is_moved {
            self.found.bases.push((op.origin, base, by));
            self.base(block, op, (base, by), state);
        } else if let Some(TrackedValue::Known(id)) = written
            && let Some(constant) = self.constant(op.insn, id, state)
        {
            written = Some(TrackedValue::Known(self.expressions.number(u64::from(constant))));
            let insn = Insn::new(opcode::MOV32_IMM, op.insn.dst(), 0, 0, constant.cast_signed());
            self.push(block, Op { insn, ..op });
        } else {
            self.push(block, op);
            if let Some(high) = next.filter(|_| op.insn.is_ld_imm64()) {
                self.push(block, Op { insn: high, origin: op.origin + 1, slot: None });
            }
        }
        step(op.insn, effect, written, slot, state, &self.expressions);
    }

    /// Returns the constant that an instruction computes, if facts prove it.
    fn constant(&self, insn: Insn, id: ExpressionId, state: &PathFacts) -> Option<u32> {
        if !self.expressions.is_number(id) || self.expressions.as_number(id).is_some() {
            return None;
        }
        let computes = matches!(insn.class(), opcode::CLASS_LDX | opcode::CLASS_ALU | opcode::CLASS_ALU64);
        state.constant(id, &self.expressions).filter(|_| computes).and_then(|number| number.try_into().ok())
    }

    /// Returns base and constant of a computed address, if no operand has this base.
    fn computed_base(&self, op: Op, id: ExpressionId, state: &PathFacts) -> Option<(ExpressionId, i64)> {
        let (base, by) = self.expressions.as_address(id)?;
        match op.insn.class() {
            opcode::CLASS_LDX => (base == START).then_some((base, by)),
            opcode::CLASS_ALU64 => {
                let has = |register: u8| match state.registers.get(usize::from(register)) {
                    Some(TrackedValue::Known(id)) => {
                        self.expressions.as_address(*id).is_some_and(|(of, _)| of == base)
                    }
                    _ => false,
                };
                (!has(op.insn.dst()) && !has(op.insn.src())).then_some((base, by))
            }
            _ => None,
        }
    }

    fn base(&mut self, block: BlockId, op: Op, (base, by): (ExpressionId, i64), state: &mut PathFacts) {
        let Some(slot) = self.plan.slots.get(&base).copied() else { return self.push(block, op) };
        let register = op.insn.dst();
        let off = self.subject.reserved - 8 * slot.number as i16;
        if state.saved.contains(&base) {
            self.gains += 1;
            let insn = Insn::new(opcode::LOAD_DW, register, opcode::FRAME, off, 0);
            self.push(block, Op { insn, slot: Some(SlotUse::Load(slot.number)), ..op });
            if let (true, Ok(more)) = (by != slot.by, i32::try_from(by - slot.by)) {
                let insn = Insn::new(opcode::ADD64_IMM, register, 0, 0, more);
                self.push(block, Op { insn, ..op });
            }
            return;
        }
        self.push(block, op);
        if by == slot.by {
            let insn = Insn::new(opcode::STORE_DW_REG, opcode::FRAME, register, off, 0);
            self.push(block, Op { insn, slot: Some(SlotUse::Save(slot.number)), ..op });
            state.saved.insert(base);
            // The verifier knows nothing of a base that is computed again.
            state.bounds.remove(&base);
        }
    }
}
