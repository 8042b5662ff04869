//! Maps that the loads of a group share by name.

use std::sync::Arc;

use bpfmand_core::{MapId, MapSpec};
use bpfmand_kernel::Kernel;

use crate::state::MapGroup;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// The map that a group shares by a name, and the group whose pin it is; none if nobody made it yet.
    ///
    /// A map that programs of this group shared before there were groups is theirs as long as one of them is there.
    pub(crate) fn find_shared_map(
        &self,
        spec: &MapSpec,
        group: &MapGroup,
    ) -> Result<Option<(K::Handle, MapGroup)>, EngineError> {
        if let Some(handle) = self.kernel.open_pin(&group.pin(&spec.name))? {
            return Ok(Some((handle, group.clone())));
        }
        let Some(id) = self.map_before_groups(&spec.name, group)? else { return Ok(None) };
        let Some(handle) = self.kernel.open_pin(&MapGroup::Machine.pin(&spec.name))? else { return Ok(None) };
        let is_theirs = self.kernel.map_of(&handle)?.id == id;
        Ok(is_theirs.then_some((handle, MapGroup::Machine)))
    }

    fn map_before_groups(&self, name: &str, group: &MapGroup) -> Result<Option<MapId>, EngineError> {
        let theirs: Vec<Arc<ProgramRecord>> = {
            let state = self.state();
            let of_group =
                |program: &&Arc<ProgramRecord>| MapGroup::of(&program.owner(), &program.metadata) == *group;
            state.programs.values().filter(of_group).cloned().collect()
        };
        for program in theirs {
            let shared = |map: &&MapRecord| map.shared && map.group.is_machine() && map.name == name;
            let Some(map) = program.maps.iter().find(shared) else { continue };
            // After a reboot the ids of a record are those of others, until the program is loaded again.
            if self.kernel.program(program.id)?.is_some_and(|facts| facts.tag == program.tag) {
                return Ok(map.id);
            }
        }
        Ok(None)
    }

    /// The group whose pin an inherited map has.
    pub(crate) fn group_of_inherited(
        &self,
        name: &str,
        id: MapId,
        group: &MapGroup,
    ) -> Result<MapGroup, EngineError> {
        for candidate in [group, &MapGroup::Machine] {
            if self.pinned_map(&candidate.pin(name))? == Some(id) {
                return Ok(candidate.clone());
            }
        }
        Ok(group.clone())
    }
}
