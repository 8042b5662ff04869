//! What runs at all hooks that the daemon can see, whoever put it there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bpfmand_core::{HookContents, HookKey, HookKind, Interface, InterfaceFacts};
use bpfmand_kernel::Kernel;

use crate::Engine;

impl<K: Kernel> Engine<K> {
    /// The daemon's own network namespace, those that have a name, and those that are watched.
    pub(crate) fn known_namespaces(&self) -> BTreeSet<Option<PathBuf>> {
        let mut all = self.watched_namespaces();
        all.insert(None);
        all.extend(self.kernel.named_namespaces().into_iter().map(Some));
        all
    }

    /// Hooks of interfaces that are meant, with what runs there. What cannot be asked is left out.
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
