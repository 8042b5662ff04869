//! What in the kernel is this manager's: to be told from what others made.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_core::{HookKey, KernelLinkId, ProgramId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Programs, links and hooks of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnObjects {
    /// Programs, and those that were made for chains.
    pub programs: BTreeSet<ProgramId>,
    /// The kernel's links, each with the hook that it is at, if it is at one.
    pub links: BTreeMap<KernelLinkId, Option<String>>,
    /// Hooks with something of ours, as commands name them.
    pub hooks: BTreeMap<HookKey, String>,
}

impl<K: Kernel> Engine<K> {
    /// All of ours, by the records and as far as it is in its place. Asks the kernel about each link.
    ///
    /// # Errors
    /// The kernel refuses to tell.
    pub fn own_objects(&self) -> Result<OwnObjects, EngineError> {
        let mut own = OwnObjects::default();
        {
            let state = self.state();
            own.programs.extend(state.by_id.keys());
            for hook in state.hooks.values() {
                own.programs.insert(hook.program);
                let Some(chain) = &hook.chain else { continue };
                own.programs.extend(chain.segments.iter().map(|segment| segment.program));
                let twin = chain.twin.iter().flat_map(|twin| &twin.programs);
                own.programs.extend(twin.map(|twin| twin.program));
            }
        }
        for link in self.list_links(None, None, &BTreeMap::new())? {
            if let (Some(key), Some(name)) = (link.record.hook, &link.hook) {
                own.hooks.insert(key, name.clone());
            }
            own.links.extend(link.kernel_link.map(|id| (id, link.hook)));
        }
        Ok(own)
    }
}
