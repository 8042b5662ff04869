//! A chain without members: it keeps a hook attached, and lets everything pass.

use std::sync::Arc;

use bpfmand_core::{BoundText, FunctionSpan, HookKey, Insn, ProgramText, op};
use bpfmand_kernel::{Kernel, LogRequest, ProgramLoad};
use bpfmand_splice::HookKind as SpliceHook;

use crate::chain::built::Lease;
use crate::chain::load::{program_kind, program_name};
use crate::engine::undo::undoing;
use crate::state::chain_record::{AttemptRecord, ChainId, ChainRecord, Composition, SegmentRecord};
use crate::{Engine, EngineError, paths};

/// `BPF_ALU64 | BPF_MOV | BPF_K`.
const MOVE: u8 = 0xb7;

impl<K: Kernel> Engine<K> {
    /// Loads a program that does what a chain does with which every member proceeded.
    pub(super) fn load_empty_chain(
        &self,
        key: &HookKey,
        hook: SpliceHook,
        composition: Composition,
    ) -> Result<Lease<'_, K>, EngineError> {
        let id = ChainId(self.number());
        let facts = undoing(|undo| {
            undo.push(|| self.undo_pending_of(bpfmand_core::OperationId(id.0)));
            let folder = paths::pending_chain(id);
            self.step("chain", "make pending folder");
            self.kernel.make_folder(&folder)?;
            self.step("chain", "load");
            let loaded = self.kernel.load_program(&ProgramLoad {
                name: program_name(key.kind),
                text: &text(program_name(key.kind), hook),
                kind: program_kind(key.kind),
                attach_btf_id: 0,
                attach_module: None,
                extends: None,
                device: None,
                log: LogRequest::OnFailure,
            })?;
            self.step("chain", "pin");
            self.kernel.pin(&loaded.program, &folder.join(paths::segment(0)))?;
            self.kernel.program_of(&loaded.program).map_err(EngineError::from)
        })?;
        let record = ChainRecord {
            id,
            composition,
            boot: self.boot.clone(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            fallbacks: 0,
            attempt: AttemptRecord::First,
            as_subprograms: false,
            segments: vec![SegmentRecord {
                program: facts.id,
                tag: facts.tag,
                first: 0,
                members: 0,
                verified_insns: facts.verified_insns,
                reason: String::new(),
            }],
            arrays: Vec::new(),
            counters: None,
            twin: None,
            members: Vec::new(),
            reason: "empty: the hook is kept attached, and everything passes".to_owned(),
        };
        Ok(Lease::take(self, Arc::new(record), *key))
    }
}

/// Two instructions: answer the end verdict.
pub(crate) fn text(name: &str, hook: SpliceHook) -> BoundText {
    BoundText(ProgramText {
        name: name.to_owned(),
        license: "GPL".to_owned(),
        insns: vec![Insn::new(MOVE, 0, 0, 0, hook.end_verdict()), Insn::new(op::EXIT, 0, 0, 0, 0)],
        functions: vec![FunctionSpan { name: name.to_owned(), start: 0, len: 2 }],
        btf: None,
        func_info: Vec::new(),
        line_info: Vec::new(),
        // Without packets in several buffers the kernel would refuse it where the chain before had them.
        frags: hook == SpliceHook::Xdp,
        sleepable: false,
        modules: Vec::new(),
    })
}
