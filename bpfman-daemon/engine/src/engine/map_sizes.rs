//! Sizes of maps that differ from the object's declarations.

use std::collections::BTreeMap;

use bpfman_model::{LoadRequest, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFacts;

use crate::Engine;
use crate::state::records::ProgramRecord;

#[derive(Debug, Default)]
pub struct MapSizes {
    /// Requested sizes. A name that is not a map of the object makes the load fail.
    pub asked: BTreeMap<String, u32>,
    /// Sizes of maps that the load continues to use. Names that the object does not declare are ignored.
    pub inherited: BTreeMap<String, u32>,
}

impl MapSizes {
    pub fn recorded(sizes: &BTreeMap<String, u32>) -> Self {
        Self { asked: sizes.clone(), inherited: BTreeMap::new() }
    }

    fn beside(request: &LoadRequest, owner: Option<&ProgramRecord>) -> Self {
        Self {
            asked: request.values.map_sizes.clone(),
            inherited: owner.map(|owner| owner.map_sizes.clone()).unwrap_or_default(),
        }
    }

    pub fn of(&self, object: &ObjectFacts) -> BTreeMap<String, u32> {
        let goes_on = |(name, _): &(&String, &u32)| object.declares_map(name);
        let inherited = self.inherited.iter().filter(goes_on);
        inherited.chain(&self.asked).map(|(name, entries)| (name.clone(), *entries)).collect()
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns the sizes for a load. Ignores a missing map owner, for which the load is refused later.
    pub(crate) fn map_sizes(&self, request: &LoadRequest) -> MapSizes {
        let owner = request.map_owner.and_then(|owner| self.state().program(owner).cloned());
        MapSizes::beside(request, owner.as_deref())
    }

    /// Returns the sizes for a new version of a whole load. Earlier sizes of its own maps no longer apply.
    pub(crate) fn map_sizes_of_version(&self, request: &LoadRequest, owner: Option<ProgramUid>) -> MapSizes {
        MapSizes::beside(request, owner.and_then(|owner| self.record(owner)).as_deref())
    }
}
