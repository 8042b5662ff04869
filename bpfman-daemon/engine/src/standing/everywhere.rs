//! Programs at all hooks that the daemon can see, including third-party programs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use bpfman_model::{
    Direction, HookAttachment, HookContents, HookKey, HookKind, HookNetns, Interface, InterfaceFacts,
    KernelLinkId, LinkFacts,
};
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::state::{FoundFilter, FoundFilters, HookPresence};
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Returns the namespaces in which something can be adopted without naming its place: the daemon's own, the named
    /// ones and the watched ones.
    pub(crate) fn known_namespaces(&self) -> BTreeSet<Option<PathBuf>> {
        let mut all = self.watched_namespaces();
        all.insert(None);
        all.extend(self.kernel.named_namespaces().into_iter().map(Some));
        all
    }

    /// Finds the tc filters of the machine. After an error, the caller must treat nothing as unused.
    pub(crate) fn all_filters(&self) -> Result<FoundFilters, EngineError> {
        let kinds = [Direction::Ingress, Direction::Egress].map(HookKind::Tc);
        // Sweep before the scan: a namespace that is found by then is scanned too.
        let mut hidden = self.hidden_namespace()?;
        let mut found: Vec<FoundFilter> = Vec::new();
        let (mut seen, mut read) = (HashSet::new(), HashSet::new());
        let namespaces = std::iter::once(None).chain(self.kernel.all_namespaces().into_iter().map(Some));
        for netns in namespaces {
            let interfaces = match self.kernel.interfaces(netns.as_deref()) {
                Err(KernelError::NoNamespace { .. }) => continue,
                interfaces => interfaces?,
            };
            let (mut homes, mut is_read) = (HashSet::new(), true);
            for facts in interfaces {
                let interface = Interface { name: facts.name, netns: netns.clone() };
                for kind in kinds {
                    let key = match self.kernel.find_hook(&interface, kind) {
                        Err(KernelError::NoNamespace { .. } | KernelError::NoInterface { .. }) => {
                            is_read = false;
                            continue;
                        }
                        key => key?,
                    };
                    homes.extend(key.netns.id());
                    // Two names of one namespace show the same filters.
                    if !seen.insert(key) {
                        continue;
                    }
                    let entries = match self.at_hook_key(netns.as_deref(), &key, None)? {
                        HookPresence::There(entries) => entries,
                        HookPresence::Gone => {
                            is_read = false;
                            continue;
                        }
                        HookPresence::Unreachable => {
                            is_read = false;
                            let home = key.netns.id();
                            if home.map_or(Ok(false), |home| self.is_numbered(home))? {
                                hidden = hidden.or(home);
                            }
                            continue;
                        }
                    };
                    for entry in entries {
                        let (HookAttachment::Filter(filter), Some(program)) = (entry.via, entry.program)
                        else {
                            continue;
                        };
                        let filter = TcFilter { priority: filter.priority, handle: filter.handle };
                        found.push(FoundFilter { interface: interface.clone(), key, filter, program });
                    }
                }
            }
            // A path that led to two namespaces during the scan shows neither completely.
            if is_read && homes.len() == 1 {
                read.extend(homes);
            }
        }
        // A namespace may have lost its path during the scan.
        let hidden = match hidden {
            None => self.sweep_namespaces()?,
            hidden => hidden,
        };
        Ok(FoundFilters { seen: found, read, hidden })
    }

    /// Returns the hooks of XDP and tcx links, as commands name them, in the namespaces that the daemon knows. Omits
    /// links that may be at several hooks: the kernel hides the namespace of an XDP link.
    pub fn hooks_of_links<'a>(
        &self,
        links: impl IntoIterator<Item = &'a LinkFacts>,
    ) -> BTreeMap<KernelLinkId, String> {
        let links: Vec<_> = links.into_iter().filter(|link| link.ifindex.is_some()).collect();
        let places = self.places_of_links(&links, None).into_iter();
        let only = places.filter_map(|(link, places)| {
            let [(interface, key)] = &places[..] else { return None };
            Some((link, key.kind.at(interface)))
        });
        only.collect()
    }

    /// Returns the hooks where links may be, one for each namespace: at `at`, or in all known namespaces.
    pub(crate) fn places_of_links(
        &self,
        links: &[&LinkFacts],
        at: Option<&Interface>,
    ) -> BTreeMap<KernelLinkId, Vec<(Interface, HookKey)>> {
        let mut kinds = Vec::new();
        if links.iter().any(|link| link.kernel_type == LinkFacts::XDP) {
            kinds.push(HookKind::Xdp);
        }
        if links.iter().any(|link| link.kernel_type == LinkFacts::TCX) {
            kinds.extend([Direction::Ingress, Direction::Egress].map(HookKind::Tcx));
        }
        if kinds.is_empty() {
            return BTreeMap::new();
        }
        let namespaces = match at {
            Some(interface) => BTreeSet::from([interface.netns.clone()]),
            None => self.known_namespaces(),
        };
        let indexes: HashSet<_> = links.iter().filter_map(|link| link.ifindex).collect();
        let is_meant = |facts: &InterfaceFacts| {
            indexes.contains(&facts.ifindex) && at.is_none_or(|at| facts.is_named(&at.name))
        };
        let mut places: BTreeMap<KernelLinkId, BTreeMap<HookNetns, (Interface, HookKey)>> = BTreeMap::new();
        for (interface, key, contents) in self.hooks_in(namespaces, &kinds, is_meant) {
            let is_here = |link: &&&LinkFacts| {
                link.ifindex == Some(key.ifindex)
                    && contents.entries.iter().any(|entry| entry.may_be_link(link.id))
            };
            for link in links.iter().filter(is_here) {
                let places = places.entry(link.id).or_default();
                places.entry(key.netns).or_insert_with(|| (interface.clone(), key));
            }
        }
        places.into_iter().map(|(link, places)| (link, places.into_values().collect())).collect()
    }

    pub(crate) fn hooks_in(
        &self,
        namespaces: BTreeSet<Option<PathBuf>>,
        kinds: &[HookKind],
        is_meant: impl Fn(&InterfaceFacts) -> bool,
    ) -> Vec<(Interface, HookKey, HookContents)> {
        let mut found = Vec::new();
        for netns in namespaces {
            let Ok(interfaces) = self.kernel.interfaces(netns.as_deref()) else { continue };
            for facts in interfaces.into_iter().filter(&is_meant) {
                let interface = Interface { name: facts.name, netns: netns.clone() };
                for kind in kinds {
                    let Ok(key) = self.kernel.find_hook(&interface, *kind) else { continue };
                    let Ok(contents) = self.kernel.hook_contents(netns.as_deref(), &key) else { continue };
                    found.push((interface.clone(), key, contents));
                }
            }
        }
        found
    }
}
