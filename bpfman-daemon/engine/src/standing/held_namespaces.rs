//! Network namespaces before Linux 5.14, which have no cookie: after their end, another one may have their inode.

use std::collections::BTreeMap;

use bpfman_model::{NetnsId, NetnsNumber};
use bpfmand_kernel::{Kernel, KernelError};

use crate::Engine;
use crate::state::State;
use crate::state::namespace_number::NamespaceNumber;

impl State {
    fn namespaces_without_cookie(&self) -> BTreeMap<NetnsId, Option<NetnsNumber>> {
        // Links of waiting attachments run nowhere, and those to a whole namespace have its inode themselves.
        let links = self.links.values().filter(|link| link.boot == self.boot);
        let links = links.filter_map(|link| Some((link.hook?.netns.id()?, None)));
        let hooks = self.hooks.values().filter_map(|hook| {
            let number = hook.number.as_ref().filter(|number| number.boot == self.boot);
            Some((hook.key.netns.id()?, number.map(NamespaceNumber::in_kernel)))
        });
        let mut found = BTreeMap::new();
        for (home, number) in links.chain(hooks).filter(|(home, _)| home.cookie == 0) {
            let known: &mut Option<NetnsNumber> = found.entry(home).or_default();
            *known = known.or(number);
        }
        found
    }
}

impl<K: Kernel> Engine<K> {
    /// Holds the namespaces of recorded hooks, if they have no cookie: must be called at start, and regularly.
    pub fn hold_namespaces(&self) -> Result<(), KernelError> {
        let recorded = self.state().namespaces_without_cookie();
        self.kernel.hold_namespaces(&recorded)
    }
}
