use bpfman_model::{AttachPoint, LinkId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Runs the program of an iterator's link. Calls `each` with pieces of the output, and with an empty piece before
    /// each step, until it returns false. The link may be detached meanwhile.
    pub fn read_iterator(&self, id: LinkId, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), EngineError> {
        let link = self.state().links.get(&id).cloned().ok_or(EngineError::NoLink(id))?;
        if link.point != AttachPoint::Iter {
            return Err(EngineError::Invalid(format!(
                "link {id} is of type {}: only those of type iter can be read",
                link.point.type_name()
            )));
        }
        let handle = self.kernel.open_pin(&paths::link(id))?.ok_or_else(|| {
            EngineError::Fault(format!("link {id} has lost its pin; the next check makes it again"))
        })?;
        Ok(self.kernel.read_iterator(handle, each)?)
    }
}
