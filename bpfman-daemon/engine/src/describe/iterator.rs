//! Output of iterators.

use bpfmand_core::{AttachPoint, LinkId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Runs the program of an iterator's link from the beginning. `each` receives the output in pieces and returns
    /// false to stop; before each step it is called with an empty piece. The link may be detached meanwhile.
    ///
    /// # Errors
    /// Returns an error if the link does not exist, is not an iterator, or has lost its pin, or if the program fails.
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
