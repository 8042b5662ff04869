//! Stack of the joined program: common frame, place of the context, limits.

use std::collections::BTreeSet;
use std::ops::Range;

use bpfman_model::ProgramText;

use crate::analysis::frame::{self, Depth};
use crate::analysis::pointer::FULL;
use crate::analysis::survey::{Survey, calls_bytes};
use crate::chain::join_mode::{JoinMode, MemberPlan, NotInlinedReason};
use crate::chain::member::{self, Member};
use crate::chain::options::{FrameRounding, SpliceOptions};
use crate::text::scan::Effect;

/// `bpf_loop`, which the kernel inlines: it saves three registers in 24 more bytes of the caller's frame.
const BPF_LOOP: i32 = 181;
const BPF_LOOP_BYTES: u32 = 24 + 7;
/// `may_goto` keeps its count, and since Linux 6.15 a time, in up to 16 bytes more of its frame.
const MAY_GOTO_BYTES: u32 = 16 + 7;
/// Stack bytes of timed chains, for the time of the last reading and the interface's row.
pub(crate) const CLOCK_BYTES: u32 = 16;

/// Sum of the frames above a function, in bytes, at which the kernel refuses tail calls in it.
const TAIL_CALL_LIMIT: u32 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextPlace {
    /// Not needed after the first member.
    Nowhere,
    /// Eight bytes of the frame, this many below the frame pointer.
    Slot(u32),
    /// Callee-saved register that no inlined member uses meanwhile.
    Register(u8),
}

pub(crate) type Frames = Vec<u32>;

/// Returns the frame depths of functions, computed from the instructions, or as the kernel reported them if uncertain. If
/// both contradict each other, the frame is not shared.
pub(crate) fn frames(member: &Member<'_>) -> (Frames, Option<NotInlinedReason>) {
    let text = member.program();
    let computed = frame::depths(text);
    let kernel = member.kernel_stack_depths.filter(|depths| depths.len() == computed.len());
    let mut unclear = None;
    let frames = computed
        .iter()
        .enumerate()
        .map(|(function, depth)| {
            decide(text, function, *depth, kernel.map(|depths| depths[function])).unwrap_or_else(|reason| {
                unclear = Some(reason);
                FULL
            })
        })
        .collect();
    (frames, unclear)
}

fn decide(
    text: &ProgramText,
    function: usize,
    depth: Depth,
    kernel: Option<u32>,
) -> Result<u32, NotInlinedReason> {
    match (depth.certain, kernel) {
        (true, None) => Ok(depth.bytes.min(FULL)),
        (true, Some(kernel)) => {
            let allowance = added_by_kernel(text, function);
            // The verifier counts only reachable code, so it may count less.
            if kernel > depth.bytes + allowance {
                return Err(NotInlinedReason::UnclearStack {
                    function: text.functions[function].name.clone(),
                    kernel,
                    computed: depth.bytes,
                });
            }
            Ok(depth.bytes.min(FULL))
        }
        (false, Some(kernel)) => Ok(kernel.max(depth.bytes).min(FULL)),
        (false, None) => Ok(FULL),
    }
}

/// Returns the bytes that the kernel may add to a frame when it rewrites instructions, after its check of the sum.
fn added_by_kernel(text: &ProgramText, function: usize) -> u32 {
    let effects =
        || crate::text::scan::walk(&text.insns, member::span(text, function)).map(|(_, effect)| effect);
    let loops = effects().any(|effect| effect == Effect::Helper(BPF_LOOP));
    let may_goto = effects().any(|effect| matches!(effect, Effect::BoundedLoop { .. }));
    u32::from(loops) * BPF_LOOP_BYTES + u32::from(may_goto) * MAY_GOTO_BYTES
}

#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) members: &'a [Member<'a>],
    pub(crate) surveys: &'a [Survey],
    pub(crate) ways: &'a [MemberPlan],
    pub(crate) options: &'a SpliceOptions<'a>,
}

impl<'a> Group<'a> {
    /// Returns whether the program needs its context after the last of its members: to continue, or to count.
    fn context_outlives(&self, range: &Range<usize>) -> bool {
        range.end < self.members.len() || self.options.counters
    }

    fn inlined(self, range: Range<usize>) -> impl Iterator<Item = usize> + 'a {
        range.filter(move |member| self.ways[*member].way == JoinMode::Inline)
    }

    /// Returns the bytes that a member's own frame uses of the common one, a multiple of eight.
    pub(crate) fn body(&self, member: usize) -> u32 {
        match self.ways[member].way {
            JoinMode::Inline => self.surveys[member].frames[0].next_multiple_of(8),
            JoinMode::Function | JoinMode::Standalone => 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) context: ContextPlace,
    pub(crate) frame: u32,
    pub(crate) untimed: u32,
    pub(crate) worst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoesNotFit;

/// Places the context in a slot if that fits, otherwise in a register.
pub(crate) fn plan(group: Group<'_>, range: &Range<usize>) -> Result<Stack, DoesNotFit> {
    let outlives = group.context_outlives(range);
    let places: Vec<ContextPlace> = if !outlives && range.len() == 1 {
        vec![ContextPlace::Nowhere]
    } else {
        // If the context is not needed after the last member, that member may overwrite it.
        let kept = range.start..if outlives { range.end } else { range.end - 1 };
        let deepest = kept.clone().map(|member| group.body(member)).max().unwrap_or(0);
        let slot = (deepest + 8 <= FULL).then_some(ContextPlace::Slot(deepest + 8));
        let is_free = |register: &u8| {
            group
                .inlined(kept.clone())
                .all(|member| !member::entry_uses_register(group.members[member].program(), *register))
        };
        let register = (6..=9).find(is_free).map(ContextPlace::Register);
        slot.into_iter().chain(register).collect()
    };
    places.into_iter().find_map(|context| check(group, range, context)).ok_or(DoesNotFit)
}

/// Reserves up to `most` slots of eight bytes below a plan's frame; returns how many, and the bytes at the deepest point.
pub(crate) fn reserve(group: Group<'_>, range: &Range<usize>, stack: &Stack, most: usize) -> (usize, u32) {
    let with = |slots: usize| {
        let frame = stack.frame + 8 * slots as u32;
        Some((slots, worst(group, range, frame)?))
    };
    (1..=most).rev().find_map(with).unwrap_or((0, stack.worst))
}

/// Returns the stack bytes at the deepest point, with a common frame of this size; `None` if they are too many.
fn worst(group: Group<'_>, range: &Range<usize>, frame: u32) -> Option<u32> {
    let rounding = group.options.rounding;
    let calls = |member: usize| calls_bytes(&group.surveys[member], group.ways[member].way, rounding);
    let worst = rounding.round(frame) + range.clone().map(calls).max().unwrap_or(0);
    let fits =
        worst <= FULL && range.clone().all(|member| tail_calls_fit(group, member, rounding.round(frame)));
    fits.then_some(worst)
}

fn check(group: Group<'_>, range: &Range<usize>, context: ContextPlace) -> Option<Stack> {
    let bodies = range.clone().map(|member| group.body(member)).max().unwrap_or(0);
    let glue = match context {
        ContextPlace::Nowhere => 0,
        ContextPlace::Slot(depth) => depth,
        // After the members, the row of the counters needs a slot.
        ContextPlace::Register(_) => u32::from(group.options.counters) * 8,
    };
    let untimed = bodies.max(glue);
    let frame = untimed + if group.options.timing { CLOCK_BYTES } else { 0 };
    Some(Stack { context, frame, untimed, worst: worst(group, range, frame)? })
}

/// Returns the bytes of the deepest calls below the entry function, without its own frame.
pub(crate) fn deepest_calls(calls: &[BTreeSet<usize>], frames: &Frames, rounding: FrameRounding) -> u32 {
    let mut below = vec![0; calls.len()];
    // Calls have no cycles, as checked before: this many rounds suffice.
    for _ in 0..calls.len() {
        let before = below.clone();
        for (function, callees) in calls.iter().enumerate() {
            let deepest = callees.iter().map(|callee| rounding.round(frames[*callee]) + below[*callee]).max();
            below[function] = deepest.unwrap_or(0);
        }
        if before == below {
            break;
        }
    }
    below[0]
}

/// Returns whether the frames above each tail call of a member, with the `common` frame, are small enough.
fn tail_calls_fit(group: Group<'_>, member: usize, common: u32) -> bool {
    let survey = &group.surveys[member];
    let rounded = |function: usize| group.options.rounding.round(survey.frames[function]);
    let (entry, first) = match group.ways[member].way {
        JoinMode::Standalone => return common < TAIL_CALL_LIMIT,
        _ if survey.tail_call.is_none() => return true,
        JoinMode::Inline => (common, 1),
        JoinMode::Function => (common + rounded(0), 0),
    };
    let calls = &survey.graph;
    // Bytes of the frames above each function; for the entry function behind a call, the common frame.
    let mut above = vec![0; calls.len()];
    above[0] = if first == 0 { common } else { 0 };
    for _ in 0..calls.len() {
        let before = above.clone();
        for (function, callees) in calls.iter().enumerate() {
            let through = if function == 0 { entry } else { above[function] + rounded(function) };
            for callee in callees {
                above[*callee] = above[*callee].max(through);
            }
        }
        if before == above {
            break;
        }
    }
    let text = group.members[member].program();
    (first..calls.len())
        .all(|function| above[function] < TAIL_CALL_LIMIT || !Survey::function_tail_calls(text, function))
}
