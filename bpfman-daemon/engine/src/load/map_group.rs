//! Maps that the loads of a group share by name.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{MapId, MapSpec};
use bpfmand_kernel::Kernel;

use crate::engine::pin_finding::PinFinding;
use crate::state::MapGroup;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// Prefix of the pins of shared maps in the folder of a load.
const PENDING_SHARED: &str = "shared_";

impl<K: Kernel> Engine<K> {
    /// Returns the shared map of a name and the group whose pin it has. A map from before groups existed belongs to the
    /// group while one of the group's programs uses it.
    pub(crate) fn find_shared_map(
        &self,
        spec: &MapSpec,
        group: &MapGroup,
    ) -> Result<Option<(K::Handle, MapGroup)>, EngineError> {
        if let Some(handle) = self.map_of_group(&group.pin(&spec.name))? {
            return Ok(Some((handle, group.clone())));
        }
        let Some(id) = self.map_before_groups(&spec.name, group)? else { return Ok(None) };
        let Some(handle) = self.kernel.open_pin(&MapGroup::Machine.pin(&spec.name))? else { return Ok(None) };
        let is_theirs = self.kernel.map_of(&handle)?.id == id;
        Ok(is_theirs.then_some((handle, MapGroup::Machine)))
    }

    /// Returns the pinned map. If the pin is gone or another object's, returns the map that programs of the group use,
    /// which checks will pin there again.
    fn map_of_group(&self, pin: &Path) -> Result<Option<K::Handle>, EngineError> {
        let pinned = self.kernel.open_pin(pin)?;
        let pinned_id = pinned.as_ref().and_then(|pin| self.kernel.map_of(pin).ok()).map(|map| map.id);
        let recorded: Vec<MapId> = {
            let state = self.state();
            let current = state.programs.values().filter(|program| program.boot == self.boot);
            let shared = current.flat_map(|program| &program.maps);
            shared.filter(|map| map.shared_pin().as_deref() == Some(pin)).filter_map(|map| map.id).collect()
        };
        if recorded.is_empty() || pinned_id.is_some_and(|pinned| recorded.contains(&pinned)) {
            return Ok(pinned);
        }
        // A map is gone if a third party unloaded its program.
        Ok(recorded.into_iter().find_map(|id| self.kernel.open_map(id).ok()))
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
            // After a reboot, recorded ids may belong to other objects until the program is loaded again.
            if self.kernel.program(program.id)?.is_some_and(|facts| facts.tag == program.tag) {
                return Ok(map.id);
            }
        }
        Ok(None)
    }

    /// Pins a map in the folder of a load unless the group has a pin of this name. A map that exists needs this too: it
    /// outlives its pin while a program uses it.
    pub(crate) fn pin_shared_map(
        &self,
        map: &K::Handle,
        id: MapId,
        group: &MapGroup,
        name: &str,
        folder: &Path,
    ) -> Result<(), EngineError> {
        let pin = group.pin(name);
        let found = self.find_map_at(&pin, id)?;
        if self.is_groups_pin(&pin, found) {
            return Ok(());
        }
        self.fill_emptied(id, map)?;
        Ok(self.kernel.pin(map, &folder.join(format!("{PENDING_SHARED}{name}")))?)
    }

    fn is_groups_pin(&self, pin: &Path, found: PinFinding) -> bool {
        found == PinFinding::Own || found.is_other() && self.is_shared_at(pin)
    }

    /// Moves the pins of shared maps into the folders of their groups; idempotent.
    pub(crate) fn place_shared_maps(
        &self,
        folder: &Path,
        pending: &[String],
        programs: &[Arc<ProgramRecord>],
    ) -> Result<(), EngineError> {
        for name in pending {
            let Some(map) = name.strip_prefix(PENDING_SHARED) else { continue };
            let recorded = programs.iter().flat_map(|program| &program.maps);
            if let Some(record) = recorded.filter(|found| found.shared).find(|found| found.name == map) {
                self.place_shared_map(&folder.join(name), record)?;
            }
        }
        Ok(())
    }

    /// Moves one pin. A check of another program of the group can pin the map at the same path meanwhile.
    fn place_shared_map(&self, pending: &Path, map: &MapRecord) -> Result<(), EngineError> {
        let (Some(pin), Some(id)) = (map.shared_pin(), map.id) else { return Ok(()) };
        if !map.group.is_machine() {
            self.kernel.make_folder(Path::new(paths::GROUPS))?;
        }
        self.kernel.make_folder(&map.group.folder())?;
        let found = self.find_map_at(&pin, id)?;
        if self.is_groups_pin(&pin, found) {
            return Ok(self.kernel.unpin(pending)?);
        }
        self.free_pin(&pin, found)?;
        match self.kernel.rename(pending, &pin) {
            Err(_) if self.find_map_at(&pin, id)? == PinFinding::Own => Ok(self.kernel.unpin(pending)?),
            moved => Ok(moved?),
        }
    }

    pub(crate) fn group_of_inherited(
        &self,
        name: &str,
        id: MapId,
        group: &MapGroup,
    ) -> Result<MapGroup, EngineError> {
        for candidate in [group, &MapGroup::Machine] {
            if self.find_map_at(&candidate.pin(name), id)? == PinFinding::Own {
                return Ok(candidate.clone());
            }
        }
        Ok(group.clone())
    }
}
