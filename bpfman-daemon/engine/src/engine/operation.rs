//! End of an operation: rebuilds other chains that depend on the records that it has changed.

use bpfmand_kernel::Kernel;

use crate::Engine;

/// Changing operation. Declare it before the locks that it takes, so that it ends after their release.
#[must_use = "the operation ends when this is dropped"]
pub struct Operation<'e, K: Kernel>(pub(super) &'e Engine<K>);

impl<K: Kernel> Drop for Operation<'_, K> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.settle_senders();
        }
    }
}
