//! Decides what becomes of a chain.

use crate::error::SpliceError;
use crate::hook::can_attach_direct;
use crate::member::Member;
use crate::options::SpliceOptions;
use crate::plan::{Attempt, ChainPlan, SegmentPlan, Strategy};
use crate::splice::MAX_MEMBERS;
use crate::way::MemberPlan;

/// Decides how each member runs and where programs begin. Looks at the members only: nothing is compiled yet.
///
/// # Errors
/// No members or too many, or members that no strategy can run side by side: by name, with the reason.
pub fn plan(members: &[Member<'_>], options: &SpliceOptions<'_>) -> Result<ChainPlan, SpliceError> {
    if members.is_empty() {
        return Err(SpliceError::NoMembers);
    }
    if members.len() > MAX_MEMBERS {
        return Err(SpliceError::TooManyMembers { given: members.len() });
    }
    // No verdict leads past an empty set, and the verifier refuses code that nothing reaches.
    let reached =
        members.iter().position(|member| member.proceed_on.0 == 0).map_or(members.len(), |at| at + 1);
    let direct = reached == 1 && !options.counters && can_attach_direct(options.hook, members[0].proceed_on);
    let segment = SegmentPlan { members: 0..reached, reason: None, at_owner: false };
    Ok(ChainPlan {
        strategy: if direct { Strategy::Direct } else { Strategy::Splice },
        members: vec![MemberPlan::INLINE; reached],
        unreached: members.len() - reached,
        segments: if direct { Vec::new() } else { vec![segment] },
        arrays: Vec::new(),
        frags: members[..reached].iter().all(|member| member.program().frags),
        device_bound: false,
        attempt: Attempt::First,
    })
}
