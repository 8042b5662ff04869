//! Order among tcx links, which the kernel runs one by one.

use std::sync::Arc;

use bpfmand_core::{HookKey, Interface};
use bpfmand_kernel::Kernel;

use crate::records::LinkRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Changes a tcx link, and moves it if it has to run elsewhere.
    pub(crate) fn update_tcx(
        &self,
        _key: &HookKey,
        _interface: &Interface,
        new: &Arc<LinkRecord>,
    ) -> Result<(), EngineError> {
        self.record_update(new, None)
    }
}
