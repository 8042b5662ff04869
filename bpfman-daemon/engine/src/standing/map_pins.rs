//! Removed pins are restored: they hold programs without links, and clients, volumes and libbpf find maps by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{MapId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::{HookCheck, HookPart, Standing};
use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, paths};

pub struct WantedMapPin {
    path: PathBuf,
    map: MapId,
    is_taken: bool,
}

enum PinnedMap {
    Nothing,
    Map(MapId),
    /// A program or a link.
    Other,
    /// A folder, or nothing that can be opened now: pinning there reports why.
    Unreadable,
}

pub fn lacking(pins: &[WantedMapPin]) -> Option<HookPart> {
    let are_taken = pins.iter().any(|pin| pin.is_taken);
    (!pins.is_empty()).then_some(if are_taken { HookPart::OwnMapPins } else { HookPart::MapPins })
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn missing_map_pins(&self, program: &ProgramRecord) -> Result<Vec<WantedMapPin>, EngineError> {
        let is_of_now = program.boot.is_empty() || program.boot == self.boot;
        if !is_of_now || program.is_adopted() || program.maps.iter().all(|map| !map.public) {
            return Ok(Vec::new());
        }
        if self.absent_map_pins(program).is_empty() {
            return Ok(Vec::new());
        }
        // Pins are moved into place after the record is written: nothing pending means that all have been moved.
        match self.kernel.list_folder(&paths::pending(program.operation))?.is_empty() {
            true => Ok(self.absent_map_pins(program)),
            false => Ok(Vec::new()),
        }
    }

    fn absent_map_pins(&self, program: &ProgramRecord) -> Vec<WantedMapPin> {
        let folder = paths::maps(program.map_folder);
        let mut missing = Vec::new();
        for map in program.maps.iter().filter(|map| map.public) {
            let Some(id) = map.id else { continue };
            for path in std::iter::once(folder.join(&map.name)).chain(map.shared_pin()) {
                let is_taken = match self.map_at(&path) {
                    PinnedMap::Map(found) if found == id || self.is_shared_at(&path, found) => continue,
                    PinnedMap::Nothing | PinnedMap::Unreadable => false,
                    PinnedMap::Map(_) | PinnedMap::Other => true,
                };
                missing.push(WantedMapPin { path, map: id, is_taken });
            }
        }
        missing
    }

    /// Any other object or folder at one path must not fail a list of all programs.
    fn map_at(&self, path: &Path) -> PinnedMap {
        match self.kernel.open_pin(path) {
            Ok(None) => PinnedMap::Nothing,
            Ok(Some(pin)) => self.kernel.map_of(&pin).map_or(PinnedMap::Other, |map| PinnedMap::Map(map.id)),
            Err(_) => PinnedMap::Unreadable,
        }
    }

    /// Programs of one group can have different maps by one name, if a load found no pin: the first keeps the place.
    fn is_shared_at(&self, path: &Path, id: MapId) -> bool {
        let state = self.state();
        let of_now =
            |program: &&Arc<ProgramRecord>| program.boot == self.boot && !state.lost.contains(&program.uid);
        let mut maps = state.programs.values().filter(of_now).flat_map(|program| &program.maps);
        maps.any(|map| map.id == Some(id) && map.shared_pin().as_deref() == Some(path))
    }

    /// The caller holds the program's lock, or is the start.
    pub(crate) fn pin_maps_again(&self, program: &ProgramRecord) -> Result<Option<HookPart>, EngineError> {
        let missing = self.missing_map_pins(program)?;
        // A map that no program uses ended with its pins. Restore the other pins all the same.
        let mut failed = None;
        for pin in &missing {
            if let Err(error) = self.pin_map(pin) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(lacking(&missing)), Err)
    }

    fn pin_map(&self, wanted: &WantedMapPin) -> Result<(), EngineError> {
        let map = self.kernel.open_map(wanted.map)?;
        // Before it is pinned: a check that fails here, or ends, is repeated.
        self.fill_emptied(wanted.map, &map)?;
        if let Some(folder) = wanted.path.parent() {
            self.kernel.make_folder(folder)?;
        }
        if wanted.is_taken {
            self.kernel.unpin(&wanted.path)?;
        }
        Ok(self.kernel.pin(&map, &wanted.path)?)
    }

    pub(crate) fn lacks_own_pin(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        let is_pinned = || Ok::<_, EngineError>(self.kernel.open_pin(&paths::program(program.id))?.is_some());
        if !self.is_of_this_boot(program) || self.state().lost.why(&program.uid).is_some() || is_pinned()? {
            return Ok(false);
        }
        let is_placed = self.kernel.list_folder(&paths::pending(program.operation))?.is_empty();
        Ok(is_placed && !is_pinned()?)
    }

    /// Compares the pins of a program and its maps with its record, and restores missing ones.
    pub fn check_pins_of(&self, uid: ProgramUid) -> Result<HookCheck, EngineError> {
        let find = || self.state().programs.get(&uid).cloned();
        match find() {
            Some(program)
                if self.lacks_own_pin(&program)? || !self.missing_map_pins(&program)?.is_empty() => {}
            _ => return Ok(HookCheck::Right),
        }
        let _held = self.lock(Subject::Program(uid));
        let Some(program) = find() else { return Ok(HookCheck::Absent) };
        // Nothing holds a program that has ended: lists report it.
        let is_pinned = self.lacks_own_pin(&program)? && self.is_still_loaded(&program)?;
        if is_pinned {
            tracing::warn!(program = %program.id, "its pin was removed, and is back");
        }
        Ok(match self.pin_maps_again(&program) {
            Ok(None) if is_pinned => HookCheck::Mended(Standing::torn(HookPart::ProgramPin)),
            Ok(None) => HookCheck::Right,
            Ok(Some(part)) => {
                let torn = Standing::torn(part);
                tracing::warn!(program = %program.id, "{}, and are back", torn.cause());
                HookCheck::Mended(torn)
            }
            Err(error) => HookCheck::Lost(Standing::torn(HookPart::MapPins).because(&error)),
        })
    }
}
