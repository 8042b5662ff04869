//! Restores missing pins of links: another process may hold a link by a pin or descriptor of its own, so it still runs.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bpfman_model::{KernelLinkId, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::error::Interference;
use crate::standing::struct_ops::functions_at;
use crate::standing::{LinkWalk, Observed};
use crate::state::Standing;
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Pins a link, unless it is pinned below `pending`: the interrupted operation will move that pin.
    pub(crate) fn pin_unless_pending(&self, link: &K::Handle, pin: &Path) -> Result<bool, EngineError> {
        let id = self.kernel.link_of(link)?.id;
        for operation in self.kernel.list_folder(Path::new(paths::PENDING))? {
            let folder = Path::new(paths::PENDING).join(operation);
            for name in self.kernel.list_folder(&folder)? {
                let is_link = name == paths::PENDING_LINK || paths::replaced_link_id(&name).is_some();
                if is_link && self.pinned_link(&folder.join(name))?.is_some_and(|pending| pending.id == id) {
                    return Ok(false);
                }
            }
        }
        self.kernel.pin(link, pin)?;
        Ok(true)
    }

    /// Restores a link's pin. Fails if several links of the program have none: any of them may be this one.
    pub(crate) fn pin_link_again(&self, link: &LinkRecord, walk: &LinkWalk) -> Result<bool, EngineError> {
        let pin = paths::link(link.id);
        // No link survives a reboot.
        if link.boot != self.boot || !self.pinned_links(link)?.is_empty() {
            return Ok(false);
        }
        if link.hook.is_some() || link.kernel_link.is_some() {
            return match self.observe_alone(link)? {
                Observed { standing: Standing::Unpinned, link: Some((handle, _)), .. } => {
                    self.pin_unless_pending(&handle, &pin)
                }
                _ => Ok(false),
            };
        }
        let unpinned = self.unpinned_links_of(link, walk)?;
        match unpinned[..] {
            [] => Ok(false),
            [id] if !link.point.is_per_cpu() => match self.kernel.open_link(id)? {
                Some(handle) => self.pin_unless_pending(&handle, &pin),
                None => Ok(false),
            },
            _ => Err(Interference::Unpinned(link.id, unpinned.len()).into()),
        }
    }

    /// Pins links that are about to be removed, so that removal ends them. If `all` links of the program are removed,
    /// any unpinned link may get the missing pin.
    pub(crate) fn pin_leaving_again(&self, links: &[Arc<LinkRecord>], all: bool) -> Result<(), EngineError> {
        let walk = LinkWalk::default();
        for link in links.iter().filter(|link| !link.is_in_chain()) {
            match self.pin_link_again(link, &walk) {
                Ok(_) => {}
                Err(EngineError::Interference(Interference::Unpinned(..))) if all => {
                    if let Some(id) = self.unpinned_links_of(link, &walk)?.first()
                        && let Some(handle) = self.kernel.open_link(*id)?
                    {
                        self.kernel.pin(&handle, &paths::link(link.id))?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn pinned_links_of(&self, program: ProgramUid) -> Result<HashSet<KernelLinkId>, EngineError> {
        let links: Vec<_> = self.state().links_of(program).cloned().collect();
        let mut pinned = HashSet::new();
        for link in links {
            pinned.extend(self.pinned_links(&link)?.into_iter().map(|facts| facts.id));
        }
        Ok(pinned)
    }

    fn unpinned_links_of(
        &self,
        link: &LinkRecord,
        walk: &LinkWalk,
    ) -> Result<Vec<KernelLinkId>, EngineError> {
        let Some(record) = self.record(link.program) else { return Ok(Vec::new()) };
        let found = walk.links_of(&*self.kernel, record.id, functions_at(&record, &link.point))?;
        if found.is_empty() {
            return Ok(found);
        }
        let pinned = self.pinned_links_of(link.program)?;
        Ok(found.into_iter().filter(|id| !pinned.contains(id)).collect())
    }
}
