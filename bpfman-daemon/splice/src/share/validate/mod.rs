//! Proves that the pass did not change what a program does: walks both versions together, with values as terms.
//!
//! The proof uses only the origins of instructions from the pass, to walk both versions in step. It relies on the
//! verifier: members cannot access the glue's slots on the stack, and addresses do not wrap.

mod effects;
mod facts;
mod state;
mod term;
mod walk;

use std::sync::atomic::{AtomicUsize, Ordering};

use bpfman_model::ProgramText;

use crate::chain::hook::SpliceHook;
use crate::share::StackPlaces;
use crate::text::scan::target;

const MAX_STEPS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValidationOutcome {
    Equal,
    /// Positions before and after the pass, and the branches up to there: position, and whether it is taken.
    Different {
        reason: &'static str,
        before: usize,
        after: usize,
        path: Vec<(usize, bool)>,
    },
    TooMany,
}

/// Numbers of programs that were proved equal, and of those too long for a proof.
static PROOFS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// Returns the number of programs with shared headers that were proved unchanged, and of those too long for a proof.
#[must_use]
pub fn proofs() -> [usize; 2] {
    [&PROOFS[0], &PROOFS[1]].map(|count| count.load(Ordering::Relaxed))
}

/// Compares a program before and after the pass. `origins`: earlier position of each instruction after the pass.
pub(super) fn validate(
    before: &ProgramText,
    after: &ProgramText,
    origins: &[usize],
    hook: SpliceHook,
    places: StackPlaces,
) -> ValidationOutcome {
    match functions_differ(before, after, origins) {
        Some((reason, at)) => {
            let before = origins.get(at).copied().unwrap_or_default();
            ValidationOutcome::Different { reason, before, after: at, path: Vec::new() }
        }
        None => walk::walk(before, after, origins, hook, places, true),
    }
}

pub(super) fn assert_equal(
    before: &ProgramText,
    after: &ProgramText,
    origins: &[usize],
    hook: SpliceHook,
    places: StackPlaces,
) {
    #[cfg(test)]
    tests::SHARED.with_borrow_mut(|all| all.push((before.clone(), after.clone(), origins.to_vec(), places)));
    // Facts of joined paths may not suffice: only a difference on separate paths shows that the pass is wrong.
    let outcome = match validate(before, after, origins, hook, places) {
        ValidationOutcome::Different { .. } => walk::walk(before, after, origins, hook, places, false),
        outcome => outcome,
    };
    match outcome {
        ValidationOutcome::Equal => _ = PROOFS[0].fetch_add(1, Ordering::Relaxed),
        ValidationOutcome::TooMany => _ = PROOFS[1].fetch_add(1, Ordering::Relaxed),
        ValidationOutcome::Different { reason, before: at, after: to, path } => panic!(
            "shared headers change {}: {reason}, instruction {at}, which became {to}; branches {path:?}\n{:?}\n{:?}",
            before.name, before.insns, after.insns
        ),
    }
}

fn functions_differ(
    before: &ProgramText,
    after: &ProgramText,
    origins: &[usize],
) -> Option<(&'static str, usize)> {
    if origins.len() != after.insns.len() || after.insns.len() < after.functions[0].len {
        return Some(("another length", 0));
    }
    for function in &after.functions[1..] {
        let start = origins[function.start];
        if !before.functions.iter().any(|one| (one.start, one.len) == (start, function.len)) {
            return Some(("no function", function.start));
        }
        for at in 0..function.len {
            let (was, mut is) = (before.insns[start + at], after.insns[function.start + at]);
            if is.is_local_call() || is.is_function_pointer() {
                let to = target(function.start + at, is.imm).and_then(|to| origins.get(to).copied());
                is.imm = if to == target(start + at, was.imm) { was.imm } else { !was.imm };
            }
            if was != is {
                return Some(("another function", function.start + at));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
