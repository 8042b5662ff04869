//! Packets in several buffers (frags): explanation of the error if the kernel requires a chain to support them.

use bpfman_model::{HookKind, Interface};
use bpfmand_kernel::{Kernel, KernelError};

use crate::chain::built::BuiltChain;
use crate::{Engine, EngineError};

const ERANGE: i32 = 34;

impl<K: Kernel> Engine<K> {
    /// Explains a refusal of packets in several buffers: the kernel only reports that a value is out of range.
    pub(crate) fn explain_frags(
        &self,
        error: EngineError,
        interface: &Interface,
        built: &BuiltChain<'_, K>,
    ) -> EngineError {
        let is_range = matches!(
            &error,
            EngineError::Kernel(KernelError::Call { source, .. }) if source.raw_os_error() == Some(ERANGE)
        );
        if !is_range || built.key.kind != HookKind::Xdp {
            return error;
        }
        let programs = match &built.lease {
            Some(lease) => {
                lease.record.members.iter().filter_map(|member| self.member_record(member.program)).collect()
            }
            None => self.state().program(built.id).cloned().into_iter().collect::<Vec<_>>(),
        };
        let lacks = |program: &&std::sync::Arc<crate::state::records::ProgramRecord>| {
            self.member(program).is_ok_and(|member| !member.text.0.frags)
        };
        let without: Vec<String> =
            programs.iter().filter(lacks).map(|program| program.name.clone()).collect();
        if without.is_empty() {
            return error;
        }
        EngineError::NoFrags { hook: built.key.kind.at(interface), members: without, source: Box::new(error) }
    }
}
