//! BTF of the kernel and of its modules, for one operation.

use std::cell::OnceCell;
use std::fmt;

use bpfmand_kernel::KernelError;
use bpfmand_object::{KernelBtf, SharedBytes};

use crate::EngineError;

type ReadTypes<'k> = Box<dyn Fn() -> Result<Vec<u8>, KernelError> + 'k>;
type GetIndex<'k> = Box<dyn Fn() -> Option<SharedBytes> + 'k>;

/// BTF of the kernel, some megabytes, read on first use and dropped after the operation.
pub struct KernelTypes<'k> {
    read: ReadTypes<'k>,
    index: GetIndex<'k>,
    modules: Vec<(String, Vec<u8>)>,
    parsed: OnceCell<KernelBtf>,
}

impl<'k> KernelTypes<'k> {
    /// Creates the types from a function that reads the kernel's BTF.
    pub fn new(read: impl Fn() -> Result<Vec<u8>, KernelError> + 'k) -> Self {
        Self { read: Box::new(read), index: Box::new(|| None), modules: Vec::new(), parsed: OnceCell::new() }
    }

    pub(crate) fn with_index(self, index: impl Fn() -> Option<SharedBytes> + 'k) -> Self {
        Self { index: Box::new(index), ..self }
    }

    pub(crate) fn add_modules(&mut self, modules: Vec<(String, Vec<u8>)>) {
        if let Some(parsed) = self.parsed.get_mut() {
            add(parsed, &modules);
        }
        self.modules = modules;
    }

    /// Returns the added modules with their BTF as the kernel has it.
    #[must_use]
    pub fn modules(&self) -> &[(String, Vec<u8>)] {
        &self.modules
    }

    /// Returns the parsed BTF of kernel and modules.
    pub fn btf(&self) -> Result<&KernelBtf, EngineError> {
        if let Some(parsed) = self.parsed.get() {
            return Ok(parsed);
        }
        let mut types = match (self.index)() {
            Some(index) => KernelBtf::from_index(&index)?,
            None => KernelBtf::parse((self.read)()?)?,
        };
        add(&mut types, &self.modules);
        Ok(self.parsed.get_or_init(|| types))
    }
}

fn add(types: &mut KernelBtf, modules: &[(String, Vec<u8>)]) {
    for (module, bytes) in modules {
        if let Err(error) = types.add_module(module, bytes.as_slice()) {
            tracing::warn!(%error, module, "the types of a kernel module are not understood");
        }
    }
}

impl fmt::Debug for KernelTypes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<&str> = self.modules.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KernelTypes").field("modules", &modules).finish_non_exhaustive()
    }
}
