//! The name of the pin that says which filter an operation was about to add.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_NAME;
use bpfmand_core::{Direction, HookKey, IfIndex, Interface};

/// Name of the pin that says which hook a filter without a record is at.
///
/// The namespace's file is named in base64, since bpffs takes no slash and no dot; one whose name would not fit is left
/// out, and looked for by its inode.
pub fn filter_pin(key: &HookKey, interface: &Interface) -> String {
    const MOST_PATH: usize = 150;
    let direction = key.kind.direction().map_or("none", Direction::name);
    let netns = interface.netns.as_deref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    let netns = if netns.len() > MOST_PATH { String::new() } else { BASE64_NAME.encode(netns) };
    format!("filter_{direction}_{}_{}_{netns}", key.ifindex, key.netns.inode)
}

/// Direction, interface, inode of the namespace, and its file; no file for the daemon's own namespace.
pub fn parse_filter_pin(name: &str) -> Option<(Direction, IfIndex, u64, Option<PathBuf>)> {
    let mut parts = name.strip_prefix("filter_")?.splitn(4, '_');
    let direction = parts.next()?.parse().ok()?;
    let (ifindex, inode) = (IfIndex(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?);
    let netns = BASE64_NAME.decode(parts.next()?).ok()?;
    let netns = (!netns.is_empty()).then(|| PathBuf::from(OsString::from_vec(netns)));
    Some((direction, ifindex, inode, netns))
}
