//! Members that cannot be inlined behind others, by name and reason.

use bpfmand_core::ProgramText;

use crate::member::{self, Member};
use crate::options::SpliceOptions;
use crate::refusal::Refusal;
use crate::scan::Effect;

/// `bpf_tail_call`.
pub(crate) const TAIL_CALL: i32 = 12;
/// `bpf_timer_init`, `bpf_timer_set_callback`, `bpf_timer_start`.
const TIMERS: std::ops::RangeInclusive<i32> = 169..=171;
/// `bpf_redirect`, `bpf_redirect_map`, `bpf_redirect_neigh`, `bpf_redirect_peer`.
const REDIRECTS: [i32; 4] = [23, 51, 152, 155];

/// Checks one member against everything that does not depend on the others.
pub(crate) fn check(member: &Member<'_>, is_last: bool, options: &SpliceOptions<'_>) -> Result<(), Refusal> {
    let text = member.program();
    member::check_shape(text)?;
    if text.sleepable {
        return Err(Refusal::Sleepable);
    }
    if member.needs_own_btf {
        return Err(Refusal::NeedsOwnBtf);
    }
    if !member.redirect_may_proceed && member.proceed_on.contains(options.hook, options.hook.redirect()) {
        return Err(Refusal::RedirectMayProceed);
    }
    let entry_end = member::span(text, 0).end;
    for (at, effect) in member::effects(text) {
        let in_entry = at < entry_end;
        match effect {
            // What a tail-called program returns is the chain's verdict without check or translation. From a
            // subprogram it is the subprogram's result; but the budget of 33 is the whole chain's either way.
            Effect::Helper(TAIL_CALL)
                if !is_last || in_entry && !options.hook.verdict_survives(member.proceed_on) =>
            {
                return Err(Refusal::TailCall { at });
            }
            Effect::Helper(id) if TIMERS.contains(&id) => return Err(Refusal::DeferredWork { at }),
            Effect::Kfunc { module, .. } if module != 0 => return Err(Refusal::UnboundReference { at }),
            Effect::Kfunc { id, .. } if options.throwing_kfuncs.contains(&id) => {
                return Err(Refusal::Throws { at });
            }
            Effect::Kfunc { id, .. } if options.deferring_kfuncs.contains(&id) => {
                return Err(Refusal::DeferredWork { at });
            }
            Effect::IndirectJump => return Err(Refusal::IndirectJump { at }),
            Effect::UnboundReference => return Err(Refusal::UnboundReference { at }),
            Effect::OldPacketLoad if in_entry => return Err(Refusal::OldPacketLoad { at }),
            Effect::BoundedLoop { .. } if in_entry => return Err(Refusal::SharedLoopBudget { at }),
            _ => {}
        }
    }
    Ok(())
}

/// True if the program may leave a redirect target behind.
pub(crate) fn uses_redirect(text: &ProgramText) -> bool {
    member::effects(text).any(|(_, effect)| matches!(effect, Effect::Helper(id) if REDIRECTS.contains(&id)))
}

/// True if the function tail-calls.
pub(crate) fn tail_calls(text: &ProgramText, function: usize) -> bool {
    crate::scan::walk(&text.insns, member::span(text, function))
        .any(|(_, effect)| effect == Effect::Helper(TAIL_CALL))
}
