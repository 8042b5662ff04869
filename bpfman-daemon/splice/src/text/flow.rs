use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bpfman_model::Insn;

use crate::text::scan::{Effect, effect, target, width};

/// Facts on a path. Joining may only widen them, and only finitely often.
pub(crate) trait FlowFacts: Clone {
    /// Returns whether the other path's facts widened these.
    fn join(&mut self, other: &Self) -> bool;
}

/// Runs `step` over every reachable instruction, as often as its facts widen. Jumps must stay inside the function.
pub(crate) fn run<K: FlowFacts>(
    insns: &[Insn],
    function: Range<usize>,
    entry: K,
    mut step: impl FnMut(usize, Insn, Effect, &mut K),
) {
    run_decided(insns, function, entry, |at, insn, effect, known| {
        step(at, insn, effect, known);
        None
    });
}

/// Runs like [`run`], but `step` may decide a conditional jump (true: taken), until the facts widen too far.
pub(crate) fn run_decided<K: FlowFacts>(
    insns: &[Insn],
    function: Range<usize>,
    entry: K,
    mut step: impl FnMut(usize, Insn, Effect, &mut K) -> Option<bool>,
) {
    let leaders = leaders(insns, function.clone());
    let mut known: BTreeMap<usize, K> = BTreeMap::from([(function.start, entry)]);
    let mut waiting = BTreeSet::from([function.start]);
    while let Some(leader) = waiting.pop_first() {
        let Some(mut state) = known.get(&leader).cloned() else { continue };
        let mut reach = |to: usize, state: &K| {
            let widened = match known.get_mut(&to) {
                Some(there) => there.join(state),
                None => {
                    known.insert(to, state.clone());
                    true
                }
            };
            if widened {
                waiting.insert(to);
            }
        };
        let mut at = leader;
        while at < function.end {
            let insn = insns[at];
            let effect = effect(insn, insns.get(at + 1).copied());
            let decided = step(at, insn, effect, &mut state);
            let mut falls_through = true;
            match effect {
                Effect::Exit => falls_through = false,
                Effect::Jump { distance, conditional } => {
                    let decided = decided.filter(|_| conditional);
                    if let Some(to) = target(at, distance)
                        && decided != Some(false)
                    {
                        reach(to, &state);
                    }
                    falls_through = conditional && decided != Some(true);
                }
                Effect::BoundedLoop { distance } => {
                    if let Some(to) = target(at, distance) {
                        reach(to, &state);
                    }
                }
                _ => {}
            }
            at += width(insn);
            if !falls_through {
                break;
            }
            if leaders.contains(&at) {
                reach(at, &state);
                break;
            }
        }
    }
}

fn leaders(insns: &[Insn], function: Range<usize>) -> BTreeSet<usize> {
    crate::text::scan::walk(insns, function)
        .filter_map(|(at, effect)| match effect {
            Effect::Jump { distance, .. } | Effect::BoundedLoop { distance } => target(at, distance),
            _ => None,
        })
        .collect()
}
