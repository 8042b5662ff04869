//! Removed pins are restored: they hold programs without links, and clients, volumes and libbpf find maps by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{MapId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::{HookCheck, HookPart, Standing};
use crate::engine::locks::Subject;
use crate::engine::pin_finding::PinFinding;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, paths};

pub struct WantedMapPin {
    path: PathBuf,
    map: MapId,
    found: PinFinding,
}

pub fn lacking(pins: &[WantedMapPin]) -> Option<HookPart> {
    let are_taken = pins.iter().any(|pin| pin.found.is_other());
    (!pins.is_empty()).then_some(if are_taken { HookPart::OwnMapPins } else { HookPart::MapPins })
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn missing_map_pins(&self, program: &ProgramRecord) -> Result<Vec<WantedMapPin>, EngineError> {
        let is_of_now = program.boot.is_empty() || program.boot == self.boot;
        if !is_of_now || program.is_adopted() || program.maps.iter().all(|map| !map.public) {
            return Ok(Vec::new());
        }
        if self.absent_map_pins(program)?.is_empty() {
            return Ok(Vec::new());
        }
        // Pins are moved into place after the record is written: nothing pending means that all have been moved.
        match self.kernel.list_folder(&paths::pending(program.operation))?.is_empty() {
            true => self.absent_map_pins(program),
            false => Ok(Vec::new()),
        }
    }

    fn absent_map_pins(&self, program: &ProgramRecord) -> Result<Vec<WantedMapPin>, EngineError> {
        let folder = paths::maps(program.map_folder);
        let mut missing = Vec::new();
        for map in program.maps.iter().filter(|map| map.public) {
            let Some(id) = map.id else { continue };
            for path in std::iter::once(folder.join(&map.name)).chain(map.shared_pin()) {
                // A path that cannot be read must not fail a list of all programs: pinning there reports why.
                let found = self.find_map_at(&path, id).unwrap_or(PinFinding::Absent);
                if found != PinFinding::Own && !self.is_shared_at(&path) {
                    missing.push(WantedMapPin { path, map: id, found });
                }
            }
        }
        Ok(missing)
    }

    /// Returns whether another program's map is pinned at the path. If a load of a group found no pin, programs of the
    /// group have different maps with one name: the path keeps the map that was pinned first.
    pub(crate) fn is_shared_at(&self, path: &Path) -> bool {
        let Ok(Some(pin)) = self.kernel.open_pin(path) else { return false };
        let Ok(found) = self.kernel.map_of(&pin) else { return false };
        let state = self.state();
        let is_current =
            |program: &&Arc<ProgramRecord>| program.boot == self.boot && !state.lost.contains(&program.uid);
        let mut maps = state.programs.values().filter(is_current).flat_map(|program| &program.maps);
        maps.any(|map| map.id == Some(found.id) && map.shared_pin().as_deref() == Some(path))
    }

    /// Restores missing pins of maps, and returns what was missing. Hold the program's lock, unless at start.
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
        // Fill the array before pinning it: a check that fails or is interrupted here is then repeated.
        self.fill_emptied(wanted.map, &map)?;
        if let Some(folder) = wanted.path.parent() {
            self.kernel.make_folder(folder)?;
        }
        self.free_pin(&wanted.path, wanted.found)?;
        Ok(self.kernel.pin(&map, &wanted.path)?)
    }

    /// Returns the defect of a program's own pin, if it has one.
    pub(crate) fn lacking_own_pin(&self, program: &ProgramRecord) -> Result<Option<HookPart>, EngineError> {
        if !self.is_of_this_boot(program)
            || self.state().lost.why(&program.uid).is_some()
            || self.is_pinned_program(program)?
            || !self.kernel.list_folder(&paths::pending(program.operation))?.is_empty()
        {
            return Ok(None);
        }
        Ok(match self.find_program_of(program)? {
            PinFinding::Own => None,
            PinFinding::Absent => Some(HookPart::ProgramPin),
            PinFinding::OtherObject | PinFinding::Folder => Some(HookPart::OwnProgramPin),
        })
    }

    /// Compares the pins of a program and its maps with its record, and restores missing ones.
    pub fn check_pins_of(&self, uid: ProgramUid) -> Result<HookCheck, EngineError> {
        let find = || self.state().programs.get(&uid).cloned();
        match find() {
            Some(program)
                if self.lacking_own_pin(&program)?.is_some()
                    || !self.missing_map_pins(&program)?.is_empty() => {}
            _ => return Ok(HookCheck::Right),
        }
        let _held = self.lock(Subject::Program(uid));
        let Some(program) = find() else { return Ok(HookCheck::Absent) };
        // Nothing holds a program that has ended: lists report it.
        let lacked = self.lacking_own_pin(&program)?;
        let own = match lacked.map(|part| (part, self.is_still_loaded(&program))) {
            None | Some((_, Ok(false))) => None,
            Some((part, Ok(true))) => {
                let torn = Standing::torn(part);
                tracing::warn!(program = %program.id, "{}, and is back", torn.cause());
                Some(HookCheck::Mended(torn))
            }
            Some((part, Err(error))) => Some(HookCheck::Lost(Standing::torn(part).because(&error))),
        };
        Ok(match self.pin_maps_again(&program) {
            Ok(None) => own.unwrap_or(HookCheck::Right),
            Ok(Some(part)) => {
                let torn = Standing::torn(part);
                tracing::warn!(program = %program.id, "{}, and are back", torn.cause());
                HookCheck::Mended(torn)
            }
            Err(error) => HookCheck::Lost(Standing::torn(HookPart::MapPins).because(&error)),
        })
    }
}
