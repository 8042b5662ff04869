//! Programs that are to get another version, for those who decide about it.

use std::sync::Arc;

use bpfmand_core::{AttachPoint, HookKind, InterfaceMatch, LinkId, MatchingId, ProgramId, ProgramType};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::State;
use crate::state::records::ProgramRecord;

/// A program whose place another version is to take: the version runs wherever this one is attached.
#[derive(Clone, Debug)]
pub struct ProgramToReplace {
    /// The kernel's id.
    pub id: ProgramId,
    /// Exact type, which the new version has too.
    pub program_type: ProgramType,
    /// Function, hook or program that it was loaded for.
    pub target: Option<String>,
    /// It is held to a tenant's rules, and so is its new version.
    pub is_guarded: bool,
    /// Its links, and where each is attached.
    pub links: Vec<(LinkId, AttachPoint)>,
    /// Interfaces to which it is attached when they come.
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
            // The version that a rollback brings back was held to rules of its own.
            is_guarded: program.guard.is_some()
                && state.previous.get(&program.uid).is_none_or(|before| before.program.guard.is_some()),
            links: state.links_of(program.uid).map(|link| (link.id, link.point.clone())).collect(),
            matchings: by_hook.collect(),
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns those of the programs that there are.
    pub fn replaced_programs(&self, ids: &[ProgramId]) -> Vec<ProgramToReplace> {
        let state = self.state();
        ids.iter().filter_map(|id| Some(ProgramToReplace::of(&state, state.program(*id)?))).collect()
    }
}
