//! What in the kernel is this manager's: to be told from what others made.

use std::collections::{BTreeMap, BTreeSet};

use bpfmand_core::{HookKey, KernelLinkId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Programs, links and hooks of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnObjects {
    /// Programs, and those that were made for chains.
    pub programs: BTreeSet<ProgramId>,
    /// The kernel's links.
    pub links: BTreeMap<KernelLinkId, OwnPlace>,
    /// Hooks with something of ours.
    pub hooks: BTreeMap<HookKey, OwnPlace>,
}

/// A place of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlace {
    /// The hook as commands name it; `link 7`, by the kernel's id, of one that is at none.
    pub name: String,
    /// Whose the links there are.
    pub owners: BTreeSet<Owner>,
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
            let owner = link.record.owner(&link.program);
            if let (Some(key), Some(name)) = (link.record.hook, &link.hook) {
                own.hooks.entry(key).or_default().add(name.clone(), owner.clone());
            }
            if let Some(id) = link.kernel_link {
                let name = link.hook.unwrap_or_else(|| format!("link {id}"));
                own.links.entry(id).or_default().add(name, owner);
            }
        }
        Ok(own)
    }
}

impl OwnPlace {
    fn add(&mut self, name: String, owner: Owner) {
        self.name = name;
        self.owners.insert(owner);
    }
}
