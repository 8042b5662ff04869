//! The budget of tail calls: 33 per packet, for the whole chain (Linux 6.12; per program before). A member that
//! tail-calls may use up all that are left, and the chain's later tail calls would fail silently: none may follow it.

use crate::analysis::survey::Survey;
use crate::chain::join_mode::JoinMode;
use crate::chain::member::Member;
use crate::chain::plan::{ArrayUse, ChainPlan};
use crate::error::SpliceError;
use crate::error::limits::MAX_TAIL_CALLS;

pub(crate) fn check(members: &[Member<'_>], surveys: &[Survey], plan: &ChainPlan) -> Result<(), SpliceError> {
    let tail_calls = plan.arrays.iter().filter(|used| !matches!(used, ArrayUse::Twin(1..))).count();
    if tail_calls > MAX_TAIL_CALLS {
        return Err(SpliceError::TooManyTailCalls { needed: tail_calls });
    }
    let mut callers = (0..members.len()).filter(|member| surveys[*member].tail_call.is_some());
    let Some(caller) = callers.next() else { return Ok(()) };
    if let Some(second) = callers.next() {
        return Err(SpliceError::TwoTailCallers {
            first: members[caller].name(caller),
            second: members[second].name(second),
        });
    }
    let behind = (caller + 1..members.len()).find_map(|member| {
        let segment = plan.segments.iter().find(|segment| segment.members.start == member);
        let cut = segment.and_then(|segment| segment.reason.as_ref()).map(ToString::to_string);
        let own = (plan.members[member].way == JoinMode::Standalone)
            .then(|| plan.members[member].reason.as_ref().map(ToString::to_string).unwrap_or_default());
        Some((member, own.or(cut)?))
    });
    match behind {
        None => Ok(()),
        Some((later, reason)) => Err(SpliceError::TailCallerTooEarly {
            member: members[caller].name(caller),
            later: members[later].name(later),
            reason,
        }),
    }
}
