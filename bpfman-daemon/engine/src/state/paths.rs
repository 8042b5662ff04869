//! Where things are pinned, relative to the daemon's bpffs.

use std::path::PathBuf;

use bpfmand_core::{HookKey, LinkId, OperationId, ProgramId};

use crate::state::chain_record::ChainId;

/// The folder of unfinished operations. bpffs keeps names with a dot for itself.
pub const PENDING: &str = "pending";
/// The folder of links that are not part of a chain.
pub const LINKS: &str = "links";
/// The folder of maps that objects share by name, of those that no application loaded.
pub const SHARED: &str = "shared";
/// The folder of the same maps of applications: a folder a group in it.
pub const GROUPS: &str = "groups";
/// The folder of programs' map folders.
pub const MAPS: &str = "maps";

/// The folder of what was loaded for chains.
pub const CHAINS: &str = "chains";

/// The folder of numbers of network namespaces: an empty folder for each.
pub const NAMESPACES: &str = "namespaces";

/// All folders that the daemon makes at its start.
pub const FOLDERS: [&str; 10] =
    [PENDING, LINKS, SHARED, GROUPS, MAPS, CHAINS, NAMESPACES, "xdp", "tc-ingress", "tc-egress"];

/// The folder of one unfinished operation.
pub fn pending(operation: OperationId) -> PathBuf {
    PathBuf::from(PENDING).join(operation.to_string())
}

/// A loaded program.
pub fn program(id: ProgramId) -> PathBuf {
    PathBuf::from(format!("prog_{id}"))
}

/// The maps of a program, or of those that share them.
pub fn maps(owner: ProgramId) -> PathBuf {
    PathBuf::from(MAPS).join(owner.to_string())
}

/// A link that is not part of a chain.
pub fn link(id: LinkId) -> PathBuf {
    PathBuf::from(LINKS).join(id.to_string())
}

/// The one link of a hook's chain.
pub fn hook_link(key: &HookKey) -> PathBuf {
    PathBuf::from(key.pin_folder()).join(format!("dispatcher_{}_link", key.pin_stem()))
}

/// Begins the name of the pin of a link that is being adopted; behind it is the program that it runs.
pub const ADOPTED: &str = "adopted_";

/// The pin of a link that is being adopted, in its operation's folder.
pub fn adopted_link(program: ProgramId) -> PathBuf {
    PathBuf::from(format!("{ADOPTED}{program}"))
}

/// The pin of a new link in its operation's folder.
pub const PENDING_LINK: &str = "link";

/// The pin of the link for one CPU, in the folder of a link that is one on each.
pub fn cpu_link(cpu: u32) -> String {
    format!("cpu_{cpu}")
}

/// The array of one slot of a link that moves, in its operation's folder.
pub const BRIDGE: &str = "bridge";

/// The new link that takes the place of one whose program is replaced, in its operation's folder.
pub fn replaced_link(operation: OperationId, link: LinkId) -> PathBuf {
    pending(operation).join(format!("{PENDING_LINK}_{link}"))
}

/// The link whose place such a pin takes.
pub fn replaced_link_id(name: &str) -> Option<LinkId> {
    name.strip_prefix(PENDING_LINK)?.strip_prefix('_')?.parse().ok().map(LinkId)
}

/// What was loaded for a chain.
pub fn chain(id: ChainId) -> PathBuf {
    PathBuf::from(CHAINS).join(id.to_string())
}

/// The same, before a record names it.
pub fn pending_chain(id: ChainId) -> PathBuf {
    pending(OperationId(id.0)).join(PENDING_CHAIN)
}

/// The folder of a chain's pins in its operation's folder.
pub const PENDING_CHAIN: &str = "chain";

/// The pin of a chain's program; 0 is the entry.
pub fn segment(number: usize) -> String {
    format!("program_{number}")
}

/// The pin of an array of a chain.
pub fn array(number: usize) -> String {
    format!("array_{number}")
}

/// The pin of a chain's counters.
pub const COUNTERS: &str = "counters";

/// The pin of a program of a chain's timed twin; 0 is its entry.
pub fn twin(number: usize) -> String {
    format!("twin_{number}")
}

/// The pin of the map that counts packets until the next is timed.
pub const TICKS: &str = "ticks";

/// The pin of the map of times.
pub const TIMES: &str = "times";

/// True for a pin's name that [`adopted_link`] made.
pub fn is_adopted_pin(name: &str) -> bool {
    name.starts_with(ADOPTED)
}

/// The name of a bridge's program, which the kernel keeps as it is: it has 13 bytes of 15.
pub const BRIDGE_NAME: &str = "bpfman_bridge";
