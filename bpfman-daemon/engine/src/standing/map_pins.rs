//! Removed pins are restored: they hold programs without links, and clients, volumes and libbpf find maps by them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bpfman_model::{MapId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::{HookCheck, HookPart, Standing};
use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn missing_map_pins(
        &self,
        program: &ProgramRecord,
    ) -> Result<Vec<(PathBuf, MapId)>, EngineError> {
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

    fn absent_map_pins(&self, program: &ProgramRecord) -> Result<Vec<(PathBuf, MapId)>, EngineError> {
        let folder = paths::maps(program.map_folder);
        let there: HashSet<String> = self.kernel.list_folder(&folder)?.into_iter().collect();
        let mut missing = Vec::new();
        for map in program.maps.iter().filter(|map| map.public) {
            let Some(id) = map.id else { continue };
            if !there.contains(&map.name) {
                missing.push((folder.join(&map.name), id));
            }
            if let Some(pin) = map.shared_pin()
                && self.kernel.open_pin(&pin)?.is_none()
            {
                missing.push((pin, id));
            }
        }
        Ok(missing)
    }

    /// The caller holds the program's lock, or is the start.
    pub(crate) fn pin_maps_again(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
        let missing = self.missing_map_pins(program)?;
        // A map that no program uses ended with its pins. Restore the other pins all the same.
        let mut failed = None;
        for (pin, id) in &missing {
            if let Err(error) = self.pin_map(*id, pin) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(!missing.is_empty()), Err)
    }

    fn pin_map(&self, id: MapId, pin: &Path) -> Result<(), EngineError> {
        let map = self.kernel.open_map(id)?;
        // Before it is pinned: a check that fails here, or ends, is repeated.
        self.fill_emptied(id, &map)?;
        if let Some(folder) = pin.parent() {
            self.kernel.make_folder(folder)?;
        }
        Ok(self.kernel.pin(&map, pin)?)
    }

    fn lacks_own_pin(&self, program: &ProgramRecord) -> Result<bool, EngineError> {
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
        let torn = Standing::torn(HookPart::MapPins);
        Ok(match self.pin_maps_again(&program) {
            Ok(false) if is_pinned => HookCheck::Mended(Standing::torn(HookPart::ProgramPin)),
            Ok(false) => HookCheck::Right,
            Ok(true) => {
                tracing::warn!(program = %program.id, "pins of its maps were removed, and are back");
                HookCheck::Mended(torn)
            }
            Err(error) => HookCheck::Lost(torn.because(&error)),
        })
    }
}
