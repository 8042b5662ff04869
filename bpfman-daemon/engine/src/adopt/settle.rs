//! Moves the pins of an adoption into place after its record, or undoes them. Also ends adoptions.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{BoundText, HookKind, Insn, OperationId, ProgramId, op};
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::engine::members::MemberText;
use crate::engine::undo::Undo;
use crate::error::Remainder;
use crate::state::paths::is_adopted_pin;
use crate::state::records::{HookRecord, LeftoverRecord, LinkRecord, ProgramRecord, SourceRecord};
use crate::{Engine, EngineError, paths};

impl ProgramRecord {
    /// Returns whether the program is an adopted third-party program.
    pub const fn is_adopted(&self) -> bool {
        matches!(self.source, SourceRecord::Adopted { .. })
    }

    /// Returns a placeholder: only the kernel knows the text. The chain runs the program itself.
    pub fn opaque_text(&self) -> MemberText {
        let insns = vec![Insn::new(0xb7, 0, 0, 0, 0), Insn::new(op::EXIT, 0, 0, 0, 0)];
        MemberText {
            text: Arc::new(BoundText::of_one_function(&self.name, &self.license, insns)),
            needs_own_btf: false,
            local_type_ids: [].into(),
            is_altered: false,
            specialised: Arc::default(),
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Moves the pins of an adoption into place; idempotent.
    pub(crate) fn place_adopted(
        &self,
        operation: OperationId,
        link: &LinkRecord,
        program: ProgramId,
    ) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        let names = self.kernel.list_folder(&folder)?;
        let place = match link.hook {
            Some(key) if !matches!(key.kind, HookKind::Tcx(_)) => paths::hook_link(&key),
            _ => paths::link(link.id),
        };
        if let Some(name) = names.iter().find(|name| is_adopted_pin(name)) {
            if let Some(parent) = place.parent() {
                self.kernel.make_folder(parent)?;
            }
            // The pin may be left from a link of ours that was force-detached.
            if self.kernel.open_pin(&place)?.is_some() {
                self.kernel.unpin(&place)?;
            }
            self.kernel.rename(&folder.join(name), &place)?;
        }
        let pin = paths::program(program);
        if names.iter().any(|name| Path::new(name) == pin) && self.kernel.open_pin(&pin)?.is_none() {
            self.kernel.rename(&folder.join(&pin), &pin)?;
        }
        self.remove_tree(&folder)
    }

    pub(crate) fn is_adoption(&self, operation: OperationId) -> Result<bool, EngineError> {
        let names = self.kernel.list_folder(&paths::pending(operation))?;
        Ok(names.iter().any(|name| is_adopted_pin(name)))
    }

    pub(crate) fn undo_adoption(&self, operation: OperationId) -> Result<(), EngineError> {
        let folder = paths::pending(operation);
        for name in self.kernel.list_folder(&folder)? {
            let Some(id) = name.strip_prefix(paths::ADOPTED).and_then(|id| id.parse().ok()) else { continue };
            let Some(link) = self.kernel.open_pin(&folder.join(&name))? else { continue };
            let Some(original) = self.kernel.open_pin(&folder.join(paths::program(ProgramId(id))))? else {
                continue;
            };
            let facts = self.kernel.link_of(&link)?;
            // The owner may have put another program into the link since.
            if facts.ifindex.is_none()
                || facts.program == ProgramId(id)
                || !self.is_pinned_entry(facts.program)?
            {
                continue;
            }
            if let Some(running) = self.kernel.open_program(facts.program)? {
                self.kernel.replace(&link, &original, &running)?;
            }
        }
        self.remove_tree(&folder)
    }

    /// Releases an adopted link when its hook loses the last member. Returns the link to its owner if that member is
    /// the adopted one; otherwise ends the link, because the adopted program was removed earlier.
    pub(crate) fn leave_adopted<'a>(
        &'a self,
        hook: &Arc<HookRecord>,
        leaving: &[Arc<LinkRecord>],
        leftover: &mut LeftoverRecord,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let pin = paths::hook_link(&hook.key);
        let adopted = leaving.iter().find(|link| link.adopted).and_then(|link| self.record(link.program));
        let Some(program) = adopted else {
            leftover.adopted_links.push(pin.display().to_string());
            return Ok(());
        };
        if hook.program != program.id {
            let original = self.loaded_program(program.id)?;
            let before = self.kernel.open_program(hook.program)?;
            self.step("detach", "give back");
            self.swap(hook, hook.program, &original, &hook.interface)?;
            let (hook, id) = (Arc::clone(hook), program.id);
            undo.push(move || {
                let Some(before) = before else { return Ok(()) };
                let left = |error| self.not_undone(Remainder::Hook { key: hook.key, now: id }, None, error);
                self.swap(&hook, id, &before, &hook.interface).map_err(left)
            });
        }
        leftover.released.push(pin.display().to_string());
        Ok(())
    }

    pub(crate) fn end_adopted_link(&self, pin: &Path) -> Result<(), EngineError> {
        let result = self.kernel.end_link(pin);
        match self.kernel.open_pin(pin)? {
            None => Ok(()),
            Some(_) => Ok(result?),
        }
    }

    /// Removes records of adopted programs that ended with their boot or pin: there is no bytecode to reload.
    pub(crate) fn forget_adopted(&self, report: &mut RecoveryReport) {
        let adopted: Vec<Arc<ProgramRecord>> = {
            let state = self.state();
            state.programs.values().filter(|program| program.is_adopted()).cloned().collect()
        };
        for program in adopted {
            if self.is_still_loaded(&program).unwrap_or(true) {
                continue;
            }
            tracing::info!(program = program.name, "what was adopted is gone, and so is its record");
            let links: Vec<_> = self.state().links_of(program.uid).cloned().collect();
            let result = self.remove("recover", &links, Some(&program));
            report.settled += 1;
            report.note(format!("forgetting adopted program \"{}\"", program.name), result);
        }
    }
}
