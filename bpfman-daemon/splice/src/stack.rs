//! The joined program's stack: the common frame, where the context is kept, and whether it all fits.

use std::collections::BTreeSet;

use bpfmand_core::ProgramText;

use crate::error::SpliceError;
use crate::frame::{self, Depth};
use crate::member::{self, Member, callees};
use crate::options::{FrameRounding, SpliceOptions};
use crate::pointer::FULL;
use crate::refusal::Refusal;
use crate::refuse;
use crate::scan::Effect;

/// `bpf_loop`: the kernel inlines it and keeps three registers in 24 bytes more of the caller's frame.
const BPF_LOOP: i32 = 181;
const BPF_LOOP_BYTES: u32 = 24 + 7;
/// `may_goto` keeps its count, and since Linux 6.15 a time, in up to 16 bytes more of its frame.
const MAY_GOTO_BYTES: u32 = 16 + 7;

/// Where the context waits while a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextPlace {
    /// Nothing runs after the first member.
    Nowhere,
    /// In eight bytes of the frame, this many below the frame pointer.
    Slot(u32),
    /// In a callee-saved register that no member but the last mentions.
    Register(u8),
}

/// Depth of the frames of one member's functions in bytes, its entry function's first.
pub(crate) type Frames = Vec<u32>;

/// Takes the depths from the instructions, and from the kernel where they leave it open.
pub(crate) fn frames(member: &Member<'_>) -> Result<Frames, Refusal> {
    let text = member.program();
    let computed = frame::depths(text);
    // Without a figure per function there is nothing to compare.
    let kernel = member.kernel_stack_depths.filter(|depths| depths.len() == computed.len());
    computed
        .iter()
        .enumerate()
        .map(|(function, depth)| decide(text, function, *depth, kernel.map(|depths| depths[function])))
        .collect()
}

fn decide(text: &ProgramText, function: usize, depth: Depth, kernel: Option<u32>) -> Result<u32, Refusal> {
    match (depth.certain, kernel) {
        (true, None) => Ok(depth.bytes.min(FULL)),
        (true, Some(kernel)) => {
            let allowance = added_by_kernel(text, function);
            // The verifier counts only what can run, so it may well count less.
            if kernel > depth.bytes + allowance {
                return Err(Refusal::StackDepthDisagrees {
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

/// Bytes that the kernel may add to a function's frame when it rewrites instructions, after its check of the sum.
fn added_by_kernel(text: &ProgramText, function: usize) -> u32 {
    let effects = || crate::scan::walk(&text.insns, member::span(text, function)).map(|(_, effect)| effect);
    let loops = effects().any(|effect| effect == Effect::Helper(BPF_LOOP));
    let may_goto = effects().any(|effect| matches!(effect, Effect::BoundedLoop { .. }));
    u32::from(loops) * BPF_LOOP_BYTES + u32::from(may_goto) * MAY_GOTO_BYTES
}

/// The common frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// Depth of each member's own frame in bytes, a multiple of eight.
    pub(crate) bodies: Vec<u32>,
    pub(crate) context: ContextPlace,
    /// Depth of the common frame in bytes.
    pub(crate) frame: u32,
    /// Bytes of the common frame and the deepest calls, rounded as the kernel does.
    pub(crate) worst: u32,
}

/// Plans the frame and checks it against the kernel's limits.
pub(crate) fn plan(
    members: &[Member<'_>],
    frames: &[Frames],
    options: &SpliceOptions<'_>,
) -> Result<Stack, SpliceError> {
    let bodies: Vec<u32> = frames.iter().map(|functions| functions[0].next_multiple_of(8)).collect();
    let context = place_context(members, &bodies)?;
    let slot = if let ContextPlace::Slot(depth) = context { depth } else { 0 };
    let frame = bodies.iter().copied().max().unwrap_or(0).max(slot);
    let mut calls = Vec::with_capacity(members.len());
    for (index, (member, frames)) in members.iter().zip(frames).enumerate() {
        let text = member.program();
        let graph: Vec<BTreeSet<usize>> = (0..text.functions.len()).map(|f| callees(text, f)).collect();
        calls.push(deepest_calls(&graph, frames, options.rounding));
        check_tail_calls(text, &graph, frame, frames)
            .map_err(|reason| SpliceError::Refused { member: member.name(index), reason })?;
    }
    let deepest = position_of_max(&calls);
    let worst = options.rounding.round(frame) + calls[deepest];
    if worst > FULL {
        let deepest_frame = position_of_max(&bodies);
        return Err(SpliceError::StackTooDeep {
            needed: worst,
            frame,
            calls: calls[deepest],
            deepest_frame: members[deepest_frame].name(deepest_frame),
            deepest_calls: members[deepest].name(deepest),
        });
    }
    Ok(Stack { bodies, context, frame, worst })
}

/// First position of the largest value, so that messages do not depend on chance.
fn position_of_max(values: &[u32]) -> usize {
    let largest = values.iter().max();
    values.iter().position(|value| Some(value) == largest).unwrap_or(0)
}

/// The context is needed until the last member starts: that one's frame may cover the slot.
fn place_context(members: &[Member<'_>], bodies: &[u32]) -> Result<ContextPlace, SpliceError> {
    let Some((_, before)) = bodies.split_last().filter(|(_, before)| !before.is_empty()) else {
        return Ok(ContextPlace::Nowhere);
    };
    let deepest = before.iter().copied().max().unwrap_or(0);
    if deepest + 8 <= FULL {
        return Ok(ContextPlace::Slot(deepest + 8));
    }
    (6..=9)
        .find(|register| {
            members[..before.len()]
                .iter()
                .all(|member| !member::entry_uses_register(member.program(), *register))
        })
        .map(ContextPlace::Register)
        .ok_or_else(|| {
            let full = position_of_max(before);
            SpliceError::NoPlaceForContext { member: members[full].name(full) }
        })
}

/// Bytes of the deepest calls below the entry function, without its own frame.
fn deepest_calls(calls: &[BTreeSet<usize>], frames: &Frames, rounding: FrameRounding) -> u32 {
    let mut below = vec![0; calls.len()];
    // Calls have no cycles, that was checked: after as many rounds as there are functions nothing changes.
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

/// The kernel refuses a tail call in a function below frames of 256 bytes or more.
fn check_tail_calls(
    text: &ProgramText,
    calls: &[BTreeSet<usize>],
    entry: u32,
    frames: &Frames,
) -> Result<(), Refusal> {
    let mut above = vec![0; calls.len()];
    for _ in 0..calls.len() {
        let before = above.clone();
        for (function, callees) in calls.iter().enumerate() {
            let own = if function == 0 { entry } else { frames[function] };
            for callee in callees {
                above[*callee] = above[*callee].max(above[function] + own);
            }
        }
        if before == above {
            break;
        }
    }
    match (1..calls.len()).find(|function| above[*function] >= 256 && refuse::tail_calls(text, *function)) {
        None => Ok(()),
        Some(function) => Err(Refusal::TailCallBelowLargeFrame {
            function: text.functions[function].name.clone(),
            above: above[function],
        }),
    }
}
