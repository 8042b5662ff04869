//! Interfaces by which a program can make packets leave. Nothing counts as impossible unless constants prove it.

use std::collections::BTreeSet;

use bpfman_model::ProgramText;

use super::constants::{KnownValue, Registers, decided, step};
use crate::analysis::sends::CLONE_REDIRECT;
use crate::analysis::survey::{REDIRECTS, is_tail_call};
use crate::analysis::verdicts;
use crate::chain::hook::SpliceHook;
use crate::chain::member::{check_shape, span};
use crate::text::flow;
use crate::text::scan::Effect;

const XDP_TX: i32 = 3;
const REDIRECT: i32 = 23;
const REDIRECT_MAP: i32 = 51;
/// `BPF_F_INGRESS`: the packet enters the target interface instead of leaving by it.
const INGRESS: u64 = 1;

/// Ways in which a program can make packets leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// True if its verdict can send a packet back out of the interface of its hook (`XDP_TX`).
    pub returns: bool,
    /// Interfaces to which it can redirect packets or copies of them.
    pub targets: PacketTargets,
}

/// Set of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketTargets {
    /// Interfaces with these indexes.
    Known(BTreeSet<u32>),
    /// Any interface of the network namespace.
    Any,
}

impl Default for PacketTargets {
    fn default() -> Self {
        Self::Known(BTreeSet::new())
    }
}

impl PacketTargets {
    /// Returns whether an interface is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        match self {
            Self::Known(known) => known.contains(&index),
            Self::Any => true,
        }
    }

    fn add(&mut self, target: KnownValue) {
        match (&mut *self, target) {
            (Self::Known(known), KnownValue::Number(index)) => {
                // The kernel takes the lower half.
                known.insert(index as u32);
            }
            _ => *self = Self::Any,
        }
    }
}

impl Departures {
    /// Returns the departures of an unknown program at a hook: all that the hook allows.
    #[must_use]
    pub fn unknown(hook: SpliceHook) -> Self {
        Self { returns: hook == SpliceHook::Xdp, targets: PacketTargets::Any }
    }

    /// Returns the departures of a program with folded read-only data at a hook. `decides`: its verdict has an effect.
    ///
    /// A redirect needs a target, which only helpers set. Targets that an earlier program set, and did not use, are
    /// ignored.
    #[must_use]
    pub fn of(text: &ProgramText, hook: SpliceHook, decides: bool) -> Self {
        if !text.jump_tables.is_empty() || check_shape(text).is_err() {
            return Self::unknown(hook);
        }
        let codes = verdicts::possible(text);
        let can_be = |code| decides && codes.known().is_none_or(|mut known| known.any(|one| one == code));
        let follows = can_be(hook.redirect());
        let mut targets = PacketTargets::default();
        for function in 0..text.functions.len() {
            // Callers and callbacks pass any arguments.
            let known: Registers = [KnownValue::Nothing; 11];
            flow::run_decided(&text.insns, span(text, function), known, |at, insn, effect, known| {
                note(effect, known, follows, &mut targets);
                let decided = matches!(effect, Effect::Jump { conditional: true, .. })
                    .then(|| decided(insn, known))
                    .flatten();
                step(insn, text.insns.get(at + 1).copied(), effect, &[], known);
                decided
            });
        }
        Self { returns: hook == SpliceHook::Xdp && can_be(XDP_TX), targets }
    }
}

/// `follows`: the verdict can be a redirect.
fn note(effect: Effect, known: &Registers, follows: bool, targets: &mut PacketTargets) {
    let enters = |flags: KnownValue| matches!(flags, KnownValue::Number(flags) if flags & INGRESS != 0);
    match effect {
        Effect::Helper(CLONE_REDIRECT) if !enters(known[3]) => targets.add(known[2]),
        Effect::Helper(REDIRECT) if follows && !enters(known[2]) => targets.add(known[1]),
        Effect::Helper(CLONE_REDIRECT | REDIRECT) => {}
        Effect::Helper(REDIRECT_MAP) if follows => *targets = PacketTargets::Any,
        Effect::Helper(number) if follows && REDIRECTS.contains(&number) => targets.add(known[1]),
        Effect::Kfunc { module, .. } if module != 0 => *targets = PacketTargets::Any,
        effect if is_tail_call(effect) => *targets = PacketTargets::Any,
        _ => {}
    }
}

#[cfg(test)]
#[path = "departures_tests.rs"]
mod tests;
