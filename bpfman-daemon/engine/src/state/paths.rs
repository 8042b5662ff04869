//! Paths of pins, relative to the daemon's bpffs.

use std::path::PathBuf;

use bpfmand_core::{HookKey, LinkId, OperationId, ProgramId};

use crate::state::chain_record::ChainId;

/// Folder of unfinished operations. Its name has no leading dot, because bpffs reserves dots.
pub const PENDING: &str = "pending";
/// Folder of links that are not part of a chain.
pub const LINKS: &str = "links";
/// Folder of maps that objects share by name, for loads of the group `MapGroup::Machine`.
pub const SHARED: &str = "shared";
/// Folder of shared maps of all other groups: one folder for each group.
pub const GROUPS: &str = "groups";
/// Parent folder of the programs' map folders.
pub const MAPS: &str = "maps";

/// Parent folder of the chains' pins.
pub const CHAINS: &str = "chains";

/// Folder of network namespace numbers: an empty folder for each.
pub const NAMESPACES: &str = "namespaces";

/// Folders that the daemon creates when it starts.
pub const FOLDERS: [&str; 10] =
    [PENDING, LINKS, SHARED, GROUPS, MAPS, CHAINS, NAMESPACES, "xdp", "tc-ingress", "tc-egress"];

pub fn pending(operation: OperationId) -> PathBuf {
    PathBuf::from(PENDING).join(operation.to_string())
}

pub fn program(id: ProgramId) -> PathBuf {
    PathBuf::from(format!("prog_{id}"))
}

/// Returns the folder of the maps of a program, or of the programs that share them.
pub fn maps(owner: ProgramId) -> PathBuf {
    PathBuf::from(MAPS).join(owner.to_string())
}

/// Returns the pin of a link that is not part of a chain.
pub fn link(id: LinkId) -> PathBuf {
    PathBuf::from(LINKS).join(id.to_string())
}

/// Returns the pin of the link of a hook's chain.
pub fn hook_link(key: &HookKey) -> PathBuf {
    PathBuf::from(key.pin_folder()).join(format!("dispatcher_{}_link", key.pin_stem()))
}

/// Prefix of the pin of a link that is being adopted; the id of its program follows.
pub const ADOPTED: &str = "adopted_";

/// Returns the pin of a link that is being adopted, relative to its operation's folder.
pub fn adopted_link(program: ProgramId) -> PathBuf {
    PathBuf::from(format!("{ADOPTED}{program}"))
}

/// Name of the pin of a new link in its operation's folder.
pub const PENDING_LINK: &str = "link";

/// Returns the name of the pin for one CPU, in the folder of a link that consists of one per CPU.
pub fn cpu_link(cpu: u32) -> String {
    format!("cpu_{cpu}")
}

/// Name of the pin of the one-slot array of a link that is moved, in its operation's folder.
pub const BRIDGE: &str = "bridge";

/// Returns the pin of the new link that replaces one whose program is replaced, in its operation's folder.
pub fn replaced_link(operation: OperationId, link: LinkId) -> PathBuf {
    pending(operation).join(format!("{PENDING_LINK}_{link}"))
}

/// Returns the link that such a pin replaces.
pub fn replaced_link_id(name: &str) -> Option<LinkId> {
    name.strip_prefix(PENDING_LINK)?.strip_prefix('_')?.parse().ok().map(LinkId)
}

pub fn chain(id: ChainId) -> PathBuf {
    PathBuf::from(CHAINS).join(id.to_string())
}

/// Returns the folder of a chain's pins before a record names the chain.
pub fn pending_chain(id: ChainId) -> PathBuf {
    pending(OperationId(id.0)).join(PENDING_CHAIN)
}

/// Name of the folder of a chain's pins in its operation's folder.
pub const PENDING_CHAIN: &str = "chain";

/// Returns the name of the pin of a chain's program; number 0 is the entry.
pub fn segment(number: usize) -> String {
    format!("program_{number}")
}

pub fn array(number: usize) -> String {
    format!("array_{number}")
}

pub const COUNTERS: &str = "counters";

/// Returns the name of the pin of a program of a chain's timed twin; number 0 is the entry.
pub fn twin(number: usize) -> String {
    format!("twin_{number}")
}

/// Name of the pin of the map that counts packets until the next timed one.
pub const TICKS: &str = "ticks";

pub const TIMES: &str = "times";

/// Returns whether [`adopted_link`] created this pin name.
pub fn is_adopted_pin(name: &str) -> bool {
    name.starts_with(ADOPTED)
}

/// Name of a bridge's program. The kernel keeps all of its 13 bytes; it cuts names after 15.
pub const BRIDGE_NAME: &str = "bpfman_bridge";
