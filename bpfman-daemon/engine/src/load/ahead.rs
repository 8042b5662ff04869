use bpfmand_kernel::Kernel;
use bpfmand_store::{Blob, BlobAhead, FileError};

use crate::Engine;

/// Bytecode that a thread stores while the object is read and loaded. Removed on drop unless a record needs it.
pub struct BytecodeAhead<'e, K: Kernel> {
    engine: &'e Engine<K>,
    blob: &'e Blob,
    /// `None` if nothing is stored ahead, or the load stores it itself.
    stored: Option<BlobAhead>,
}

impl<'e, K: Kernel> BytecodeAhead<'e, K> {
    pub fn begin(engine: &'e Engine<K>, blob: &'e Blob) -> Self {
        Self { engine, blob, stored: engine.blobs.put_ahead(blob) }
    }

    /// Waits until the bytecode is durable. From here on the load removes it if it fails.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.engine.blobs.put_after(self.blob, self.stored.take())
    }
}

impl<K: Kernel> Drop for BytecodeAhead<'_, K> {
    fn drop(&mut self) {
        if let Some(ahead) = self.stored.take() {
            let _durable = ahead.is_durable();
            self.engine.drop_bytecode_soon(self.blob.id().clone());
        }
    }
}
