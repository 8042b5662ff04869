//! What the verifier said of a chain, and of which member it said it.

use bpfmand_kernel::KernelError;
use bpfmand_splice::Splice;

/// A program of a chain that the verifier refused.
pub(crate) struct Refused {
    /// Function name of the member whose instruction it was, where the log tells.
    pub member: Option<String>,
    /// The verifier's log.
    pub log: String,
    /// The kernel's answer.
    pub source: KernelError,
}

/// The member whose instruction the verifier was at when it gave up, counted in the whole chain.
pub(super) fn member_at(log: &str, program: &Splice) -> Option<usize> {
    program.section_at(last_insn(log)?).map(|section| section.part.member())
}

/// The last instruction that a verifier's log shows: lines like `17: (85) call bpf_map_lookup_elem#1`.
fn last_insn(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| {
        let (number, rest) = line.split_once(": (")?;
        let code = rest.get(..3)?;
        let is_code = code.ends_with(')') && code[..2].bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_code { number.trim().parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_instruction_of_a_log_is_where_the_verifier_stopped() {
        let log = "func#0 @0\n0: R1=ctx() R10=fp0\n; int a = 1;\n0: (b7) r0 = 1                        ; R0_w=1\n\
                   17: (85) call bpf_map_lookup_elem#1\nR1 type=ctx expected=map_ptr\nprocessed 2 insns (limit 1000000)\n";
        assert_eq!(last_insn(log), Some(17));
        assert_eq!(last_insn("17: R1=ctx() (no code)\n"), None);
        assert_eq!(last_insn(""), None);
    }
}
