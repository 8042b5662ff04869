//! The name of the pin that says which filter an operation was about to add.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_NAME;
use bpfmand_core::{Direction, HookKey, IfIndex, Interface, NetnsId};

/// Name of the pin that says which hook a filter without a record is at.
///
/// A namespace whose file is left out is looked for by its inode.
pub fn filter_pin(key: &HookKey, interface: &Interface) -> String {
    let direction = key.kind.direction().map_or("none", Direction::name);
    format!("filter_{direction}_{}_{}_{}", key.ifindex, NetnsId::from(key.netns).inode, netns_name(interface))
}

/// The namespace's file as a part of a pin's name: in base64, since bpffs takes no slash and no dot. Empty for none, and
/// for one whose name would not fit.
pub fn netns_name(interface: &Interface) -> String {
    const MOST_PATH: usize = 150;
    let netns = interface.netns.as_deref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    if netns.len() > MOST_PATH { String::new() } else { BASE64_NAME.encode(netns) }
}

/// The file again; none for the daemon's own namespace, and where the name did not fit.
pub fn parse_netns_name(name: &str) -> Option<Option<PathBuf>> {
    let netns = BASE64_NAME.decode(name).ok()?;
    Some((!netns.is_empty()).then(|| PathBuf::from(OsString::from_vec(netns))))
}

/// Direction, interface, inode of the namespace, and its file; no file for the daemon's own namespace.
pub fn parse_filter_pin(name: &str) -> Option<(Direction, IfIndex, u64, Option<PathBuf>)> {
    let mut parts = name.strip_prefix("filter_")?.splitn(4, '_');
    let direction = parts.next()?.parse().ok()?;
    let (ifindex, inode) = (IfIndex(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
    Some((direction, ifindex, inode, parse_netns_name(parts.next()?)?))
}
