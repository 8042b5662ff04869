//! Compares the attachments of a replaced program with those that the caller was authorized for.

use std::collections::BTreeSet;

use bpfman_model::{LinkId, MatchingId};
use bpfmand_kernel::Kernel;

use super::lock::Locked;
use crate::state::records::LinkRecord;
use crate::{CallersNetwork, Engine, EngineError};

/// Attachments for which a caller is authorized to run a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedPlaces {
    /// Links of the replaced programs.
    pub links: BTreeSet<LinkId>,
    /// Attachments of the programs to matching interfaces, with all links that these create.
    pub matchings: BTreeSet<MatchingId>,
}

impl<K: Kernel> Engine<K> {
    /// Refuses programs attached elsewhere since the caller was authorized: pulling an image may take minutes.
    pub(super) fn ensure_places(
        &self,
        locked: &Locked,
        allowed: Option<&AllowedPlaces>,
    ) -> Result<(), EngineError> {
        let Some(allowed) = allowed else { return Ok(()) };
        locked.links.iter().try_for_each(|link| CallersNetwork::ensure(link.home()))?;
        let replaced = |uid| locked.old.iter().find(|old| old.uid == uid);
        let of_allowed = |matching: MatchingId| allowed.matchings.contains(&matching);
        let is_new =
            |link: &LinkRecord| !allowed.links.contains(&link.id) && !link.matching.is_some_and(of_allowed);
        let by_link = locked.links.iter().find(|link| is_new(link)).and_then(|link| replaced(link.program));
        let by_matching = || {
            let state = self.state();
            let mut new = state.matchings.iter().filter(|(id, _)| !of_allowed(**id));
            new.find_map(|(_, matching)| replaced(matching.program))
        };
        match by_link.or_else(by_matching) {
            None => Ok(()),
            Some(program) => Err(EngineError::NewPlace { program: program.id }),
        }
    }
}
