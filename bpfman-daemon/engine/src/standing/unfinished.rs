//! Steps that a failed operation could not undo: later operations and checks retry them. In memory only: a start finds
//! the same objects below `pending` and at the hooks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKey, LinkId, OperationId, ProgramId};
use bpfmand_kernel::{Kernel, TcFilter};

use crate::engine::locks::Subject;
use crate::error::{Remainder, UndoFailure};
use crate::state::records::LeftoverFilter;
use crate::state::{Leased, Unfinished};
use crate::{Engine, EngineError, paths};

impl Remainder {
    fn filter(&self) -> Option<LeftoverFilter> {
        let Self::Filter { interface, key, filter: TcFilter { priority, handle }, program } = self else {
            return None;
        };
        let (key, priority, handle, program) = (*key, *priority, *handle, *program);
        Some(LeftoverFilter { interface: interface.clone(), key, priority, handle, program, number: None })
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn undo_folder(&self, folder: &Path) -> Result<(), UndoFailure> {
        let left = |error| self.not_undone(Remainder::Folder(folder.to_owned()), None, error);
        self.remove_tree(folder).map_err(left)
    }

    pub(crate) fn undo_pending_of(&self, operation: OperationId) -> Result<(), UndoFailure> {
        self.undo_folder(&paths::pending(operation))
    }

    pub(crate) fn undo_link(&self, pin: PathBuf) -> Result<(), UndoFailure> {
        self.kernel.end_link(&pin).map_err(|error| UndoFailure::new(Remainder::Pin(pin), error))
    }

    pub(crate) fn try_later(&self, left: Remainder, runs: Option<Leased>) {
        tracing::warn!(what = %left, "a failed operation could not be undone; it is tried again");
        let mut state = self.state();
        state.ending_filters.extend(left.filter());
        let kept = runs.map(|leased| (Arc::clone(&leased.record), state.leases.take(leased)));
        state.unfinished.push(Unfinished { left, kept });
    }

    pub(crate) fn not_undone(
        &self,
        left: Remainder,
        runs: Option<Leased>,
        error: impl Into<EngineError>,
    ) -> UndoFailure {
        self.try_later(left.clone(), runs);
        UndoFailure::new(left, error)
    }

    /// Returns descriptions of everything that failed operations could not undo yet.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        let state = self.state();
        let all = state.unfinished.iter();
        all.map(|what| format!("a failed operation is not undone yet: {}", what.left)).collect()
    }

    /// Retries all unfinished steps. The caller holds no lock.
    pub(crate) fn retry_unfinished(&self) {
        let all = std::mem::take(&mut self.state().unfinished);
        for unfinished in all {
            let what = &unfinished.left;
            match self.undo_again(&unfinished) {
                Ok(()) => tracing::info!(%what, "what a failed operation left is undone"),
                Err(error) => {
                    tracing::warn!(%error, %what, "what a failed operation left is still there");
                    self.state().unfinished.push(unfinished);
                }
            }
        }
    }

    fn undo_again(&self, unfinished: &Unfinished) -> Result<(), EngineError> {
        match &unfinished.left {
            Remainder::Folder(folder) => {
                // With a bridge, the link must end and packets must leave it before its array is removed.
                self.kernel.end_link(&folder.join(paths::PENDING_LINK))?;
                self.kernel.wait_for_readers()?;
                self.remove_tree(folder)
            }
            Remainder::Pin(pin) => Ok(self.kernel.end_link(pin)?),
            left @ Remainder::Filter { .. } => {
                left.filter().map_or(Ok(()), |filter| self.end_filter(&filter))
            }
            Remainder::Hook { key, now } => {
                let _hook = self.lock(Subject::Hook(*key));
                self.swap_back(key, *now)?;
                self.end_lease(unfinished);
                Ok(())
            }
            Remainder::Link { id, now } => {
                let Some(link) = self.state().links.get(id).cloned() else { return Ok(()) };
                let _program = self.lock(Subject::Program(link.program));
                self.update_back(*id, *now)
            }
            Remainder::Dispatcher { operation, key, interface, after } => {
                let _hook = self.lock(Subject::Hook(*key));
                // If both dispatchers are pinned, settling swaps the old one back or completes the swap.
                if !self.settle_dispatcher(*operation)? {
                    self.drop_dispatcher(key, interface, *after)?;
                    self.remove_tree(&paths::pending(*operation))?;
                }
                Ok(())
            }
            Remainder::Adoption(operation) => {
                let _alone = self.lock(Subject::SharedMaps);
                self.undo_adoption(*operation)?;
                self.end_lease(unfinished);
                Ok(())
            }
            // The attachment is recorded, and the caller received the error.
            Remainder::Attachment(_) => Ok(()),
        }
    }

    /// Restores the recorded program at a hook that still runs `now`, the program of the failed swap.
    fn swap_back(&self, key: &HookKey, now: ProgramId) -> Result<(), EngineError> {
        let Some(hook) = self.state().hooks.get(key).cloned() else { return Ok(()) };
        if hook.program == now || !self.is_entered(&hook)? || self.program_at(&hook)? != Some(now) {
            return Ok(());
        }
        let recorded = self.open_shared(hook.program)?;
        // If the recorded program is gone, the hook check detects that and builds another chain.
        let Some(recorded) = recorded else { return Ok(()) };
        self.swap(&hook, now, &recorded, &hook.interface)
    }

    fn update_back(&self, id: LinkId, now: ProgramId) -> Result<(), EngineError> {
        let Some(link) = self.state().links.get(&id).cloned() else { return Ok(()) };
        let Some(program) = self.record(link.program) else { return Ok(()) };
        let Some(handle) = self.kernel.open_pin(&paths::link(id))? else { return Ok(()) };
        let facts = self.kernel.link_of(&handle)?;
        if let AttachPoint::StructOps { map } = &link.point {
            return self.mend_functions(&handle, &facts, &program, map).map(drop);
        }
        if program.id == now || facts.program != now || !facts.is_live() {
            return Ok(());
        }
        self.switch_program(&handle, now, &*self.shared_program(program.id)?).map(drop)
    }

    fn end_lease(&self, unfinished: &Unfinished) {
        if let Some((chain, lease)) = &unfinished.kept {
            self.state().leases.end(chain.id, *lease);
            self.drop_unused_chain(chain);
        }
    }
}
