//! Owners of programs, links and attachments.

use bpfman_model::{AttachPoint, HookKind, Interface, LinkId, MatchingId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::state::State;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError};

/// Numbers of objects of one owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnedCounts {
    pub programs: u64,
    pub links: u64,
}

impl State {
    fn owner_of(&self, link: &LinkRecord) -> Option<Owner> {
        Some(link.owner(self.programs.get(&link.program)?))
    }

    pub fn owned_counts(&self, owner: &Owner) -> OwnedCounts {
        let programs = self.programs.values().filter(|program| program.owner() == *owner).count();
        let links = self.links.values().filter(|link| self.owner_of(link).as_ref() == Some(owner)).count();
        OwnedCounts { programs: programs as u64, links: links as u64 }
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns the owner of a program; `None` if there is no such managed program.
    pub fn owner_of_program(&self, id: ProgramId) -> Option<Owner> {
        self.state().program(id).map(|program| program.owner())
    }

    /// Returns the owner of a link; `None` if there is no such link.
    pub fn owner_of_link(&self, id: LinkId) -> Option<Owner> {
        let state = self.state();
        state.owner_of(state.links.get(&id)?)
    }

    /// Returns the attach point of a link; `None` if there is no such link.
    pub fn point_of_link(&self, id: LinkId) -> Option<AttachPoint> {
        self.state().links.get(&id).map(|link| link.point.clone())
    }

    /// Returns the members of a hook with their owners: that of the link and, if it differs, that of the program.
    pub fn owners_at_hook(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Vec<(LinkId, Owner)>, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let state = self.state();
        let mut owners = Vec::new();
        for link in state.chain(&key) {
            let of_link = state.owner_of(&link);
            let of_program = state.programs.get(&link.program).map(|program| program.owner());
            let other = of_program.filter(|owner| of_link.as_ref() != Some(owner));
            owners.extend(of_link.into_iter().chain(other).map(|owner| (link.id, owner)));
        }
        Ok(owners)
    }

    /// Returns the owner of an attachment by an interface selector; `None` if there is no such attachment.
    pub fn owner_of_matching(&self, id: MatchingId) -> Option<Owner> {
        let state = self.state();
        let matching = state.matchings.get(&id)?;
        matching.owner.clone().or_else(|| Some(state.programs.get(&matching.program)?.owner()))
    }

    /// Calls `check` with the numbers of objects of an owner. The state is locked meanwhile: `check` must not call the engine.
    pub fn with_owned_counts<T>(&self, owner: &Owner, check: impl FnOnce(OwnedCounts) -> T) -> T {
        let state = self.state();
        check(state.owned_counts(owner))
    }
}
