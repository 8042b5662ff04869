//! Packets in several buffers: whose fault it is when the kernel wants a chain to handle them and it does not.

use bpfmand_core::{HookKind, Interface};
use bpfmand_kernel::{Kernel, KernelError};

use crate::chain::built::BuiltChain;
use crate::{Engine, EngineError};

/// What the kernel answers when packets at an interface may come in several buffers and a program does not know them.
const ERANGE: i32 = 34;

impl<K: Kernel> Engine<K> {
    /// Names the members that are in the way where the kernel only says that something is out of range.
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
