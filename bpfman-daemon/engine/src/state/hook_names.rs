//! Hooks, filters and interfaces as messages and the kernel name them.

use std::path::Path;

use bpfmand_core::{HookKey, HookKind, Interface};
use bpfmand_kernel::{FilterPlace, TcFilter};

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

/// An interface for people.
pub fn place(interface: &Interface) -> String {
    match &interface.netns {
        Some(netns) => format!("{} in {}", interface.name, netns.display()),
        None => interface.name.clone(),
    }
}
