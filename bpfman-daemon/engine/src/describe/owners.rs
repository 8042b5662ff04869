//! Whose things are.

use bpfmand_core::{LinkId, MatchingId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::State;
use crate::state::records::LinkRecord;

/// How much one owner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Possessions {
    /// Programs.
    pub programs: u64,
    /// Links.
    pub links: u64,
}

impl State {
    fn owner_of(&self, link: &LinkRecord) -> Option<Owner> {
        Some(link.owner(self.programs.get(&link.program)?))
    }
}

impl<K: Kernel> Engine<K> {
    /// Whose a program is; none if bpfman has no such program.
    pub fn owner_of_program(&self, id: ProgramId) -> Option<Owner> {
        self.state().program(id).map(|program| program.owner())
    }

    /// Whose a link is; none if there is no such link.
    pub fn owner_of_link(&self, id: LinkId) -> Option<Owner> {
        let state = self.state();
        state.owner_of(state.links.get(&id)?)
    }

    /// Whose an attachment to matching interfaces is; none if there is no such attachment.
    pub fn owner_of_matching(&self, id: MatchingId) -> Option<Owner> {
        let state = self.state();
        let matching = state.matchings.get(&id)?;
        matching.owner.clone().or_else(|| Some(state.programs.get(&matching.program)?.owner()))
    }

    /// How much an owner has.
    pub fn possessions_of(&self, owner: &Owner) -> Possessions {
        let state = self.state();
        let programs = state.programs.values().filter(|program| program.owner() == *owner).count();
        let links = state.links.values().filter(|link| state.owner_of(link).as_ref() == Some(owner)).count();
        Possessions { programs: programs as u64, links: links as u64 }
    }
}
