//! Ids of kernel links in the records: a link that another process holds outlives its pins, and may run the program of an
//! interrupted change.

use std::path::Path;
use std::sync::Arc;

use bpfman_model::{LinkFacts, OperationId};
use bpfmand_kernel::Kernel;

use crate::state::records::{Entry, LinkOfBoot};
use crate::state::{Change, Changes, Record};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Adds the ids to records of new attachments, whose links are pinned below `pending` until they are recorded.
    pub(super) fn note_kernel_links(&self, changes: &mut Changes) -> Result<(), EngineError> {
        for change in &mut changes.all {
            match change {
                Change::Put(Record::Hook(hook)) if hook.entry == Entry::Link => {
                    let before = self.state().hooks.get(&hook.key).cloned();
                    let before = before.as_ref().map(|old| (old.operation, &old.kernel_link));
                    let now = (hook.operation, &hook.kernel_link);
                    let kernel_link = self.kernel_link(now, before, &paths::hook_link(&hook.key))?;
                    Arc::make_mut(hook).kernel_link = kernel_link;
                }
                Change::Put(Record::Link(link)) if link.has_kernel_link() => {
                    let before = self.state().links.get(&link.id).cloned();
                    let before = before.as_ref().map(|old| (old.operation, &old.kernel_link));
                    let now = (link.operation, &link.kernel_link);
                    let kernel_link = self.kernel_link(now, before, &paths::link(link.id))?;
                    Arc::make_mut(link).kernel_link = kernel_link;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the kernel's link of a new record. An operation creates at most one link: an id that another operation
    /// has recorded is the replaced link's, and the id of the new one is read from the pin.
    fn kernel_link(
        &self,
        (operation, link): (OperationId, &Option<LinkOfBoot>),
        before: Option<(OperationId, &Option<LinkOfBoot>)>,
        place: &Path,
    ) -> Result<Option<LinkOfBoot>, EngineError> {
        let (by, known) = before.unwrap_or((operation, &None));
        let made = if by == operation {
            link.as_ref().or(known.as_ref())
        } else {
            link.as_ref().filter(|_| link != known)
        };
        if let Some(made) = made.filter(|made| made.boot == self.boot) {
            return Ok(Some(made.clone()));
        }
        for pin in [&*paths::pending(operation).join(paths::PENDING_LINK), place] {
            if let Some(facts) = self.pinned_link(pin)? {
                return Ok(Some(self.link_of_boot(&facts)));
            }
        }
        Ok(None)
    }

    pub(crate) fn link_of_boot(&self, facts: &LinkFacts) -> LinkOfBoot {
        LinkOfBoot { boot: self.boot.clone(), id: facts.id }
    }

    /// Opens the recorded link of a place without a pin, unless it has ended.
    pub(crate) fn recorded_link(
        &self,
        recorded: Option<&LinkOfBoot>,
    ) -> Result<Option<(K::Handle, LinkFacts)>, EngineError> {
        let Some(LinkOfBoot { id, .. }) = recorded.filter(|link| link.boot == self.boot) else {
            return Ok(None);
        };
        let Some(link) = self.kernel.open_link(*id)? else { return Ok(None) };
        let facts = self.kernel.link_of(&link)?;
        Ok(facts.is_live().then_some((link, facts)))
    }
}
