//! Programs that send packets while they run: a test run of one has side effects.

use bpfman_model::{BoundText, Insn, ProgramText};

use crate::analysis::survey::is_tail_call;
use crate::chain::member;
use crate::text::opcode::{CLASS_ALU64, MOV};
use crate::text::scan::Effect;

/// Sends a copy at once; other redirect helpers only set a target for the verdict, which a test run does not follow.
pub(crate) const CLONE_REDIRECT: i32 = 13;

/// Returns why a program may send packets while it runs.
#[must_use]
pub fn why_it_may_send(text: &ProgramText) -> Option<&'static str> {
    member::effects(text).find_map(|(_, effect)| match effect {
        Effect::Helper(CLONE_REDIRECT) => Some("it calls bpf_clone_redirect"),
        Effect::Kfunc { module, .. } if module != 0 => Some("it calls a function of a kernel module"),
        effect if is_tail_call(effect) => Some("it calls other programs by a program array"),
        _ => None,
    })
}

/// `-EPERM`, from a helper that sends nothing.
const NOT_PERMITTED: i32 = -1;

/// Returns whether a program's own instructions call `bpf_clone_redirect`.
#[must_use]
pub fn calls_clone_redirect(text: &ProgramText) -> bool {
    clones(text).next().is_some()
}

/// Returns a program in which each call of `bpf_clone_redirect` fails and sends nothing.
#[must_use]
pub fn without_clone_redirect(text: &BoundText) -> BoundText {
    let mut text = text.clone();
    let calls: Vec<usize> = clones(&text.0).collect();
    for at in calls {
        text.0.insns[at] = Insn::new(CLASS_ALU64 | MOV, 0, 0, 0, NOT_PERMITTED);
    }
    text
}

fn clones(text: &ProgramText) -> impl Iterator<Item = usize> + '_ {
    member::effects(text).filter_map(|(at, effect)| (effect == Effect::Helper(CLONE_REDIRECT)).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{EXIT, helper, program, set_r0};

    #[test]
    fn calls_of_clone_redirect_fail_in_all_functions() {
        let text = program(&[&[helper(13), helper(1), EXIT], &[set_r0(1), helper(13), EXIT]]);
        assert!(calls_clone_redirect(&text.0));
        let without = without_clone_redirect(&text);
        assert!(!calls_clone_redirect(&without.0));
        let answers = [0, 4].map(|at| without.0.insns[at]);
        assert_eq!(answers, [set_r0(-1); 2]);
        assert_eq!(without.0.insns[1], text.0.insns[1]);
        assert_eq!(without.0.insns.len(), text.0.insns.len());
    }

    #[test]
    fn clones_and_tail_calls_may_send_and_redirects_do_not() {
        let of = |id| why_it_may_send(&program(&[&[helper(id), set_r0(0), EXIT]]).0);
        assert_eq!(of(13), Some("it calls bpf_clone_redirect"));
        assert_eq!(of(12), Some("it calls other programs by a program array"));
        for id in [1, 23, 51, 152, 155] {
            assert_eq!(of(id), None, "{id}");
        }
    }
}
