//! Parses each header once for all members of a program.
//!
//! A member need not repeat a test of an earlier member, unless the packet was written or moved in between. The pass
//! follows the joined instructions path by path. Where paths with different facts meet, the path with most facts
//! continues in a copy of its own. This copy omits tests with a known result, and loads addresses in the packet, with
//! the verifier's knowledge of them, from reserved slots of the stack.
//!
//! Only instructions of the entry function change: members behind calls, and other functions, stay the same.

mod condition;
mod expression;
mod group;
mod layout;
mod moved;
mod plan;
mod state;
mod step;
#[cfg(debug_assertions)]
pub(crate) mod validate;
mod walk;

use bpfman_model::ProgramText;

use crate::chain::hook::SpliceHook;
use crate::chain::sections::ChainSection;
use crate::share::expression::Expressions;
use crate::share::plan::SharingPlan;
use crate::share::step::PacketFields;
use crate::share::walk::{EntryCode, Walk};

/// Maximum number of copies of an instruction.
const COPIES: usize = 2;

/// Maximum number of reserved slots: for the start of the packet, and headers behind those of variable length.
pub(crate) const MAX_SLOTS: usize = 4;

/// Maximum length of an entry function: the analysis of longer ones takes too long for its gain.
const MAX_INSNS: usize = 50_000;

/// Places on the stack of the entry function, as bytes below the frame pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackPlaces {
    /// Slot of the context, if it is kept in one.
    pub(crate) context: Option<u32>,
    /// End of the frame, below which the reserved slots are.
    pub(crate) frame: u32,
    pub(crate) slots: usize,
}

/// Returns the number of tests and addresses that need not be computed again; 0 if the program stays as it was.
pub(crate) fn share(
    text: &mut ProgramText,
    sections: &mut Vec<ChainSection>,
    hook: SpliceHook,
    places: StackPlaces,
) -> u32 {
    let entry = &text.insns[..text.functions[0].len];
    if places.slots == 0 || entry.len() > MAX_INSNS {
        return 0;
    }
    let below = |depth: u32| -(depth as i16);
    let subject = EntryCode {
        insns: entry,
        fields: PacketFields::of(hook),
        slot: places.context.map(below),
        reserved: below(places.frame + 8),
    };
    let nothing = SharingPlan::default();
    let Some((survey, expressions)) = Walk::run(&subject, &nothing, 1, Expressions::new()) else {
        return 0;
    };
    let plan = SharingPlan::of(&survey.found, places.slots);
    if plan.slots.is_empty() {
        return 0;
    }
    let Some((walk, _)) = Walk::run(&subject, &plan, COPIES, expressions) else { return 0 };
    let shared = walk.gains.saturating_sub(survey.gains);
    if shared == 0 {
        return 0;
    }
    let Some(lines) = layout::lay_out(walk.blocks) else { return 0 };
    let (before, lines) = moved::with_entry(text, sections, &lines);
    #[cfg(debug_assertions)]
    {
        let origins: Vec<usize> = lines.iter().map(|line| line.origin).collect();
        validate::assert_equal(&before, text, &origins, hook, places);
    }
    drop((before, lines));
    u32::try_from(shared).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
