//! Where a chain is entered: by a link or by a filter, and how another program gets there.

use std::path::Path;

use bpfmand_core::{HookKey, HookKind, Interface, ProgramId};
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, TcFilter};

use crate::records::{Entry, HookRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Puts another program where a hook's chain is. Packets meet the old one or the new one.
    ///
    /// A hook whose interface is gone has nothing to be swapped: that is no error.
    pub(crate) fn swap(
        &self,
        hook: &HookRecord,
        from: ProgramId,
        to: &K::Handle,
        interface: &Interface,
    ) -> Result<(), EngineError> {
        match hook.entry {
            Entry::Link => {
                let changed = || {
                    EngineError::Kernel(KernelError::HookChanged { hook: hook_text(&hook.key, interface) })
                };
                let link = self.kernel.open_pin(&paths::hook_link(&hook.key))?.ok_or_else(changed)?;
                if self.kernel.link_of(&link)?.ifindex.is_none() {
                    return Ok(());
                }
                let expected = self.open_shared(from)?.ok_or_else(changed)?;
                match self.held_network.during(|| self.kernel.replace(&link, to, &expected)) {
                    // Its interface went after the look above: a namespace is taken down some time after its name.
                    Err(_) if self.kernel.link_of(&link)?.ifindex.is_none() => Ok(()),
                    result => Ok(result?),
                }
            }
            // A dispatcher is put in another's place by `change_dispatcher`, which knows that one.
            Entry::Dispatcher => {
                Err(EngineError::Kernel(KernelError::HookChanged { hook: hook_text(&hook.key, interface) }))
            }
            Entry::Filter { priority, handle } => {
                let filter = TcFilter { priority, handle };
                let Some(at) = filter_place(&hook.key, interface, filter) else { return Ok(()) };
                let name = filter_name(&hook.key, interface);
                Ok(self.held_network.during(|| self.kernel.replace_filter(&at, to, from, &name))?)
            }
        }
    }
}

/// Where a filter is; none for a hook that has no filters.
pub fn filter_place<'a>(
    key: &HookKey,
    interface: &'a Interface,
    filter: TcFilter,
) -> Option<FilterPlace<'a>> {
    let direction = key.kind.direction()?;
    Some(FilterPlace { netns: interface.netns.as_deref(), ifindex: key.ifindex, direction, filter })
}

/// The name of a hook's filter, as `tc filter show` prints it.
pub fn filter_name(key: &HookKey, interface: &Interface) -> String {
    let prefix = match key.kind.direction() {
        None => "xdp",
        Some(bpfmand_core::Direction::Ingress) => "tci",
        Some(bpfmand_core::Direction::Egress) => "tce",
    };
    let clean: String =
        interface.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(11).collect();
    format!("{prefix}_{clean}")
}

/// A hook in messages: `xdp:eth0`, `tc:eth0:ingress@/run/netns/a`.
pub fn hook_text(key: &HookKey, interface: &Interface) -> String {
    named_hook(key.kind, interface)
}

/// The same, of a hook that may not be there.
pub fn named_hook(kind: HookKind, interface: &Interface) -> String {
    let mut text = format!("{}:{}", kind.name(), interface.name);
    if let Some(direction) = kind.direction() {
        text.push(':');
        text.push_str(direction.name());
    }
    if let Some(netns) = &interface.netns {
        text.push('@');
        text.push_str(&Path::display(netns).to_string());
    }
    text
}
