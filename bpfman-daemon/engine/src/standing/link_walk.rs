//! Links of the whole machine, by what they run: one walk for all records of an operation.

use std::cell::OnceCell;
use std::collections::HashMap;

use bpfman_model::{KernelLinkId, MapId, ProgramId};
use bpfmand_kernel::{Kernel, KernelError};

/// Links that the first call found. Newer links are missing, and ended ones cannot be opened any more.
#[derive(Debug, Default)]
pub(crate) struct LinkWalk(OnceCell<Links>);

#[derive(Debug, Default)]
struct Links {
    of_programs: HashMap<ProgramId, Vec<KernelLinkId>>,
    of_maps: HashMap<MapId, Vec<KernelLinkId>>,
}

impl LinkWalk {
    /// Returns links that are at no interface: of a map of struct_ops, if there is one, else of a program.
    pub fn links_of<K: Kernel>(
        &self,
        kernel: &K,
        program: ProgramId,
        map: Option<MapId>,
    ) -> Result<Vec<KernelLinkId>, KernelError> {
        let links = match self.0.get() {
            Some(links) => links,
            None => {
                let links = walk(kernel)?;
                self.0.get_or_init(|| links)
            }
        };
        let found = match map {
            Some(map) => links.of_maps.get(&map),
            None => links.of_programs.get(&program),
        };
        Ok(found.cloned().unwrap_or_default())
    }
}

fn walk<K: Kernel>(kernel: &K) -> Result<Links, KernelError> {
    let mut links = Links::default();
    for id in kernel.link_ids()? {
        // A link that is being freed can no longer be opened.
        let Some(handle) = kernel.open_link(id)? else { continue };
        let facts = kernel.link_of(&handle)?;
        if let Some(map) = facts.map {
            links.of_maps.entry(map).or_default().push(id);
        }
        if !facts.is_at_interface() {
            links.of_programs.entry(facts.program).or_default().push(id);
        }
    }
    Ok(links)
}
