//! Verdicts of tenants' tcx programs: only NEXT or DROP, since other verdicts let packets skip the machine's programs.
//!
//! Every exit of the entry function jumps to common code at the start of the program: DROP and REDIRECT become DROP,
//! all else NEXT. A program that sets no target can redirect only to one that an earlier program set.

use bpfman_model::{Insn, ProgramText};

use crate::analysis::survey::{REDIRECTS, is_tail_call};
use crate::chain::hook::{SpliceHook, TC_SHOT};
use crate::chain::member;
use crate::guard::exits::{TooFar, with_end};
use crate::guard::test::Guarded;
use crate::text::asm::Asm;
use crate::text::opcode::JEQ32;
use crate::text::scan::Effect;

/// Reason for which verdicts of a program cannot be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNarrow {
    #[error("it calls other programs by bpf_tail_call")]
    TailCall,
    #[error("it calls bpf_redirect or one of its kind")]
    Redirect,
    #[error("it loads by LD_ABS or LD_IND, which end a program when they fail")]
    OldPacketLoad,
    #[error("it is too long")]
    TooLong,
}

/// Returns a tcx program that returns only NEXT or DROP.
pub fn narrowed(text: &ProgramText) -> Result<Guarded, NotNarrow> {
    for (_, effect) in member::effects(text) {
        match effect {
            Effect::Helper(number) if REDIRECTS.contains(&number) => return Err(NotNarrow::Redirect),
            Effect::OldPacketLoad => return Err(NotNarrow::OldPacketLoad),
            effect if is_tail_call(effect) => return Err(NotNarrow::TailCall),
            _ => {}
        }
    }
    with_end(text, &end()?, Vec::new()).map_err(|TooFar| NotNarrow::TooLong)
}

fn end() -> Result<Vec<Insn>, NotNarrow> {
    let mut asm = Asm::default();
    let drop = asm.label();
    asm.branch(JEQ32, TC_SHOT.cast_unsigned(), drop);
    asm.branch(JEQ32, SpliceHook::TcTcx.redirect().cast_unsigned(), drop);
    asm.set(0, SpliceHook::TcTcx.end_verdict());
    asm.exit();
    asm.bind(drop);
    asm.set(0, TC_SHOT);
    asm.exit();
    asm.finish(false).map_err(|_| NotNarrow::TooLong)
}

#[cfg(test)]
mod tests {
    use bpfman_model::op;

    use super::*;
    use crate::text::testing::{EXIT, helper, local_call, program, set_r0};

    #[test]
    fn every_exit_of_the_entry_leads_to_the_end() {
        let text = program(&[&[set_r0(0), local_call(3), EXIT, set_r0(2), EXIT], &[set_r0(1), EXIT]]).0;
        let Guarded { text: narrow, len } = narrowed(&text).unwrap();
        assert_eq!(narrow.insns.len(), text.insns.len() + len);
        assert_eq!(narrow.insns[0], Insn::new(op::JA, 0, 0, len as i16 - 1, 0));
        for at in [len + 2, len + 4] {
            let jump = narrow.insns[at];
            assert_eq!((jump.code, at as i16 + 1 + jump.off), (op::JA, 1), "{at}");
        }
        assert_eq!(narrow.insns[len + 6], EXIT);
        assert_eq!((narrow.functions[0].len, narrow.functions[1].start), (len + 5, len + 5));
    }

    #[test]
    fn redirects_and_tail_calls_are_not_narrowed() {
        let of = |insn| narrowed(&program(&[&[insn, set_r0(0), EXIT]]).0).map(|_| ());
        for (id, why) in
            REDIRECTS.map(|id| (id, NotNarrow::Redirect)).into_iter().chain([(12, NotNarrow::TailCall)])
        {
            assert_eq!(of(helper(id)), Err(why), "{id}");
        }
        assert_eq!(of(Insn::new(0x30, 0, 0, 0, 12)), Err(NotNarrow::OldPacketLoad));
        assert_eq!(of(helper(1)), Ok(()));
    }
}
