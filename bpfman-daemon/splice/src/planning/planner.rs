use crate::analysis::stack::Group;
use crate::analysis::survey::{Survey, survey_all};
use crate::chain::hook::can_attach_direct;
use crate::chain::join_mode::{JoinMode, MemberPlan, NotInlinedReason};
use crate::chain::member::Member;
use crate::chain::options::{FragsRule, SpliceOptions};
use crate::chain::plan::{ArrayUse, Attempt, ChainPlan, ChainStrategy, SegmentPlan};
use crate::chain::proceed::ProceedMask;
use crate::error::SpliceError;
use crate::error::limits::MAX_MEMBERS;
use crate::planning::cut::{self, MAX_DEPTH, MemberTooLarge};
use crate::planning::tail_calls;

/// Decides how each member runs and where programs begin; compiles nothing. Errors name the member.
pub fn plan(members: &[Member<'_>], options: &SpliceOptions<'_>) -> Result<ChainPlan, SpliceError> {
    decide(members, options, true)
}

/// Plans a chain. Unless `may_be_direct`, plans a program even if the hook could run the only member itself.
pub(crate) fn decide(
    members: &[Member<'_>],
    options: &SpliceOptions<'_>,
    may_be_direct: bool,
) -> Result<ChainPlan, SpliceError> {
    if members.is_empty() {
        return Err(SpliceError::NoMembers);
    }
    if members.len() > MAX_MEMBERS {
        return Err(SpliceError::TooManyMembers { given: members.len() });
    }
    // No verdict leads past an empty set, and the verifier refuses unreachable code.
    let reached =
        members.iter().position(|member| member.proceed_on.0 == 0).map_or(members.len(), |at| at + 1);
    let unreached = members.len() - reached;
    let members = &members[..reached];
    let surveys = survey_all(members, options)?;
    let frags = decide_frags(members, options.frags)?;
    let device_bound = members.iter().any(|member| member.device_bound);
    let timed = options.timing && !device_bound;
    let is_direct = may_be_direct
        && reached == 1
        && !options.counters
        && !timed
        && members[0].unsent == ProceedMask(0)
        && !members[0].is_altered
        && can_attach_direct(options.hook, members[0].proceed_on);
    let plan = ChainPlan {
        strategy: ChainStrategy::Direct,
        members: vec![MemberPlan::INLINE],
        unreached,
        segments: Vec::new(),
        arrays: Vec::new(),
        frags,
        device_bound,
        timed,
        attempt: options.attempt,
    };
    if is_direct {
        return Ok(plan);
    }
    let options = &SpliceOptions { timing: timed, ..*options };
    let mut ways: Vec<MemberPlan> =
        (0..reached).map(|member| initial_join_mode(members, &surveys, options, member)).collect();
    let (segments, ways) = loop {
        match cut::divide(Group { members, surveys: &surveys, ways: &ways, options }) {
            Ok(divided) => break divided,
            Err(MemberTooLarge(member)) if ways[member].way == JoinMode::Standalone => {
                return Err(SpliceError::DoesNotFit { member: members[member].name(member) });
            }
            Err(MemberTooLarge(member)) => {
                ways[member] =
                    MemberPlan { way: JoinMode::Standalone, reason: Some(NotInlinedReason::LeavesNoRoom) };
            }
        }
    };
    let mut alone = ways.iter().zip(members).enumerate();
    if let Some((at, (way, member))) =
        alone.find(|(_, (plan, member))| member.is_altered && plan.way == JoinMode::Standalone)
    {
        let reason = way.reason.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(SpliceError::OnlyAsLoaded { member: member.name(at), reason });
    }
    let strategy = if segments.len() > 1 { ChainStrategy::Cut } else { ChainStrategy::Splice };
    let arrays = arrays(&segments, &ways, timed);
    let plan = ChainPlan { strategy, members: ways, segments, arrays, ..plan };
    tail_calls::check(members, &surveys, &plan)?;
    check_arrays(members, &plan)?;
    Ok(plan)
}

/// Returns the join mode of a member, independent of those of the other members.
fn initial_join_mode(
    members: &[Member<'_>],
    surveys: &[Survey],
    options: &SpliceOptions<'_>,
    index: usize,
) -> MemberPlan {
    let (member, survey) = (&members[index], &surveys[index]);
    let plan = |way, reason| MemberPlan { way, reason: Some(reason) };
    let attempt = options.attempt;
    if member.isolated {
        return plan(JoinMode::Standalone, NotInlinedReason::Isolated);
    }
    let function = match &survey.must {
        Some((JoinMode::Standalone, reason)) => return plan(JoinMode::Standalone, reason.clone()),
        _ if attempt == Attempt::AllStandalone => {
            return plan(JoinMode::Standalone, NotInlinedReason::Fallback(attempt));
        }
        Some((_, reason)) => Some(reason.clone()),
        None => hidden_exit(members, survey, options, index),
    };
    let deep = survey.depth >= MAX_DEPTH;
    let wanted = match attempt {
        Attempt::AllFunctions => Some(NotInlinedReason::Fallback(attempt)),
        _ if options.as_subprograms => Some(NotInlinedReason::AsSubprograms),
        _ => None,
    };
    match (function, wanted) {
        (Some(_), _) if deep => plan(JoinMode::Standalone, NotInlinedReason::DeepCalls),
        (Some(reason), _) => plan(JoinMode::Function, reason),
        (None, Some(reason)) if !deep => plan(JoinMode::Function, reason),
        (None, _) => MemberPlan::INLINE,
    }
}

/// Returns the tail call that forces a member into a function, where its verdict is a return value. The last member may
/// tail-call in place if its verdict needs no check, count or translation.
fn hidden_exit(
    members: &[Member<'_>],
    survey: &Survey,
    options: &SpliceOptions<'_>,
    index: usize,
) -> Option<NotInlinedReason> {
    let reason = survey.hidden_exit.clone()?;
    let ends_the_chain = index + 1 == members.len()
        && !options.counters
        && members[index].unsent == ProceedMask(0)
        && options.hook.verdict_survives(members[index].proceed_on);
    (!ends_the_chain).then_some(reason)
}

/// Returns the program arrays of the chain, in the order in which packets pass them.
fn arrays(segments: &[SegmentPlan], ways: &[MemberPlan], timed: bool) -> Vec<ArrayUse> {
    let mut arrays = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        if number > 0 {
            arrays.push(ArrayUse::Segment(number));
        }
        let own = segment.members.clone().filter(|member| ways[*member].way == JoinMode::Standalone);
        arrays.extend(own.map(ArrayUse::Member));
    }
    if timed {
        arrays.extend((0..segments.len()).map(ArrayUse::Twin));
    }
    arrays
}

fn decide_frags(members: &[Member<'_>], rule: FragsRule) -> Result<bool, SpliceError> {
    let with = members.iter().position(|member| member.program().frags);
    let without = members.iter().position(|member| !member.program().frags);
    match (with, without, rule) {
        (Some(with), Some(without), FragsRule::MustAgree) => Err(SpliceError::FragsDisagree {
            with: members[with].name(with),
            without: members[without].name(without),
        }),
        (_, without, _) => Ok(without.is_none()),
    }
}

fn check_arrays(members: &[Member<'_>], plan: &ChainPlan) -> Result<(), SpliceError> {
    if plan.arrays.is_empty() {
        return Ok(());
    }
    if let Some(bound) = members.iter().position(|member| member.device_bound) {
        return Err(SpliceError::DeviceBound { member: members[bound].name(bound), plan: plan.reason() });
    }
    let is_own = |member: &usize| plan.members[*member].way == JoinMode::Standalone;
    let with = (0..members.len()).filter(is_own).find(|member| members[*member].program().frags);
    let without = members.iter().position(|member| !member.program().frags);
    match (with, without) {
        (Some(with), Some(without)) => Err(SpliceError::FragsDisagree {
            with: members[with].name(with),
            without: members[without].name(without),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
