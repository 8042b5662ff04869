//! How many entries the maps of a load have, where that is not for the object to say.

use std::collections::BTreeMap;

use bpfmand_core::{LoadRequest, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFacts;

use crate::Engine;
use crate::state::records::ProgramRecord;

/// Numbers of entries by map.
#[derive(Debug, Default)]
pub struct MapSizes {
    /// What the request asks for. Each is a map of the object, or the load is refused.
    pub asked: BTreeMap<String, u32>,
    /// What was set of the maps that the load goes on with. They say nothing of maps that the object does not have.
    pub inherited: BTreeMap<String, u32>,
}

impl MapSizes {
    /// Those that were worked out before.
    pub fn recorded(sizes: &BTreeMap<String, u32>) -> Self {
        Self { asked: sizes.clone(), inherited: BTreeMap::new() }
    }

    /// Of a load that shares the maps of an owner, if there is one: these are as large as the owner's load made them.
    fn beside(request: &LoadRequest, owner: Option<&ProgramRecord>) -> Self {
        Self {
            asked: request.values.map_sizes.clone(),
            inherited: owner.map(|owner| owner.map_sizes.clone()).unwrap_or_default(),
        }
    }

    /// What is set of an object's maps.
    pub fn of(&self, object: &ObjectFacts) -> BTreeMap<String, u32> {
        let goes_on = |(name, _): &(&String, &u32)| object.declares_map(name);
        let inherited = self.inherited.iter().filter(goes_on);
        inherited.chain(&self.asked).map(|(name, entries)| (name.clone(), *entries)).collect()
    }
}

impl<K: Kernel> Engine<K> {
    /// Of a new load. An owner that is not there says nothing here: the load is refused later.
    pub(crate) fn map_sizes(&self, request: &LoadRequest) -> MapSizes {
        let owner = request.map_owner.and_then(|owner| self.state().program(owner).cloned());
        MapSizes::beside(request, owner.as_deref())
    }

    /// Of a new version of a whole load, which shares the maps of the same owner. What was set of its own maps before
    /// counts no more: the request says all.
    pub(crate) fn map_sizes_of_version(&self, request: &LoadRequest, owner: Option<ProgramUid>) -> MapSizes {
        MapSizes::beside(request, owner.and_then(|owner| self.record(owner)).as_deref())
    }
}
