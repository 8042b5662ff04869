//! Network namespaces in which something is attached or to be attached.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{AddressedInterface, AttachPoint, InterfaceMatch, NetnsId, NetnsPattern};
use bpfmand_kernel::Kernel;

use crate::state::records::LinkRecord;
use crate::state::waiting::home_of;
use crate::{Engine, EngineError};

const MAX_NAMESPACES: usize = 4096;

impl<K: Kernel> Engine<K> {
    /// Returns the paths of all namespaces to follow, whether or not each exists; `None` stands for the daemon's own.
    #[must_use]
    pub fn watched_namespaces(&self) -> BTreeSet<Option<PathBuf>> {
        let (mut all, matches) = {
            let state = self.state();
            let is_current = |link: &LinkRecord| {
                !link.point.names_process() || link.boot == self.boot && !self.waits_elsewhere(link)
            };
            // Called every second: most links of a busy machine are at no interface.
            let namespace = |link: &Arc<LinkRecord>| {
                let interface = match &link.point {
                    AttachPoint::Netkit { interface } => interface,
                    point => point.hook()?.0,
                };
                is_current(link).then(|| interface.netns.clone())
            };
            let all: BTreeSet<Option<PathBuf>> = state.links.values().filter_map(namespace).collect();
            let matches: Vec<InterfaceMatch> =
                state.matchings.values().map(|matching| matching.interfaces.clone()).collect();
            (all, matches)
        };
        for chosen in matches {
            all.extend(self.namespaces_of(&chosen));
        }
        all
    }

    /// Returns whether something is recorded at a hook whose namespace was named by this file.
    #[must_use]
    pub fn has_hooks_named(&self, netns: Option<&Path>) -> bool {
        let state = self.state();
        let mut hooks = state.attached().filter(|at| at.key.is_some());
        hooks.any(|at| at.names().any(|name| name.netns.as_deref() == netns))
    }

    /// Returns the network namespace of a file, and its interfaces.
    pub fn find_network_namespace(
        &self,
        path: &Path,
    ) -> Result<(NetnsId, Vec<AddressedInterface>), EngineError> {
        let identity = self.present(Some(path))?.netns;
        Ok((identity, self.kernel.addressed_interfaces(Some(path))?))
    }

    /// Returns whether an attachment to matching interfaces exists, which has to be followed.
    #[must_use]
    pub fn has_matchings(&self) -> bool {
        !self.state().matchings.is_empty()
    }

    /// Returns whether folders must be scanned for new namespaces.
    #[must_use]
    pub fn expects_namespaces(&self) -> bool {
        let state = self.state();
        state.matchings.values().any(|matching| !matching.interfaces.netns().is_empty())
    }

    pub(crate) fn namespaces_of(&self, chosen: &InterfaceMatch) -> Vec<Option<PathBuf>> {
        if chosen.netns().is_empty() {
            return vec![None];
        }
        let mut found = Vec::new();
        for pattern in chosen.netns() {
            match pattern {
                NetnsPattern::File(path) => found.push(Some(path.clone())),
                NetnsPattern::Files { folder, .. } => {
                    let Ok(entries) = std::fs::read_dir(folder) else { continue };
                    let paths = entries.flatten().map(|entry| entry.path());
                    let matching = paths.filter(|path| pattern.matches(path));
                    found.extend(matching.take(MAX_NAMESPACES).map(Some));
                }
            }
        }
        found
    }

    pub(crate) fn is_in(&self, chosen: &InterfaceMatch, netns: Option<&Path>) -> bool {
        match netns {
            None => chosen.netns().is_empty(),
            Some(path) => chosen.netns().iter().any(|pattern| pattern.matches(path)),
        }
    }

    /// Returns whether the path of a waiting link leads to another namespace, for example because its PID was reused.
    fn waits_elsewhere(&self, link: &LinkRecord) -> bool {
        if link.hook.is_some_and(|key| key.netns.id().is_some()) {
            return false;
        }
        let path = link.point.hook().map(|(interface, _)| &interface.netns).or(link.point.netns());
        let home = home_of(link).or(link.namespace);
        !path.zip(home).is_some_and(|(path, home)| self.kernel.leads_to(path.as_deref(), home))
    }
}
