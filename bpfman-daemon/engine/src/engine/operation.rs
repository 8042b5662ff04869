//! The end of an operation, at which other chains follow the records that it has changed.

use bpfmand_kernel::Kernel;

use crate::Engine;

/// Declared before the locks that the operation takes, so that it ends after them.
#[must_use = "the operation ends when this is dropped"]
pub struct Operation<'e, K: Kernel>(pub(super) &'e Engine<K>);

impl<K: Kernel> Drop for Operation<'_, K> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.settle_senders();
        }
    }
}
