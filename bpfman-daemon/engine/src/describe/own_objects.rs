//! Kernel objects of this daemon, to distinguish them from third-party ones.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_model::{HookKey, KernelLinkId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Programs, links and hooks of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnObjects {
    /// Managed programs, and programs that were built for chains.
    pub programs: BTreeSet<ProgramId>,
    pub links: BTreeMap<KernelLinkId, OwnPlace>,
    /// Hooks with objects of the daemon.
    pub hooks: BTreeMap<HookKey, OwnPlace>,
}

/// Attach point of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPlace {
    /// Hook, as commands name it; `link 7`, by the kernel id, for a link without a hook.
    pub name: String,
    /// Owners of the links there.
    pub owners: BTreeSet<Owner>,
}

impl<K: Kernel> Engine<K> {
    /// Returns all objects of the daemon that the records name and that are in place. Queries the kernel for each link.
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
