//! Properties of one member that do not depend on the others.

use std::collections::BTreeSet;

use bpfman_model::{MapId, ProgramText};

use crate::analysis::packet_write;
use crate::analysis::pointer::FULL;
use crate::analysis::stack::{self, Frames};
use crate::analysis::unwritten::{self, FrameSlots};
use crate::analysis::verdicts::{self, Codes};
use crate::chain::hook::SpliceHook;
use crate::chain::join_mode::{JoinMode, NotInlinedReason};
use crate::chain::member::{self, Member, callees};
use crate::chain::options::{FrameRounding, SpliceOptions};
use crate::error::SpliceError;
use crate::error::refusal::Refusal;
use crate::text::scan::Effect;

const TAIL_CALL: i32 = 12;
/// `bpf_timer_init`, `bpf_timer_set_callback`, `bpf_timer_start`.
const TIMERS: std::ops::RangeInclusive<i32> = 169..=171;
/// `bpf_redirect`, `bpf_redirect_map`, `bpf_redirect_neigh`, `bpf_redirect_peer`.
pub(crate) const REDIRECTS: [i32; 4] = [23, 51, 152, 155];

pub(crate) const fn is_tail_call(effect: Effect) -> bool {
    matches!(effect, Effect::Helper(TAIL_CALL))
}

pub(crate) struct Survey {
    pub(crate) frames: Frames,
    /// Slots per frame that may be read before they are written.
    pub(crate) unwritten: Vec<FrameSlots>,
    pub(crate) graph: Vec<BTreeSet<usize>>,
    /// Bytes of the deepest calls below the entry function, rounded as the kernel does.
    pub(crate) below: u32,
    /// Functions on the longest path of calls, with the entry function.
    pub(crate) depth: usize,
    pub(crate) must: Option<(JoinMode, NotInlinedReason)>,
    /// Position of the first tail call. The called program may make further ones, of unknown depth.
    pub(crate) tail_call: Option<usize>,
    /// A tail call or a failing load may determine the verdict: the verifier must not treat it as known.
    pub(crate) hidden_exit: Option<NotInlinedReason>,
    /// May leave a redirect target behind.
    pub(crate) redirects: bool,
    pub(crate) codes: Codes,
    /// TC: writes into the packet by pointers.
    pub(crate) writes: bool,
    pub(crate) maps: BTreeSet<MapId>,
}

impl Survey {
    pub(crate) fn function_tail_calls(text: &ProgramText, function: usize) -> bool {
        crate::text::scan::walk(&text.insns, member::span(text, function))
            .any(|(_, effect)| is_tail_call(effect))
    }
}

pub(crate) fn survey_all(
    members: &[Member<'_>],
    options: &SpliceOptions<'_>,
) -> Result<Vec<Survey>, SpliceError> {
    let survey_one = |(index, member): (usize, &Member<'_>)| {
        survey(member, options).map_err(|reason| SpliceError::Refused { member: member.name(index), reason })
    };
    members.iter().enumerate().map(survey_one).collect()
}

fn survey(member: &Member<'_>, options: &SpliceOptions<'_>) -> Result<Survey, Refusal> {
    let text = member.program();
    member::check_shape(text)?;
    check(member)?;
    let (frames, unclear) = stack::frames(member);
    let graph: Vec<BTreeSet<usize>> = (0..text.functions.len()).map(|f| callees(text, f)).collect();
    let entry_end = member::span(text, 0).end;
    let tail_calls = || member::effects(text).filter(|(_, effect)| is_tail_call(*effect)).map(|(at, _)| at);
    let own = needs_own_program(member, options).or_else(|| exception_callback(text, &graph)).or(unclear);
    let must = match own {
        Some(reason) => Some((JoinMode::Standalone, reason)),
        None => needs_own_frame(text).map(|reason| (JoinMode::Function, reason)),
    };
    let helper_of = |effect: Effect, ids: &[i32]| matches!(effect, Effect::Helper(id) if ids.contains(&id));
    Ok(Survey {
        below: stack::deepest_calls(&graph, &frames, options.rounding),
        depth: max_call_depth(&graph),
        must,
        tail_call: if member.opaque { Some(0) } else { tail_calls().next() },
        hidden_exit: hidden_exit(text, entry_end),
        // The effects of a tail-called program are unknown.
        redirects: member.opaque
            || tail_calls().next().is_some()
            || member::effects(text).any(|(_, effect)| helper_of(effect, &REDIRECTS)),
        codes: verdicts::possible(text),
        writes: options.hook != SpliceHook::Xdp && packet_write::writes(text),
        maps: member.text.map_ids().into_iter().collect(),
        unwritten: unwritten::slots(text),
        frames,
        graph,
    })
}

fn check(member: &Member<'_>) -> Result<(), Refusal> {
    if member.program().sleepable {
        return Err(Refusal::Sleepable);
    }
    if member.for_map {
        return Err(Refusal::ForMap);
    }
    Ok(())
}

fn needs_own_program(member: &Member<'_>, options: &SpliceOptions<'_>) -> Option<NotInlinedReason> {
    let text = member.program();
    if member.needs_own_btf || text.btf.is_none() && !member.local_type_ids.is_empty() {
        return Some(NotInlinedReason::NeedsOwnBtf);
    }
    if let Some(at) = text.jump_tables.first().and_then(|table| table.loads.first()) {
        return Some(NotInlinedReason::IndirectJump { at: *at });
    }
    member::effects(text).find_map(|(at, effect)| match effect {
        Effect::Helper(id) if TIMERS.contains(&id) => Some(NotInlinedReason::DeferredWork { at }),
        Effect::Kfunc { module, .. } if module != 0 => Some(NotInlinedReason::UnboundReference { at }),
        Effect::Kfunc { id, .. } if options.throwing_kfuncs.contains(&id) => {
            Some(NotInlinedReason::Throws { at })
        }
        Effect::Kfunc { id, .. } if options.deferring_kfuncs.contains(&id) => {
            Some(NotInlinedReason::DeferredWork { at })
        }
        Effect::UnboundReference => Some(NotInlinedReason::UnboundReference { at }),
        Effect::IndirectJump => Some(NotInlinedReason::IndirectJump { at }),
        _ => None,
    })
}

/// Finds an exception callback: in a joined program, it would be unreachable, or apply to the other members too.
fn exception_callback(text: &ProgramText, graph: &[BTreeSet<usize>]) -> Option<NotInlinedReason> {
    let reached: BTreeSet<usize> = graph.iter().flatten().copied().collect();
    let callback = (1..text.functions.len()).find(|function| !reached.contains(function))?;
    Some(NotInlinedReason::CatchesExceptions { at: text.functions[callback].start })
}

/// Finds an instruction that needs a frame of its own; not tail calls, for which the position matters as well.
fn needs_own_frame(text: &ProgramText) -> Option<NotInlinedReason> {
    crate::text::scan::walk(&text.insns, member::span(text, 0)).find_map(|(at, effect)| match effect {
        Effect::OldPacketLoad => Some(NotInlinedReason::OldPacketLoad { at }),
        Effect::BoundedLoop { .. } => Some(NotInlinedReason::SharedLoopBudget { at }),
        _ => None,
    })
}

/// Finds an instruction that may end a function without `exit`, which the verifiers of some kernels do not notice.
fn hidden_exit(text: &ProgramText, entry_end: usize) -> Option<NotInlinedReason> {
    let tail_call = |at: usize, effect| is_tail_call(effect) && at < entry_end;
    let in_entry = member::effects(text).find(|(at, effect)| tail_call(*at, *effect));
    if let Some((at, _)) = in_entry {
        return Some(NotInlinedReason::TailCall { at });
    }
    let below = member::effects(text)
        .find(|(at, effect)| *at >= entry_end && (is_tail_call(*effect) || *effect == Effect::OldPacketLoad));
    below.map(|(at, _)| NotInlinedReason::HiddenExit { at })
}

/// Returns the number of functions on the longest path of calls, which have no cycles, as checked before.
fn max_call_depth(graph: &[BTreeSet<usize>]) -> usize {
    let mut depth = vec![1; graph.len()];
    for _ in 0..graph.len() {
        let before = depth.clone();
        for (function, callees) in graph.iter().enumerate() {
            depth[function] = 1 + callees.iter().map(|callee| depth[*callee]).max().unwrap_or(0);
        }
        if before == depth {
            break;
        }
    }
    depth[0]
}

pub(crate) fn calls_bytes(survey: &Survey, way: JoinMode, rounding: FrameRounding) -> u32 {
    match way {
        JoinMode::Inline => survey.below,
        JoinMode::Function => rounding.round(survey.frames[0].min(FULL)) + survey.below,
        JoinMode::Standalone => rounding.round(0),
    }
}
