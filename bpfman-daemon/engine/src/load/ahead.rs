use bpfmand_kernel::Kernel;
use bpfmand_store::BlobAhead;

use crate::Engine;
use crate::load::Bytecode;
use crate::state::BlobId;

/// Bytecode of a load that a thread stores while the object is read and loaded. It is removed on drop unless a record needs
/// it.
pub struct BytecodeAhead<'e, K: Kernel> {
    engine: &'e Engine<K>,
    /// `None` if nothing is stored ahead, or the load stores it itself.
    stored: Option<(BlobId, BlobAhead)>,
}

impl<'e, K: Kernel> BytecodeAhead<'e, K> {
    pub fn begin(engine: &'e Engine<K>, bytecode: &Bytecode) -> Self {
        let ahead = engine.blobs.put_ahead(&bytecode.bytes);
        Self { engine, stored: ahead.map(|ahead| (BlobId::of(&bytecode.bytes), ahead)) }
    }

    /// Waits for the thread, and returns whether the bytecode is durable. From here on the load removes it if it fails.
    pub fn finish(mut self) -> bool {
        self.stored.take().is_some_and(|(_, ahead)| ahead.is_durable())
    }
}

impl<K: Kernel> Drop for BytecodeAhead<'_, K> {
    fn drop(&mut self) {
        if let Some((id, ahead)) = self.stored.take() {
            let _durable = ahead.is_durable();
            self.engine.drop_bytecode_soon(id);
        }
    }
}
