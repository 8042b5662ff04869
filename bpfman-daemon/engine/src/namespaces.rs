//! Network namespaces that matter: where something is attached, or is to be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bpfmand_core::{InterfaceMatch, NetnsPattern};
use bpfmand_kernel::{InterfaceWatch, Kernel};

use crate::recover_moves::names_process;
use crate::{Engine, EngineError};

/// Most namespaces that one pattern leads to.
const MOST_NAMESPACES: usize = 4096;

impl<K: Kernel> Engine<K> {
    /// The files of all namespaces whose interfaces are to be followed; none for the daemon's own. Files of patterns are
    /// those that are there now, and need not be namespaces.
    #[must_use]
    pub fn watched_namespaces(&self) -> BTreeSet<Option<PathBuf>> {
        let (mut all, matches) = {
            let state = self.state();
            let of_now = |link: &&std::sync::Arc<crate::records::LinkRecord>| {
                link.boot == self.boot || !names_process(&link.point)
            };
            let links = state.links.values().filter(of_now);
            let all: BTreeSet<Option<PathBuf>> =
                links.filter_map(|link| Some(link.point.hook()?.0.netns.clone())).collect();
            let matches: Vec<InterfaceMatch> =
                state.matchings.values().map(|matching| matching.interfaces.clone()).collect();
            (all, matches)
        };
        for chosen in matches {
            all.extend(self.namespaces_of(&chosen));
        }
        all
    }

    /// Watches the interfaces of a namespace from now on.
    ///
    /// # Errors
    /// [`bpfmand_kernel::KernelError::NoNamespace`], or the kernel refuses.
    pub fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, EngineError> {
        Ok(self.kernel.watch_interfaces(netns)?)
    }

    /// True if there is an attachment to interfaces that match, which somebody has to follow.
    #[must_use]
    pub fn has_matchings(&self) -> bool {
        !self.state().matchings.is_empty()
    }

    /// True if folders have to be looked at for new namespaces.
    #[must_use]
    pub fn expects_namespaces(&self) -> bool {
        let state = self.state();
        state.matchings.values().any(|matching| !matching.interfaces.netns().is_empty())
    }

    /// The files of the namespaces that a choice of interfaces is about.
    pub(crate) fn namespaces_of(&self, chosen: &InterfaceMatch) -> Vec<Option<PathBuf>> {
        if chosen.netns().is_empty() {
            return vec![None];
        }
        let mut found = Vec::new();
        for pattern in chosen.netns() {
            match pattern {
                NetnsPattern::File(path) => found.push(Some(path.clone())),
                NetnsPattern::Files { folder, .. } => {
                    // A folder that is not there yet has no namespaces.
                    let Ok(entries) = std::fs::read_dir(folder) else { continue };
                    let paths = entries.flatten().map(|entry| entry.path());
                    let matching = paths.filter(|path| pattern.matches(path));
                    found.extend(matching.take(MOST_NAMESPACES).map(Some));
                }
            }
        }
        found
    }

    /// True if a choice of interfaces is about the namespace of this file.
    pub(crate) fn is_in(&self, chosen: &InterfaceMatch, netns: Option<&Path>) -> bool {
        match netns {
            None => chosen.netns().is_empty(),
            Some(path) => chosen.netns().iter().any(|pattern| pattern.matches(path)),
        }
    }
}
