//! Decides where a new program begins, and which members leave the common frame for it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::analysis::stack::{self, Group};
use crate::chain::hook::SpliceHook;
use crate::chain::join_mode::{JoinMode, MemberPlan, NotInlinedReason};
use crate::chain::plan::{Attempt, CutReason, SegmentPlan};
use crate::error::limits::{MAX_INSNS, MAX_MAPS};
use crate::text::licence;

/// Maximum instructions of glue per member: zeroed frames, checks, counting.
const GLUE: usize = 256;
const REACH: usize = 32_000;
/// `MAX_CALL_FRAMES` of the kernel, with the entry.
pub(crate) const MAX_DEPTH: usize = 8;
/// Maximum size of type information in bytes; the kernel's limit for strings is 16 MiB.
const MAX_BTF: usize = 15 << 20;

pub(crate) struct MemberTooLarge(pub(crate) usize);

/// Makes few programs, and puts members behind calls where that avoids a cut.
pub(crate) fn divide(group: Group<'_>) -> Result<(Vec<SegmentPlan>, Vec<MemberPlan>), MemberTooLarge> {
    let count = group.members.len();
    let mut ways = group.ways.to_vec();
    let mut segments: Vec<SegmentPlan> = Vec::new();
    let mut reason = None;
    let mut at_owner = false;
    let mut start = 0;
    while start < count {
        let forced = (start + 1..count).find_map(|at| Some((at, forced(group, start, at)?)));
        let most = forced.as_ref().map_or(count, |(at, _)| *at);
        let mut refused = None;
        let fitting = (start + 1..=most).rev().find_map(|end| match fit(group, start..end) {
            Ok(moved) => Some((end, moved)),
            Err(reason) => {
                refused = Some(reason);
                None
            }
        });
        let Some((mut end, mut moved)) = fitting else { return Err(MemberTooLarge(start)) };
        let next_at_owner = match refused.is_some().then(|| owners_boundary(group, start, end)).flatten() {
            Some((boundary, fewer)) => {
                (end, moved) = (boundary, fewer);
                true
            }
            None => false,
        };
        ways.splice(start..end, moved);
        segments.push(SegmentPlan { members: start..end, reason: reason.take(), at_owner });
        reason = refused.or(forced.map(|(_, reason)| reason));
        at_owner = next_at_owner;
        start = end;
    }
    Ok((segments, ways))
}

/// Returns the last change of owner before `end` if a cut at `end` would divide the members of one owner.
fn owners_boundary(group: Group<'_>, start: usize, end: usize) -> Option<(usize, Vec<MemberPlan>)> {
    let owner = |member: usize| group.members[member].owner;
    if end == group.members.len() || owner(end) != owner(end - 1) {
        return None;
    }
    let boundary = (start + 1..end).rev().find(|at| owner(*at) != owner(*at - 1))?;
    fit(group, start..boundary).ok().map(|moved| (boundary, moved))
}

/// Returns why the program must end before `at`, independent of its size.
fn forced(group: Group<'_>, start: usize, at: usize) -> Option<CutReason> {
    let joined = |member: &usize| group.ways[*member].way != JoinMode::Standalone;
    if !joined(&at) {
        return None;
    }
    let compatible = |member: usize| licence::is_gpl_compatible(&group.members[member].program().license);
    let before = (start..at).rev().find(joined);
    if before.is_some_and(|before| compatible(before) != compatible(at)) {
        return Some(CutReason::Licence);
    }
    if group.options.attempt == Attempt::CutEach && before.is_some() {
        return Some(CutReason::Fallback(Attempt::CutEach));
    }
    is_writer_behind_readers(group, at).then_some(CutReason::Writer)
}

/// Returns whether the member is the first that writes to packets, and can be entered by a tail call.
fn is_writer_behind_readers(group: Group<'_>, at: usize) -> bool {
    let writes =
        |member: usize| group.surveys[member].writes && group.ways[member].way != JoinMode::Standalone;
    group.options.tc_writers_behind_cut
        && group.options.hook != SpliceHook::Xdp
        && writes(at)
        && !(0..at).any(|member| writes(member) || group.surveys[member].tail_call.is_some())
}

fn fit(group: Group<'_>, range: Range<usize>) -> Result<Vec<MemberPlan>, CutReason> {
    check_sums(group, &range)?;
    let mut ways = group.ways.to_vec();
    let mut moved = Vec::new();
    while let Err(reason) = check_frame(Group { ways: &ways, ..group }, &range) {
        let Some(member) = worst(Group { ways: &ways, ..group }, &range, &reason) else {
            return Err(CutReason::Stack);
        };
        ways[member] = MemberPlan { way: JoinMode::Function, reason: Some(reason.of(group, member)) };
        moved.push(member);
    }
    // Later moves may have made earlier ones unnecessary: take those back.
    for member in moved {
        let reason = std::mem::replace(&mut ways[member], MemberPlan::INLINE);
        if check_frame(Group { ways: &ways, ..group }, &range).is_err() {
            ways[member] = reason;
        }
    }
    Ok(ways[range].to_vec())
}

/// Checks limits that do not depend on join modes. A single member meets some of them, since it was loaded before.
fn check_sums(group: Group<'_>, range: &Range<usize>) -> Result<(), CutReason> {
    let (members, options) = (group.members, group.options);
    let joined = || range.clone().filter(|member| group.ways[*member].way != JoinMode::Standalone);
    let own = range.len() - joined().count();
    let mut maps: BTreeSet<_> = BTreeSet::new();
    for member in joined() {
        maps.extend(&group.surveys[member].maps);
    }
    let arenas = maps.iter().filter(|id| options.arenas.contains(id)).count();
    let leads_on = usize::from(range.end < members.len());
    // A timed chain has the map of ticks, the map of times, and the twin's array.
    let ours = usize::from(options.counters) + 3 * usize::from(options.timing);
    let maps = maps.len() + own + leads_on + ours;
    if maps > MAX_MAPS {
        return Err(CutReason::Maps { maps });
    }
    let insns: usize = joined().map(|member| members[member].program().insns.len()).sum();
    let insns = insns + GLUE * range.len();
    if insns > MAX_INSNS {
        return Err(CutReason::Insns { insns });
    }
    if range.len() == 1 {
        return Ok(());
    }
    let verified: u64 = joined()
        .map(|member| {
            let at_least = members[member].program().insns.len() as u64;
            members[member].verified_insns.map_or(at_least, u64::from)
        })
        .sum();
    if verified > options.verified_limit {
        return Err(CutReason::VerifierWork { insns: verified, limit: options.verified_limit });
    }
    if arenas > 1 {
        return Err(CutReason::Arenas);
    }
    let btf: BTreeSet<&[u8]> =
        joined().filter_map(|member| members[member].program().btf.as_deref()).collect();
    if btf.iter().map(|raw| raw.len()).sum::<usize>() > MAX_BTF {
        return Err(CutReason::TypeInformation);
    }
    Ok(())
}

enum Crowded {
    Stack,
    Reach,
}

impl Crowded {
    fn of(&self, group: Group<'_>, member: usize) -> NotInlinedReason {
        match self {
            Self::Stack => NotInlinedReason::DeepStack { frame: group.surveys[member].frames[0] },
            Self::Reach => NotInlinedReason::TooLong { insns: entry_len(group, member) },
        }
    }
}

fn entry_len(group: Group<'_>, member: usize) -> usize {
    group.members[member].program().functions[0].len
}

fn check_frame(group: Group<'_>, range: &Range<usize>) -> Result<(), Crowded> {
    if !group.options.ja32 && reach(group, range) > REACH {
        return Err(Crowded::Reach);
    }
    stack::plan(group, range).map(drop).map_err(|stack::DoesNotFit| Crowded::Stack)
}

fn reach(group: Group<'_>, range: &Range<usize>) -> usize {
    let len = |member: usize| match group.ways[member].way {
        JoinMode::Inline => entry_len(group, member),
        JoinMode::Function | JoinMode::Standalone => 0,
    };
    let longest = range.clone().map(len).max().unwrap_or(0);
    let behind_first: usize = range.clone().skip(1).map(len).sum();
    longest.max(behind_first + GLUE * range.len())
}

/// Returns the first of the members that use most; `None` if moving a member does not help.
fn worst(group: Group<'_>, range: &Range<usize>, reason: &Crowded) -> Option<usize> {
    let size = |member: usize| match reason {
        Crowded::Stack => group.surveys[member].frames[0] as usize,
        Crowded::Reach => entry_len(group, member),
    };
    range
        .clone()
        .filter(|member| {
            group.ways[*member].way == JoinMode::Inline && group.surveys[*member].depth < MAX_DEPTH
        })
        .rev()
        .max_by_key(|member| size(*member))
}
