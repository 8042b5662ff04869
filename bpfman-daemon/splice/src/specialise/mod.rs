//! Specialising a member: folds its constant read-only data into its instructions.
//!
//! A map that is frozen and read-only for programs never changes, so a load from it is a constant. The verifier knows
//! that too, and removes branches that cannot be taken; it leaves the loads themselves, and work whose result is
//! unused, such as parsing a packet for a member that its settings disable.
//!
//! Instructions keep their positions: an unused one becomes a jump to the next instruction, which the kernel removes.
//! So functions, line information and local type ids stay valid. No call, store or jump that can be taken is removed,
//! and no additional code becomes unreachable.

mod arguments;
mod constants;
mod fold;
mod liveness;
mod reachable;

use std::cell::Cell;

use bpfmand_core::{BoundText, MapId};

use crate::chain::member::{check_shape, span};
use crate::specialise::fold::{FunctionFold, MAX_STEPS, NOTHING};

/// A map whose contents cannot change: frozen, read-only for programs, an array of one value.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnlyMap<'a> {
    /// Id of the map.
    pub map: MapId,
    /// Value of the map, as long as its `value_size`.
    pub value: &'a [u8],
}

/// Returns an equivalent member with the contents of its read-only maps folded into its instructions; none if nothing
/// can be folded. `fixed` are positions of instructions that must not change: those with local type ids.
///
/// The verifier must have accepted the program: no access is assumed to be out of bounds.
#[must_use]
pub fn specialised(text: &BoundText, fixed: &[usize], maps: &[ReadOnlyMap<'_>]) -> Option<BoundText> {
    let program = &text.0;
    if maps.is_empty() || !text.map_ids().iter().any(|id| maps.iter().any(|map| map.map == *id)) {
        return None;
    }
    // The analysis does not follow jump tables.
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

/// Maximum number of instructions that the kernel moves while it removes the unused ones of a chain: about half a
/// second.
const MAX_MOVED: usize = 100_000_000;

/// Returns whether the kernel removes the unused instructions of a chain of these members quickly. It removes one at a
/// time and moves all behind it: for 80,000 out of as many, Linux 6.18 took 22 seconds, during which a tenant's member
/// would block the hook.
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
