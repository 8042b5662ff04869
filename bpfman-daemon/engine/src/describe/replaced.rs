//! Programs that are about to be replaced, for access control.

use std::sync::Arc;

use bpfman_model::{AttachPoint, HookKind, InterfaceMatch, LinkId, MatchingId, ProgramId, ProgramType};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::State;
use crate::state::records::ProgramRecord;

/// Program that is about to be replaced: the new version runs at all of its attach points.
#[derive(Clone, Debug)]
pub struct ProgramToReplace {
    pub id: ProgramId,
    /// Exact type, which the new version shares.
    pub program_type: ProgramType,
    /// Function, hook or program that it was loaded for.
    pub target: Option<String>,
    /// True if the program has a tenant's guard, which the new version then has, too.
    pub is_guarded: bool,
    /// Links with their attach points.
    pub links: Vec<(LinkId, AttachPoint)>,
    /// Attachments by interface selectors.
    pub matchings: Vec<(MatchingId, HookKind, InterfaceMatch)>,
}

impl ProgramToReplace {
    fn of(state: &State, program: &Arc<ProgramRecord>) -> Self {
        let matchings = state.matchings.values().filter(|matching| matching.program == program.uid);
        let by_hook = matchings.filter_map(|of| Some((of.id, of.point.hook()?.1, of.interfaces.clone())));
        Self {
            id: program.id,
            program_type: program.program_type,
            target: program.target.clone(),
            // Rollback restores the previous version with its own guard: both must be guarded.
            is_guarded: program.guard.is_some()
                && state.previous.get(&program.uid).is_none_or(|before| before.program.guard.is_some()),
            links: state.links_of(program.uid).map(|link| (link.id, link.point.clone())).collect(),
            matchings: by_hook.collect(),
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns those of the programs that exist.
    pub fn replaced_programs(&self, ids: &[ProgramId]) -> Vec<ProgramToReplace> {
        let state = self.state();
        ids.iter().filter_map(|id| Some(ProgramToReplace::of(&state, state.program(*id)?))).collect()
    }
}
