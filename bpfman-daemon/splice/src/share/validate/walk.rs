//! Walks two programs in step.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::{Insn, ProgramText};

use super::facts::{Test, test};
use super::state::{JointState, ProgramSide, REGISTERS, RESERVED, SLOT, TIME};
use super::term::{CONTEXT, END, FRAME, NOW, START, Term, TermKind, Terms};
use super::{MAX_STEPS, ValidationOutcome};
use crate::chain::hook::SpliceHook;
use crate::share::StackPlaces;
use crate::text::opcode;
use crate::text::scan::{Effect, effect, target, walk as scan, width};

/// Loading this byte of a TC program's context changes what later loads of `tstamp` return.
const TSTAMP_TYPE: i16 = 180;

type Place = (usize, usize);
pub(super) type StepResult<T> = Result<T, &'static str>;

pub(super) struct ProgramPair<'a> {
    before: &'a ProgramText,
    after: &'a ProgramText,
    origins: &'a [usize],
    fields: (i16, i16),
    places: StackPlaces,
    pub(super) terms: Terms,
    leaders: BTreeSet<usize>,
    /// By starts of loops: which registers are equal there, and whether the context is in its slot.
    loops: BTreeMap<usize, BTreeMap<usize, Vec<bool>>>,
    /// By place, and by the last instruction after the pass, which separates copies without instructions.
    pending: BTreeMap<(Place, usize), Vec<JointState>>,
    branches: Vec<(usize, (usize, bool))>,
    steps: usize,
    joins: bool,
}

pub(super) fn walk(
    before: &ProgramText,
    after: &ProgramText,
    origins: &[usize],
    hook: SpliceHook,
    places: StackPlaces,
    joins: bool,
) -> ValidationOutcome {
    let fields = match hook {
        SpliceHook::Xdp => (0, 4),
        _ => (76, 80),
    };
    let mut terms = Terms::new();
    let entry = JointState::at_entry(&mut terms, places.slots);
    let (mut leaders, mut loops) = (BTreeSet::new(), BTreeMap::new());
    for (at, effect) in scan(&before.insns, 0..before.functions[0].len) {
        if let Effect::Jump { distance, .. } = effect {
            let to = target(at, distance).unwrap_or(usize::MAX);
            leaders.insert(to);
            if to <= at {
                loops.insert(to, BTreeMap::new());
            }
        }
    }
    let pending = BTreeMap::from([(((0, 0), 0), vec![entry])]);
    let branches = vec![(0, (0, false))];
    let mut pair = ProgramPair {
        before,
        after,
        origins,
        fields,
        places,
        terms,
        leaders,
        loops,
        pending,
        branches,
        steps: 0,
        joins,
    };
    while let Some(((place, _), states)) = pair.next() {
        let state = JointState::of_any(&mut pair.terms, states);
        if let Err(outcome) = pair.follow(place, state) {
            return outcome;
        }
    }
    ValidationOutcome::Equal
}

impl ProgramPair<'_> {
    fn next(&mut self) -> Option<((Place, usize), Vec<JointState>)> {
        if self.joins { self.pending.pop_first() } else { self.pending.pop_last() }
    }

    fn follow(&mut self, (mut was, mut is): Place, mut state: JointState) -> Result<(), ValidationOutcome> {
        loop {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(ValidationOutcome::TooMany);
            }
            match self.step(&mut was, &mut is, &mut state) {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(reason) => {
                    let mut path = Vec::new();
                    let mut branch = state.branch;
                    while branch != 0 {
                        path.push(self.branches[branch].1);
                        branch = self.branches[branch].0;
                    }
                    path.reverse();
                    return Err(ValidationOutcome::Different { reason, before: was, after: is, path });
                }
            }
            if self.leaders.contains(&was) {
                self.arrive((was, is), state);
                return Ok(());
            }
        }
    }

    fn arrive(&mut self, place: Place, state: JointState) {
        let place = (place.0, self.behind_jumps(place.1));
        let Some(known) = self.loops.get_mut(&place.0) else {
            let key = if self.joins { state.last } else { self.pending.len() + self.steps * MAX_STEPS };
            self.pending.entry((place, key)).or_default().push(state);
            return;
        };
        let mut equal: Vec<bool> = (0..REGISTERS)
            .map(|at| state.is_same(&mut self.terms, state.values[at], state.values[REGISTERS + at]))
            .collect();
        equal.push(state.values[SLOT] == CONTEXT);
        if let Some(known) = known.get(&place.1) {
            equal.iter_mut().zip(known).for_each(|(is, was)| *is &= was);
            if equal == *known {
                return;
            }
        }
        let state = JointState::in_loop(&mut self.terms, &equal, self.places.slots, state.branch);
        known.insert(place.1, equal);
        self.pending.insert((place, 0), vec![state]);
    }

    fn step(&mut self, was: &mut usize, is: &mut usize, state: &mut JointState) -> StepResult<bool> {
        let (insn, next) = self.insn(ProgramSide::Before, *was)?;
        *is = self.behind_jumps(*is);
        let (now, _) = self.insn(ProgramSide::After, *is)?;
        let in_step = self.origins[*is] == *was;
        let has_effect = effect(insn, next);
        match has_effect {
            Effect::Jump { distance, conditional: false } => {
                *was = target(*was, distance).ok_or("a jump out of the program")?;
                return Ok(false);
            }
            Effect::Jump { distance, .. } => {
                let to = (target(*was, distance).ok_or("a jump out of the program")?, *was + 1);
                self.branch((*was, insn, to), (*is, now), in_step, state)?;
                return Ok(true);
            }
            _ if self.is_silent(insn, has_effect) => {
                let value = self.result(ProgramSide::Before, *was, state)?;
                state.set(ProgramSide::Before, insn.dst(), value);
                let origin = *was;
                while in_step && self.origins.get(*is) == Some(&origin) && self.private(*is, state)? {
                    *is += width(self.after.insns[*is]);
                }
                if in_step {
                    state.unify(&mut self.terms, insn.dst());
                }
                *was += width(insn);
                return Ok(false);
            }
            _ => {}
        }
        while self.origins[*is] != *was {
            self.steps += 1;
            if self.steps > MAX_STEPS || !self.private(*is, state)? {
                return Err("an effect that is missing");
            }
            *is = self.behind_jumps(*is + width(self.after.insns[*is]));
        }
        let (now, next) = self.insn(ProgramSide::After, *is)?;
        self.effect((*was, insn, has_effect), (*is, now, effect(now, next)), state)?;
        *was += 1;
        *is += 1;
        Ok(matches!(has_effect, Effect::Exit))
    }

    fn behind_jumps(&self, mut is: usize) -> usize {
        for _ in 0..self.after.insns.len() {
            match self.insn(ProgramSide::After, is).map(|(insn, _)| effect(insn, None)) {
                Ok(Effect::Jump { distance, conditional: false }) => {
                    is = target(is, distance).unwrap_or(usize::MAX)
                }
                _ => break,
            }
        }
        is
    }

    fn insn(&self, side: ProgramSide, at: usize) -> StepResult<(Insn, Option<Insn>)> {
        let text = if side == ProgramSide::Before { self.before } else { self.after };
        let entry = &text.insns[..text.functions[0].len];
        let insn = entry.get(at).ok_or("beyond the end of the function")?;
        Ok((*insn, entry.get(at + 1).copied()))
    }

    fn is_silent(&self, insn: Insn, effect: Effect) -> bool {
        let reads_once = insn.off == TSTAMP_TYPE && insn.code & opcode::SIZE == opcode::SIZE_B;
        match (effect, insn.class()) {
            (Effect::FunctionPointer { .. }, _) => true,
            (Effect::Plain, opcode::CLASS_LDX) => !(reads_once && self.fields.0 != 0),
            (Effect::Plain, opcode::CLASS_ALU | opcode::CLASS_ALU64) => true,
            (Effect::Plain, opcode::CLASS_LD) => insn.is_ld_imm64(),
            _ => false,
        }
    }

    /// Returns the reserved slot at an address, as an index of the state. Fails for a part of a slot.
    pub(super) fn reserved(&self, address: Term, size: i64) -> StepResult<Option<usize>> {
        let (base, by) = self.terms.split(address);
        let top = -i64::from(self.places.frame);
        let bottom = top - 8 * self.places.slots as i64;
        if base != FRAME || by >= top || by + size <= bottom {
            return Ok(None);
        }
        match (top - 8 - by, size) {
            (below, 8) if below % 8 == 0 && by >= bottom => Ok(Some(RESERVED + (below / 8) as usize)),
            _ => Err("a part of a reserved slot"),
        }
    }

    pub(super) fn address(&mut self, side: ProgramSide, register: u8, off: i16, state: &JointState) -> Term {
        self.terms.sum(state.get(side, register), i64::from(off))
    }

    pub(super) fn is_context_slot(&self, address: Term, size: i64) -> Option<bool> {
        let (base, by) = self.terms.split(address);
        let slot = -i64::from(self.places.context?);
        (base == FRAME && by < slot + 8 && by + size > slot).then_some(by == slot && size == 8)
    }

    fn private(&mut self, at: usize, state: &mut JointState) -> StepResult<bool> {
        let (insn, next) = self.insn(ProgramSide::After, at)?;
        state.last = 2 * at;
        if insn.code == opcode::STORE_DW_REG {
            let address = self.address(ProgramSide::After, insn.dst(), insn.off, state);
            let Some(slot) = self.reserved(address, 8)? else { return Ok(false) };
            state.values[slot] = state.get(ProgramSide::After, insn.src());
            return Ok(true);
        }
        if !self.is_silent(insn, effect(insn, next)) {
            return Ok(false);
        }
        let value = self.result(ProgramSide::After, at, state)?;
        state.set(ProgramSide::After, insn.dst(), value);
        state.unify(&mut self.terms, insn.dst());
        Ok(true)
    }

    fn result(&mut self, side: ProgramSide, at: usize, state: &JointState) -> StepResult<Term> {
        let (insn, next) = self.insn(side, at)?;
        if let Effect::FunctionPointer { distance } = effect(insn, next) {
            return self.function(side, at, distance).map(|start| self.terms.function(start));
        }
        match insn.class() {
            opcode::CLASS_LDX => self.loaded(side, insn, state),
            opcode::CLASS_LD => {
                let high = next.ok_or("half an instruction")?.imm;
                let number = u64::from(insn.imm.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32;
                let number = self.terms.number(number);
                Ok(match insn.src() {
                    0 => number,
                    source => self.terms.constant(source, number),
                })
            }
            class => {
                let is_wide = class == opcode::CLASS_ALU64;
                let (left, by_register) =
                    (state.get(side, insn.dst()), insn.code & opcode::SOURCE_REGISTER != 0);
                let (by, right) = match insn.code & 0xf0 {
                    opcode::END => (i64::from(insn.imm), left),
                    opcode::NEG => (0, left),
                    _ if by_register => (i64::from(insn.off), state.get(side, insn.src())),
                    _ => {
                        let number = i64::from(insn.imm).cast_unsigned();
                        let number = if is_wide { number } else { number & u64::from(u32::MAX) };
                        (i64::from(insn.off), self.terms.number(number))
                    }
                };
                Ok(self.terms.computed(insn.code, by, left, right))
            }
        }
    }

    fn loaded(&mut self, side: ProgramSide, insn: Insn, state: &JointState) -> StepResult<Term> {
        let address = self.address(side, insn.src(), insn.off, state);
        let size = i64::from(opcode::access_size(insn.code));
        if side == ProgramSide::After
            && let Some(slot) = self.reserved(address, size)?
        {
            return Ok(state.values[slot]);
        }
        if insn.code == opcode::LOAD_DW && self.is_context_slot(address, size) == Some(true) {
            return Ok(state.values[SLOT]);
        }
        let (base, by) = self.terms.split(address);
        let is_field = |field: i16| base == CONTEXT && insn.code == opcode::LOAD_W && by == i64::from(field);
        Ok(match self.terms.traits(address).kind {
            _ if is_field(self.fields.0) => START,
            _ if is_field(self.fields.1) => END,
            TermKind::Packet => self.terms.load(insn.code, address, NOW),
            _ => self.terms.load(insn.code, address, state.values[TIME]),
        })
    }

    pub(super) fn function(&self, side: ProgramSide, at: usize, distance: i32) -> StepResult<usize> {
        let to = target(at, distance);
        let to =
            if side == ProgramSide::Before { to } else { to.and_then(|to| self.origins.get(to).copied()) };
        let is_start = |to: &usize| self.before.functions[1..].iter().any(|one| one.start == *to);
        to.filter(is_start).ok_or("no function")
    }

    fn branch(
        &mut self,
        (was, insn, to): (usize, Insn, Place),
        (is, now): (usize, Insn),
        in_step: bool,
        state: &JointState,
    ) -> StepResult<()> {
        let ways = [(true, to.0), (false, to.1)];
        let now_to = match effect(now, None) {
            Effect::Jump { distance, conditional: true } if in_step => {
                let to = target(is, distance).ok_or("a jump out of the program")?;
                vec![(true, to), (false, is + 1)]
            }
            _ if in_step => return Err("no branch"),
            _ => Vec::new(),
        };
        for (jumps, to) in ways {
            let Some(mut state) = self.takes(ProgramSide::Before, insn, jumps, state) else { continue };
            self.branches.push((state.branch, (was, jumps)));
            state.branch = self.branches.len() - 1;
            if !in_step {
                self.arrive((to, is), state);
                continue;
            }
            for (jumps, now_to) in &now_to {
                if let Some(mut state) = self.takes(ProgramSide::After, now, *jumps, &state) {
                    state.last = 2 * is + usize::from(*jumps);
                    self.arrive((to, *now_to), state);
                }
            }
        }
        Ok(())
    }

    fn takes(
        &mut self,
        side: ProgramSide,
        insn: Insn,
        jumps: bool,
        state: &JointState,
    ) -> Option<JointState> {
        let left = state.get(side, insn.dst());
        let right = match insn.code & opcode::SOURCE_REGISTER {
            0 => self.terms.number(i64::from(insn.imm).cast_unsigned()),
            _ => state.get(side, insn.src()),
        };
        let (known_left, known_right) =
            (state.facts.resolved(&mut self.terms, left), state.facts.resolved(&mut self.terms, right));
        let tests: [Test; 2] =
            [test(&mut self.terms, insn, left, right), test(&mut self.terms, insn, known_left, known_right)];
        // A known opposite result shows that no packet takes this path.
        let decided = tests.each_ref().map(|test| state.facts.decide(&self.terms, test));
        if decided.contains(&Some(!jumps)) {
            return None;
        }
        let mut state = state.clone();
        if decided == [None, None] {
            state.learn(&self.terms, &tests, jumps);
        }
        Some(state)
    }
}
