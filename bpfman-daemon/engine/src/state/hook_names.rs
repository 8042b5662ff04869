//! Names of filters and interfaces, in messages and in the kernel.

use bpfman_model::{HookKey, Interface};
use bpfmand_kernel::{FilterPlace, TcFilter};

pub fn filter_place<'a>(
    key: &HookKey,
    interface: &'a Interface,
    filter: TcFilter,
) -> Option<FilterPlace<'a>> {
    let direction = key.kind.direction()?;
    let (home, netns) = (key.netns.id()?, interface.netns.as_deref());
    Some(FilterPlace { home, netns, ifindex: key.ifindex, direction, filter })
}

/// Returns the name of a hook's filter, as `tc filter show` prints it.
pub fn filter_name(key: &HookKey, interface: &Interface) -> String {
    let prefix = match key.kind.direction() {
        None => "xdp",
        Some(bpfman_model::Direction::Ingress) => "tci",
        Some(bpfman_model::Direction::Egress) => "tce",
    };
    let clean: String =
        interface.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(11).collect();
    format!("{prefix}_{clean}")
}

pub fn place(interface: &Interface) -> String {
    match &interface.netns {
        Some(netns) => format!("{} in {}", interface.name, netns.display()),
        None => interface.name.clone(),
    }
}
