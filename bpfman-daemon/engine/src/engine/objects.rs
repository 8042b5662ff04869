//! Object files as plain data, and programs that are linked on request. The reader can be an unprivileged process that
//! a malicious file has compromised: all of its results are checked here.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bpfmand_object::{
    BtfFeatures, LinkedProgram, ObjectError, ObjectFacts, ObjectFile, SharedBytes, TextOptions,
};

use crate::EngineError;
use crate::engine::kernel_types::KernelTypes;
use crate::engine::map_sizes::MapSizes;

/// Reader of object files.
pub trait ReadObjects: Debug + Send + Sync {
    /// Reads an object file. Later requests about it go through the returned object.
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError>;

    /// Reads an object file of which these programs will be linked, as far as possible in the same request. Errors: those
    /// of [`Self::read`].
    fn read_ahead(&self, bytes: Arc<[u8]>, ahead: &LinkAhead) -> Result<EbpfObject, EngineError>;

    /// Reads a file again after its reader failed during recovery. One start limits the time of all such reads.
    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.read(bytes)
    }

    /// Returns whether objects can be read at all.
    fn is_able(&self) -> bool {
        true
    }

    /// Returns the readers' index of the kernel's types ([`bpfmand_object::KernelBtf::write_index`]), if there is one.
    fn kernel_types(&self) -> Option<SharedBytes> {
        None
    }
}

/// Programs that will be linked, for a kernel with these features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAhead {
    pub programs: Vec<String>,
    /// Features of the kernel's BTF.
    pub features: BtfFeatures,
}

/// Linker for the programs of an object that was read.
pub trait LinkPrograms: Debug + Send + Sync {
    /// Returns the object's BTF in the form that a kernel with these features accepts.
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError>;

    /// Returns whether the program or its callees refer to types, functions or variables of the kernel.
    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError>;

    /// Returns whether the program refers to something that the kernel lacks and a module may define.
    fn needs_module_types(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError>;

    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError>;

    /// Releases the reader: no more requests follow.
    fn finish(&self) {}
}

/// Object file that was read. Its memory counts against the readers' limit until it is dropped.
#[derive(Debug)]
pub struct EbpfObject {
    facts: Arc<ObjectFacts>,
    linker: Box<dyn LinkPrograms>,
    sizes: BTreeMap<String, u32>,
}

impl EbpfObject {
    /// Creates an object from a reader's result; an error if no object can have these properties.
    pub fn new(facts: Arc<ObjectFacts>, linker: Box<dyn LinkPrograms>) -> Result<Self, EngineError> {
        facts.check().map_err(|why| EngineError::Reader(format!("it reports of an object that it {why}")))?;
        Ok(Self { facts, linker, sizes: BTreeMap::new() })
    }

    pub(crate) fn sized(mut self, sizes: &MapSizes) -> Result<Self, EngineError> {
        let sizes = sizes.of(&self.facts);
        if !sizes.is_empty() {
            self.facts = Arc::new(self.facts.with_map_sizes(&sizes)?);
            self.sizes = sizes;
        }
        Ok(self)
    }

    pub(crate) fn sizes(&self) -> &BTreeMap<String, u32> {
        &self.sizes
    }

    pub fn finish(&self) {
        self.linker.finish();
    }

    pub fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        self.linker.btf(features)
    }

    pub fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        self.linker.needs_kernel_types(program)
    }

    pub fn needs_module_types(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.linker.needs_module_types(program, types)
    }

    /// Links a program ([`LinkPrograms::link`]); an error if the result is not a program of this object.
    pub fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        let entry = self.program(program)?;
        let mut linked = self.linker.link(program, types, features)?;
        linked.check(self.maps().len()).map_err(|why| {
            EngineError::Reader(format!("it reports of program \"{program}\" that it {why}"))
        })?;
        // These properties were already reported and used for decisions: do not let the linker change them.
        linked.text.name.clone_from(&entry.name);
        linked.text.license = self.license().to_owned();
        (linked.text.frags, linked.text.sleepable) = (entry.frags, entry.sleepable);
        Ok(linked)
    }
}

impl Deref for EbpfObject {
    type Target = ObjectFacts;

    fn deref(&self) -> &ObjectFacts {
        &self.facts
    }
}

/// Reader within this process, with all its privileges: for tests, and for setups without worker processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadHere;

impl ReadObjects for ReadHere {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let object = caught(|| ObjectFile::parse(bytes))??;
        EbpfObject::new(Arc::clone(object.facts()), Box::new(LinkHere(object)))
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, _ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        self.read(bytes)
    }
}

#[derive(Debug)]
struct LinkHere(ObjectFile);

impl LinkPrograms for LinkHere {
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        caught(|| self.0.btf(features))
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        caught(|| self.0.needs_kernel_btf(program))
    }

    fn needs_module_types(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        let kernel = types.btf()?;
        caught(|| self.0.needs_module_types(program, kernel))
    }

    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        let kernel_btf = types.map(KernelTypes::btf).transpose()?;
        let linked: Result<_, ObjectError> =
            caught(|| self.0.link(program, &TextOptions { kernel_btf, features }))?;
        Ok(linked?)
    }
}

/// Turns a panic into an error of this load: one object must not prevent the recovery of all others.
fn caught<T>(read: impl FnOnce() -> T) -> Result<T, EngineError> {
    // A panic can leave only data of this object inconsistent, and the object is dropped.
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| EngineError::Reader("it panicked".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_over_an_object_is_a_refusal() {
        let error = caught::<()>(|| panic!("a fault")).unwrap_err();
        assert!(matches!(error, EngineError::Reader(_)), "{error}");
    }
}
