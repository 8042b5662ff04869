//! Restricts socket lookups of tenants' programs to the network namespace of the packet.

use bpfman_model::ProgramText;

use super::allowed::{Calls, ForbiddenUse};
use super::constants::{Constant, at_calls};
use crate::text::scan::{Effect, effect};

/// Helpers that look up sockets: their fourth argument is the number of a network namespace.
const LOOKUPS: [(i32, &str); 3] =
    [(84, "bpf_sk_lookup_tcp"), (85, "bpf_sk_lookup_udp"), (99, "bpf_skc_lookup_tcp")];

impl Calls<'_> {
    /// Checks that sockets are looked up only in the packet's own network namespace (`BPF_F_CURRENT_NETNS`).
    pub fn check_sockets(&self, text: &ProgramText) -> Result<(), ForbiddenUse> {
        for function in &text.functions {
            for (at, registers) in at_calls(&text.insns, function.start..function.start + function.len) {
                let Effect::Helper(number) = effect(text.insns[at], None) else { continue };
                let Some((_, name)) = LOOKUPS.iter().find(|(lookup, _)| *lookup == number) else { continue };
                // The kernel treats every number that is negative in 32 bits as the packet's own namespace.
                let is_own = matches!(registers.get(4), Constant::Number(netns) if (netns as i32) < 0);
                if !is_own && !self.is_granted(name) {
                    let what = format!(
                        "helper {name} but with the constant BPF_F_CURRENT_NETNS as its fourth argument"
                    );
                    return Err(self.forbidden(text, at, Some((*name).to_owned()), what));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bpfman_model::{BoundText, Insn, ProgramType, op};

    use super::*;
    use crate::text::opcode::{MOV32_IMM, MOV64_IMM, MOV64_REG};

    #[test]
    fn sockets_of_other_network_namespaces_are_refused() {
        let granted = BTreeSet::new();
        let check = |helper, netns: &[Insn]| {
            let mut insns = netns.to_vec();
            insns.extend([Insn::new(op::CALL, 0, 0, 0, helper), Insn::new(op::EXIT, 0, 0, 0, 0)]);
            let text = BoundText::of_one_function("entry", "GPL", insns).0;
            Calls::new(ProgramType::Tc, &granted).check_sockets(&text)
        };
        for (helper, name) in LOOKUPS {
            for own in [Insn::new(MOV64_IMM, 4, 0, 0, -1), Insn::new(MOV32_IMM, 4, 0, 0, -1)] {
                assert_eq!(check(helper, &[own]), Ok(()), "{name}");
            }
            let copied = Insn::new(MOV64_REG, 4, 6, 0, 0);
            for other in [Insn::new(MOV64_IMM, 4, 0, 0, 0), Insn::new(MOV64_IMM, 4, 0, 0, 7), copied] {
                let refused = check(helper, &[other]).unwrap_err();
                assert_eq!((refused.name.as_deref(), refused.at), (Some(name), 1));
            }
        }
        assert_eq!(check(1, &[]), Ok(()));
    }
}
