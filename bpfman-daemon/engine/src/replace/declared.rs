//! Declarations of the objects of programs that are to be replaced, read before any lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFacts;

use crate::engine::objects::EbpfObject;
use crate::load::Bytecode;
use crate::load::linked::LinkedLoad;
use crate::replace::MapPolicy;
use crate::replace::lock::Locked;
use crate::state::BlobId;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

pub struct Declared<'l> {
    new: (BlobId, &'l LinkedLoad<'l>),
    old: BTreeMap<BlobId, EbpfObject>,
    policy: MapPolicy,
}

impl<'l> Declared<'l> {
    pub fn new(bytecode: &Bytecode, object: &'l LinkedLoad<'l>, policy: MapPolicy) -> Self {
        Self { new: (bytecode.blob.id().clone(), object), old: BTreeMap::new(), policy }
    }

    pub fn by(&self, program: &ProgramRecord) -> Result<&ObjectFacts, EngineError> {
        if self.new.0 == program.blob {
            return Ok(self.new.1);
        }
        let found = self.old.get(&program.blob).map(|object| &**object);
        found.ok_or_else(|| EngineError::Fault(format!("the object of program {} was not read", program.id)))
    }

    fn suffices(&self, program: &ProgramRecord) -> bool {
        let has_maps = program.maps.iter().any(|map| map.public);
        self.policy == MapPolicy::Fresh || !has_maps || self.by(program).is_ok()
    }
}

impl<K: Kernel> Engine<K> {
    /// Locks programs after reading their objects, so that no lock is held while a reader runs.
    pub(super) fn lock_declared(
        &self,
        mut seen: Vec<Arc<ProgramRecord>>,
        declared: &mut Declared<'_>,
        lock: impl Fn() -> Result<Locked, EngineError>,
    ) -> Result<Locked, EngineError> {
        loop {
            for program in &seen {
                if !declared.suffices(program) {
                    let object = self.options.objects.read(self.blobs.get(&program.blob)?)?;
                    object.finish();
                    declared.old.insert(program.blob.clone(), object);
                }
            }
            let locked = lock()?;
            if locked.old.iter().all(|old| declared.suffices(old)) {
                return Ok(locked);
            }
            seen.clone_from(&locked.old);
        }
    }
}
