//! Interfaces that have another name now: the records are told, and nothing else changes.

use std::sync::Arc;

use bpfmand_core::{HookKey, HookKind, Interface, LinkId};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Subject;
use crate::follow::matching::at_interface;
use crate::follow::{FollowReport, Present};
use crate::state::Changes;
use crate::state::records::{HookRecord, LinkRecord};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Gives hooks and links the names that their interfaces have now.
    pub(crate) fn follow_names(&self, present: &Present<'_>, report: &mut FollowReport) {
        let renamed = |key: &HookKey, interface: &Interface| {
            let facts = present.interfaces.get(&key.ifindex).filter(|_| key.netns == present.netns)?;
            (facts.name != interface.name).then(|| facts.name.clone())
        };
        let (hooks, links) = {
            let state = self.state();
            let hooks: Vec<(HookKey, String)> = state
                .hooks
                .values()
                .filter_map(|hook| Some((hook.key, renamed(&hook.key, &hook.interface)?)))
                .collect();
            let links: Vec<(LinkId, String)> = state
                .links
                .values()
                .filter_map(|link| match (link.hook, link.point.hook()) {
                    (Some(key), Some((interface, HookKind::Tcx(_)))) => {
                        Some((link.id, renamed(&key, interface)?))
                    }
                    _ => None,
                })
                .collect();
            (hooks, links)
        };
        for (key, name) in hooks {
            match self.rename_hook(&key, &name) {
                Ok(()) => report.renamed += 1,
                result => report.add(result, || format!("following the name {name}")),
            }
        }
        for (link, name) in links {
            match self.rename_link(link, &name) {
                Ok(()) => report.renamed += 1,
                result => report.add(result, || format!("following the name {name}")),
            }
        }
    }

    fn rename_hook(&self, key: &HookKey, name: &str) -> Result<(), EngineError> {
        let _locks = self.lock_members(&[*key])?;
        let (hook, links) = {
            let state = self.state();
            let Some(hook) = state.hooks.get(key).cloned() else { return Ok(()) };
            (hook, state.chain(key))
        };
        let interface = Interface { name: name.to_owned(), ..hook.interface.clone() };
        let hook = HookRecord { interface, ..(*hook).clone() };
        let mut changes = Changes::default();
        changes.put_hook(hook);
        links.iter().for_each(|link| changes.put_link(with_name(link, name)));
        self.step("follow", "rename");
        self.commit(changes).map(drop)
    }

    fn rename_link(&self, id: LinkId, name: &str) -> Result<(), EngineError> {
        let Some(link) = self.state().links.get(&id).cloned() else { return Ok(()) };
        let _program_lock = self.lock(Subject::Program(link.program));
        let Some(link) = self.state().links.get(&id).cloned() else { return Ok(()) };
        let Some(key) = link.hook else { return Ok(()) };
        let _hook_lock = self.lock(Subject::Hook(key));
        self.step("follow", "rename");
        self.record_link(&Arc::new(with_name(&link, name)), None)
    }
}

fn with_name(link: &LinkRecord, name: &str) -> LinkRecord {
    let point = match link.point.hook() {
        Some((interface, _)) => {
            at_interface(&link.point, &Interface { name: name.to_owned(), ..interface.clone() })
        }
        None => link.point.clone(),
    };
    LinkRecord { point, ..link.clone() }
}
