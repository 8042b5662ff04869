use std::fs::File;
use std::io::{self, Read as _};

/// File of the kernel's types, opened early and read only if an object needs it.
#[derive(Debug)]
pub struct KernelTypesFile {
    file: File,
    size: usize,
}

/// Maximum size of the kernel's types; kernels have five to ten million bytes.
const TYPES: u64 = 256 << 20;

/// Opens the file. Fails if the kernel has no types, or they cannot be read.
pub fn open_kernel_types() -> io::Result<KernelTypesFile> {
    let file = File::open("/sys/kernel/btf/vmlinux")?;
    let size = file.metadata()?.len().min(TYPES) as usize;
    Ok(KernelTypesFile { file, size })
}

impl KernelTypesFile {
    /// Reads the types by `read` alone: the sandbox of a reader permits no other call.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size + 1);
        self.file.take(TYPES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
