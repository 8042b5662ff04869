//! Objects at paths of our pins: others can remove a pin, and put another object or a folder in its place.

use std::io::ErrorKind;
use std::path::Path;

use bpfman_model::MapId;
use bpfmand_kernel::{Kernel, KernelError};

use crate::engine::known_pins::PinnedObject;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinFinding {
    Own,
    Absent,
    OtherObject,
    Folder,
}

/// Returns `None` for an object of another kind, which has no such facts.
pub fn unless_other<T>(facts: Result<T, KernelError>) -> Result<Option<T>, KernelError> {
    match facts {
        Ok(facts) => Ok(Some(facts)),
        Err(KernelError::Call { source, .. }) if source.kind() == ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

impl PinFinding {
    pub const fn is_other(self) -> bool {
        matches!(self, Self::OtherObject | Self::Folder)
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn find_map_at(&self, pin: &Path, map: MapId) -> Result<PinFinding, EngineError> {
        let id_of = |found: &K::Handle| Ok(unless_other(self.kernel.map_of(found))?.map(|facts| facts.id));
        self.find_at(pin, PinnedObject::Map(map), |found| Ok(id_of(found)? == Some(map)))
    }

    pub(crate) fn find_program_of(&self, record: &ProgramRecord) -> Result<PinFinding, EngineError> {
        self.find_at(&record.pin(), PinnedObject::Program(record.id, record.tag), |found| {
            let facts = unless_other(self.kernel.program_of(found))?;
            Ok(facts.is_some_and(|facts| facts.id == record.id && facts.tag == record.tag))
        })
    }

    fn find_at(
        &self,
        pin: &Path,
        own: PinnedObject,
        is_own: impl Fn(&K::Handle) -> Result<bool, KernelError>,
    ) -> Result<PinFinding, EngineError> {
        // Read the identity before the pin is opened: if the pin is replaced in between, no pin has that identity.
        let identity = self.kernel.pin_identity(pin)?;
        if identity.is_some_and(|identity| self.known_pins.is_of(identity, own)) {
            return Ok(PinFinding::Own);
        }
        match self.kernel.open_pin(pin) {
            Ok(Some(found)) if is_own(&found)? => {
                identity.inspect(|identity| self.known_pins.add(*identity, own));
                Ok(PinFinding::Own)
            }
            Ok(Some(_)) => Ok(PinFinding::OtherObject),
            Ok(None) => Ok(PinFinding::Absent),
            Err(_) if self.kernel.is_folder(pin)? => Ok(PinFinding::Folder),
            Err(error) => Err(error.into()),
        }
    }

    /// Frees the path of an own pin. A folder that has anything in it stays, and is an error.
    pub(crate) fn free_pin(&self, pin: &Path, found: PinFinding) -> Result<(), EngineError> {
        match found {
            PinFinding::Own | PinFinding::Absent => Ok(()),
            PinFinding::OtherObject => Ok(self.kernel.unpin(pin)?),
            PinFinding::Folder => Ok(self.kernel.remove_folder(pin)?),
        }
    }
}
