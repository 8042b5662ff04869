//! Object files, as the engine has them: plain data, and programs that are linked on request.
//!
//! Who reads a file is the embedder's: it may be another process, which has no rights and may be in the hands of whoever
//! wrote the file. So what is said of a file is checked here, whoever says it, before anything is made of it.

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

/// Reads object files.
pub trait ReadObjects: Debug + Send + Sync {
    /// Reads one. What is needed of it later is asked of what comes back.
    ///
    /// # Errors
    /// It is no object, or nobody is there to read it.
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError>;

    /// Reads one again whose reader failed when everything was brought back at a start: what all such may take of the
    /// start is bounded.
    ///
    /// # Errors
    /// As for [`Self::read`], and if no time is left.
    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.read(bytes)
    }

    /// False if no object can be read any more, whichever.
    fn is_able(&self) -> bool {
        true
    }

    /// The index of the running kernel's types that readers have ([`bpfmand_object::KernelBtf::write_index`]), if they have
    /// one.
    fn kernel_types(&self) -> Option<SharedBytes> {
        None
    }
}

/// Links programs of an object that was read.
pub trait LinkPrograms: Debug + Send + Sync {
    /// The object's BTF as a kernel with these features takes it.
    ///
    /// # Errors
    /// Nobody is left who could tell.
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError>;

    /// True if the program or a function that it reaches refers to the kernel's types, functions or variables.
    ///
    /// # Errors
    /// Nobody is left who could tell.
    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError>;

    /// True if it refers to what the kernel itself has not, and a module may have.
    ///
    /// # Errors
    /// The kernel's types cannot be read, or nobody is left who could tell.
    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError>;

    /// Links a program.
    ///
    /// # Errors
    /// What is wrong with the program; or nobody is left who could link it.
    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError>;

    /// Lets go of who tells: nothing more is asked.
    fn finish(&self) {}
}

/// An object file that was read. What is held of it counts until it is dropped.
#[derive(Debug)]
pub struct EbpfObject {
    facts: Arc<ObjectFacts>,
    linker: Box<dyn LinkPrograms>,
    /// What was set of its maps.
    sizes: BTreeMap<String, u32>,
}

impl EbpfObject {
    /// Of what somebody says of the file.
    ///
    /// # Errors
    /// [`EngineError::Reader`] if no object says so of itself.
    pub fn new(facts: Arc<ObjectFacts>, linker: Box<dyn LinkPrograms>) -> Result<Self, EngineError> {
        facts.check().map_err(|why| EngineError::Reader(format!("it says of an object that it {why}")))?;
        Ok(Self { facts, linker, sizes: BTreeMap::new() })
    }

    /// The same with other numbers of entries of its maps.
    ///
    /// # Errors
    /// It has no such map, or the map cannot have so many or so few.
    pub(crate) fn sized(mut self, sizes: &MapSizes) -> Result<Self, EngineError> {
        let sizes = sizes.of(&self.facts);
        if !sizes.is_empty() {
            self.facts = Arc::new(self.facts.with_map_sizes(&sizes)?);
            self.sizes = sizes;
        }
        Ok(self)
    }

    /// Numbers of entries that are not those of the object, by map.
    pub(crate) fn sizes(&self) -> &BTreeMap<String, u32> {
        &self.sizes
    }

    /// Nothing more is asked: see [`LinkPrograms::finish`].
    pub fn finish(&self) {
        self.linker.finish();
    }

    /// See [`LinkPrograms::btf`].
    ///
    /// # Errors
    /// As there.
    pub fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        self.linker.btf(features)
    }

    /// See [`LinkPrograms::needs_kernel_types`].
    ///
    /// # Errors
    /// As there.
    pub fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        self.linker.needs_kernel_types(program)
    }

    /// See [`LinkPrograms::exceeds`].
    ///
    /// # Errors
    /// As there.
    pub fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.linker.exceeds(program, types)
    }

    /// See [`LinkPrograms::link`].
    ///
    /// # Errors
    /// As there; what comes back is no program of this object.
    pub fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        let entry = self.program(program)?;
        let mut linked = self.linker.link(program, types, features)?;
        linked
            .check(self.maps().len())
            .map_err(|why| EngineError::Reader(format!("it says of program \"{program}\" that it {why}")))?;
        // Said once already, and decided by.
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

/// Reads objects in this process, with all its rights: for tests, and where root wants no other processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadHere;

impl ReadObjects for ReadHere {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let object = caught(|| ObjectFile::parse(bytes))??;
        EbpfObject::new(Arc::clone(object.facts()), Box::new(LinkHere(object)))
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

    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        let kernel = types.btf()?;
        caught(|| self.0.exceeds(program, kernel))
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

/// A panic over one object is the end of one load, also at a start, where it would keep all others from running.
fn caught<T>(read: impl FnOnce() -> T) -> Result<T, EngineError> {
    // What is half done then is of this object alone, and goes with it.
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
