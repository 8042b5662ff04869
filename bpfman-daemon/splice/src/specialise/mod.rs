//! Folds a member's constant read-only data into its instructions.
//!
//! A load from a frozen, read-only map is a constant. The verifier removes branches that cannot be taken, but leaves
//! the loads, and work whose result is unused.
//!
//! Unused instructions become jumps to the next one, which the kernel removes: positions, line information and type ids
//! stay valid. No call, store or jump that can be taken is removed, and no code becomes unreachable.

mod arguments;
mod constants;
mod departures;
mod fold;
mod liveness;
mod reachable;

use std::cell::Cell;

use bpfman_model::{BoundText, MapId};

#[cfg(debug_assertions)]
pub(crate) use arguments::of_helper;
pub(crate) use constants::arithmetic;
pub use departures::{Departures, PacketTargets};
pub(crate) use liveness::needless;

use crate::chain::member::{check_shape, span};
use crate::specialise::fold::{FunctionFold, MAX_STEPS, NOTHING};

/// A map whose contents cannot change: frozen, read-only for programs, an array of one value.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnlyMap<'a> {
    pub map: MapId,
    /// Value of the map, as long as its `value_size`.
    pub value: &'a [u8],
}

/// Folds read-only data into an equivalent, verified member; `fixed` instructions, with local type ids, stay.
#[must_use]
pub fn specialised(text: &BoundText, fixed: &[usize], maps: &[ReadOnlyMap<'_>]) -> Option<BoundText> {
    let program = &text.0;
    if maps.is_empty() || !text.map_ids().iter().any(|id| maps.iter().any(|map| map.map == *id)) {
        return None;
    }
    if !program.jump_tables.is_empty() {
        return None;
    }
    check_shape(program).ok()?;
    let mut insns = program.insns.clone();
    let mut fixed = fixed.to_vec();
    fixed.sort_unstable();
    let steps = Cell::new(MAX_STEPS);
    for function in 0..program.functions.len() {
        FunctionFold { range: span(program, function), fixed: &fixed, maps, steps: &steps }.fold(&mut insns);
    }
    (insns != program.insns).then(|| {
        let mut folded = text.clone();
        folded.0.insns = insns;
        folded
    })
}

/// Maximum instructions that the kernel moves while it removes unused ones: about half a second.
const MAX_MOVED: usize = 100_000_000;

/// Returns whether the kernel removes unused instructions of these members quickly. It removes one at a time and moves
/// all behind it: 80,000 took Linux 6.18 22 seconds, in which a tenant's member would block the hook.
#[must_use]
pub fn is_soon_removed<'a>(members: impl IntoIterator<Item = &'a BoundText>) -> bool {
    let (mut needless, mut all) = (0_usize, 0_usize);
    for BoundText(program) in members {
        needless += program.insns.iter().filter(|insn| **insn == NOTHING).count();
        all += program.insns.len();
    }
    needless.saturating_mul(all) <= MAX_MOVED
}

#[cfg(test)]
mod tests;
