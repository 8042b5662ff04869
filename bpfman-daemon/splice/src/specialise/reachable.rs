use std::ops::Range;

use bpfman_model::Insn;

use crate::analysis::values::RegisterValue as _;
use crate::specialise::ReadOnlyMap;
use crate::specialise::constants::{self, KnownValue, Registers, decided, loaded};
use crate::text::flow;
use crate::text::scan::{Effect, effect, target, width};

/// Facts on all paths to an instruction, indexed from the function's start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InsnFacts {
    pub(super) reached: bool,
    /// A conditional jump that always goes the same way: true if taken.
    pub(super) decided: Option<bool>,
    before: KnownValue,
    source: KnownValue,
    pub(super) loaded: Option<u64>,
}

impl InsnFacts {
    pub(super) fn undecided() -> Self {
        Self { reached: true, ..Self::default() }
    }

    pub(super) fn holds(self, number: u64) -> bool {
        self.before == KnownValue::Number(number)
    }

    pub(super) fn source(self) -> Option<u64> {
        match self.source {
            KnownValue::Number(number) => Some(number),
            KnownValue::Nothing | KnownValue::Address { .. } => None,
        }
    }
}

pub(super) fn followed(
    insns: &[Insn],
    range: Range<usize>,
    fixed: &[usize],
    maps: &[ReadOnlyMap<'_>],
) -> Vec<InsnFacts> {
    let mut places = vec![InsnFacts::default(); range.len()];
    let start = range.start;
    let entry: Registers = [KnownValue::default(); 11];
    flow::run_decided(insns, range, entry, |at, insn, effect, known| {
        let is_jump = matches!(effect, Effect::Jump { conditional: true, .. });
        let register = |number: u8| known.get(usize::from(number)).copied().unwrap_or_default();
        let is_load = insn.class() == crate::text::opcode::CLASS_LDX;
        let place = InsnFacts {
            reached: true,
            decided: is_jump.then(|| decided(insn, known)).flatten(),
            before: register(insn.dst()),
            source: register(insn.src()),
            loaded: is_load.then(|| loaded(insn, register(insn.src()), maps)).flatten(),
        };
        // Each visit may widen the facts: keep what holds for all visits.
        let seen = &mut places[at - start];
        *seen = if seen.reached { seen.and(place) } else { place };
        constants::step(insn, insns.get(at + 1).copied(), effect, maps, known);
        // A type id is no constant: it changes when BTF is merged.
        if fixed.binary_search(&at).is_ok()
            && let Some(written) = known.get_mut(usize::from(insn.dst()))
        {
            *written = KnownValue::Nothing;
        }
        seen.decided
    });
    places
}

impl InsnFacts {
    fn and(self, other: Self) -> Self {
        Self {
            reached: true,
            decided: self.decided.filter(|_| self.decided == other.decided),
            before: self.before.or(other.before),
            source: self.source.or(other.source),
            loaded: self.loaded.filter(|_| self.loaded == other.loaded),
        }
    }
}

pub(super) fn successors(
    insns: &[Insn],
    range: &Range<usize>,
    places: &[InsnFacts],
    at: usize,
) -> [Option<usize>; 2] {
    let insn = insns[at];
    let next = Some(at + width(insn)).filter(|next| *next < range.end);
    match effect(insn, insns.get(at + 1).copied()) {
        Effect::Exit => [None, None],
        Effect::Jump { distance, conditional: false } => [target(at, distance), None],
        Effect::Jump { distance, .. } => match places[at - range.start].decided {
            Some(true) => [target(at, distance), None],
            Some(false) => [next, None],
            None => [next, target(at, distance)],
        },
        Effect::BoundedLoop { distance } => [next, target(at, distance)],
        _ => [next, None],
    }
}
