//! Programs that may send packets independent of their verdict: a test run of one has side effects.

use bpfmand_core::ProgramText;

use crate::analysis::survey::is_tail_call;
use crate::chain::member;
use crate::text::scan::Effect;

/// `bpf_clone_redirect`: sends a copy at once. The other redirect helpers only set a target for the verdict, which a
/// test run does not follow.
const CLONE_REDIRECT: i32 = 13;

/// Returns why a program may send packets while it runs; none if it does not.
#[must_use]
pub fn why_it_may_send(text: &ProgramText) -> Option<&'static str> {
    member::effects(text).find_map(|(_, effect)| match effect {
        Effect::Helper(CLONE_REDIRECT) => Some("it calls bpf_clone_redirect"),
        Effect::Kfunc { module, .. } if module != 0 => Some("it calls a function of a kernel module"),
        effect if is_tail_call(effect) => Some("it calls other programs by a program array"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::testing::{EXIT, helper, program, set_r0};

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
