use bpfman_model::{CgroupPath, GroupContents, KernelLinkId, ProgramId};

use super::network::SimNetwork;
use super::objects::{Body, Key, LINK, SimLinkTarget};
use super::{SimKernel, SimState, refuse};
use crate::sim::errno::EINVAL;
use crate::{KernelError, ListAnchor};

pub(super) fn group_hook(path: &CgroupPath, attach_type: u32) -> String {
    format!("cgroup {path}, hook {attach_type}")
}

#[derive(Clone, Debug)]
pub(super) struct GroupHook {
    pub revision: u64,
    pub links: Vec<Key>,
}

impl Default for GroupHook {
    fn default() -> Self {
        Self { revision: 1, links: Vec::new() }
    }
}

impl SimNetwork {
    pub fn group_id(&self, path: &CgroupPath) -> u64 {
        self.group_ids.get(&path.to_string()).copied().unwrap_or(1)
    }
}

impl SimKernel {
    /// Removes a cgroup, which ends its links, and makes another one of the same path.
    pub fn make_group_again(&self, path: &CgroupPath) {
        let mut state = self.state();
        let id = state.network.group_id(path) + 1;
        state.network.group_ids.insert(path.to_string(), id);
        let hooks = format!("cgroup {path}, ");
        let at_it = state.network.groups.iter().filter(|(at, _)| at.starts_with(&hooks));
        let links: Vec<Key> = at_it.flat_map(|(_, hook)| hook.links.clone()).collect();
        links.into_iter().for_each(|link| state.detach(link));
    }
}

impl SimState {
    pub(super) fn group_contents(&self, path: &CgroupPath, attach_type: u32) -> GroupContents {
        let none = GroupHook::default();
        let hook = self.network.groups.get(&group_hook(path, attach_type)).unwrap_or(&none);
        let entry = |link: &Key| {
            let program = self.program_of_link(*link)?;
            Some((ProgramId(self.objects.id(program)), Some(KernelLinkId(self.objects.id(*link)))))
        };
        GroupContents {
            id: self.network.group_id(path),
            revision: Some(hook.revision),
            entries: hook.links.iter().filter_map(entry).collect(),
            preorder: Some(0),
            ..GroupContents::default()
        }
    }

    pub(super) fn attach_to_group(
        &mut self,
        program: Key,
        at: String,
        anchor: ListAnchor,
        expected_revision: Option<u64>,
    ) -> Result<Key, KernelError> {
        let none = GroupHook::default();
        let hook = self.network.groups.get(&at).unwrap_or(&none);
        if expected_revision.is_some_and(|expected| expected != hook.revision) {
            return Err(KernelError::HookChanged { hook: format!("of {at}") });
        }
        let find = |id: KernelLinkId| {
            let key = self.objects.find(LINK, id.0);
            key.and_then(|key| hook.links.iter().position(|link| *link == key)).ok_or_else(|| {
                KernelError::NoAnchor { anchor: anchor.name().unwrap_or_default(), hook: format!("of {at}") }
            })
        };
        let place = match anchor {
            ListAnchor::First => 0,
            ListAnchor::Last => hook.links.len(),
            ListAnchor::Before(link) => find(link)?,
            ListAnchor::After(link) => find(link)? + 1,
            // A link can only be placed relative to links.
            ListAnchor::BeforeProgram(_) | ListAnchor::AfterProgram(_) => {
                return Err(refuse("attach", format!("a program to {at}"), EINVAL));
            }
        };
        let link = self.objects.add(Body::Link { program, place: SimLinkTarget::Group { at: at.clone() } });
        let hook = self.network.groups.entry(at).or_default();
        hook.links.insert(place, link);
        hook.revision += 1;
        Ok(link)
    }
}
