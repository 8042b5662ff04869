//! Programs at all hooks that the daemon can see, including third-party programs.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use bpfman_model::{Direction, HookAttachment, HookContents, HookKey, HookKind, Interface, InterfaceFacts};
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

    /// On an error the caller must not treat anything as unused.
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
