//! Chain without members: keeps a hook attached and passes all packets.

use std::sync::Arc;

use bpfman_model::{BoundText, HookKey, Insn, op};
use bpfmand_kernel::{Kernel, ProgramLoad};
use bpfmand_splice::Attempt;
use bpfmand_splice::SpliceHook;

use crate::chain::built::Lease;
use crate::chain::load::{program_kind, program_name};
use crate::engine::undo::undoing;
use crate::state::chain_record::{ChainId, ChainRecord, Composition, Savings, SegmentRecord};
use crate::{Engine, EngineError, paths};

/// `BPF_ALU64 | BPF_MOV | BPF_K`.
const MOVE: u8 = 0xb7;

impl<K: Kernel> Engine<K> {
    pub(super) fn load_empty_chain(
        &self,
        key: &HookKey,
        hook: SpliceHook,
        composition: Composition,
    ) -> Result<Lease<'_, K>, EngineError> {
        let id = ChainId(self.number());
        let facts = undoing(|undo| {
            undo.push(|| self.undo_pending_of(bpfman_model::OperationId(id.0)));
            let folder = paths::pending_chain(id);
            self.step("chain", "make pending folder");
            self.kernel.make_folder(&folder)?;
            self.step("chain", "load");
            let loaded = self.kernel.load_program(&ProgramLoad::new(
                program_name(key.kind),
                &text(program_name(key.kind), hook),
                program_kind(key.kind),
            ))?;
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
            attempt: Attempt::First,
            as_subprograms: false,
            specialised: false,
            savings: Savings::default(),
            has_perfmon: false,
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

pub(crate) fn text(name: &str, hook: SpliceHook) -> BoundText {
    let insns = vec![Insn::new(MOVE, 0, 0, 0, hook.end_verdict()), Insn::new(op::EXIT, 0, 0, 0, 0)];
    let mut text = BoundText::of_one_function(name, "GPL", insns);
    // The kernel refuses a program without frags if the former chain had them.
    text.0.frags = hook == SpliceHook::Xdp;
    text
}
