//! Specialising a member: what its read-only data says for ever is folded into its instructions.
//!
//! A map that is frozen and read-only for programs never changes, so that a load from it is a constant. The verifier
//! knows that too, and removes branches that cannot be taken; what it leaves are the loads themselves, and work whose
//! result nobody uses, such as the parsing of a packet for a member that its settings switch off.
//!
//! Instructions keep their places: what is not needed becomes a jump to the next instruction, which the kernel removes.
//! So functions, line information and local type ids stay true. No call, store or jump that can be taken is removed, and no
//! code becomes unreachable that was not.

mod arguments;
mod constants;
mod fold;
mod liveness;
mod ways;

use std::cell::Cell;

use bpfmand_core::{BoundText, MapId};

use crate::chain::member::{check_shape, span};
use crate::specialise::fold::{FunctionFold, MOST_STEPS, NOTHING};

/// What a map holds that nobody can change any more: frozen, read-only for programs, an array of one value.
#[derive(Clone, Copy, Debug)]
pub struct ReadOnlyMap<'a> {
    /// Which map.
    pub map: MapId,
    /// Its value, as long as the map's `value_size`.
    pub value: &'a [u8],
}

/// A member that does the same, with what its read-only maps hold folded into its instructions; none if nothing can be
/// folded. `fixed` are positions of instructions that have to stay as they are: those with local type ids.
///
/// The program has to be one that the verifier accepted: that no access is out of bounds is taken for granted.
#[must_use]
pub fn specialised(text: &BoundText, fixed: &[usize], maps: &[ReadOnlyMap<'_>]) -> Option<BoundText> {
    let program = &text.0;
    if maps.is_empty() || !text.map_ids().iter().any(|id| maps.iter().any(|map| map.map == *id)) {
        return None;
    }
    // The analysis does not follow tables.
    if !program.jump_tables.is_empty() {
        return None;
    }
    check_shape(program).ok()?;
    let mut insns = program.insns.clone();
    let mut fixed = fixed.to_vec();
    fixed.sort_unstable();
    let steps = Cell::new(MOST_STEPS);
    for function in 0..program.functions.len() {
        FunctionFold { range: span(program, function), fixed: &fixed, maps, steps: &steps }.fold(&mut insns);
    }
    (insns != program.insns).then(|| {
        let mut folded = text.clone();
        folded.0.insns = insns;
        folded
    })
}

/// Instructions that the kernel may move while it takes needless ones out of a chain: about half a second.
const MAX_MOVED: usize = 100_000_000;

/// True if the kernel soon has the needless instructions out of a chain of these members. It takes out one at a time and moves
/// all behind it: 80,000 out of as many took Linux 6.18 22 seconds, for which a tenant's member would hold everybody's hook.
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
