//! Paths of pins, relative to the daemon's bpffs.

use std::path::PathBuf;

use bpfman_model::{HookKey, LinkId, OperationId, ProgramId};

use crate::state::chain_record::ChainId;

/// Unfinished operations. The name has no leading dot, because bpffs reserves dots.
pub const PENDING: &str = "pending";
pub const LINKS: &str = "links";
/// Maps that objects share by name, for loads of the group `MapGroup::Machine`.
pub const SHARED: &str = "shared";
pub const GROUPS: &str = "groups";
pub const MAPS: &str = "maps";

pub const CHAINS: &str = "chains";

pub const NAMESPACES: &str = "namespaces";

pub const FOLDERS: [&str; 10] =
    [PENDING, LINKS, SHARED, GROUPS, MAPS, CHAINS, NAMESPACES, "xdp", "tc-ingress", "tc-egress"];

pub fn pending(operation: OperationId) -> PathBuf {
    PathBuf::from(PENDING).join(operation.to_string())
}

pub fn program(id: ProgramId) -> PathBuf {
    PathBuf::from(format!("prog_{id}"))
}

pub fn maps(owner: ProgramId) -> PathBuf {
    PathBuf::from(MAPS).join(owner.to_string())
}

pub fn link(id: LinkId) -> PathBuf {
    PathBuf::from(LINKS).join(id.to_string())
}

pub fn hook_link(key: &HookKey) -> PathBuf {
    PathBuf::from(key.pin_folder()).join(format!("dispatcher_{}_link", key.pin_stem()))
}

pub const ADOPTED: &str = "adopted_";

pub fn adopted_link(program: ProgramId) -> PathBuf {
    PathBuf::from(format!("{ADOPTED}{program}"))
}

pub const PENDING_LINK: &str = "link";

pub fn cpu_link(cpu: u32) -> String {
    format!("cpu_{cpu}")
}

pub const BRIDGE: &str = "bridge";

pub fn replaced_link(operation: OperationId, link: LinkId) -> PathBuf {
    pending(operation).join(format!("{PENDING_LINK}_{link}"))
}

pub fn replaced_link_id(name: &str) -> Option<LinkId> {
    name.strip_prefix(PENDING_LINK)?.strip_prefix('_')?.parse().ok().map(LinkId)
}

pub fn chain(id: ChainId) -> PathBuf {
    PathBuf::from(CHAINS).join(id.to_string())
}

pub fn pending_chain(id: ChainId) -> PathBuf {
    pending(OperationId(id.0)).join(PENDING_CHAIN)
}

pub const PENDING_CHAIN: &str = "chain";

/// Returns the name of the pin of a chain's program; number 0 is the entry.
pub fn segment(number: usize) -> String {
    format!("program_{number}")
}

pub fn array(number: usize) -> String {
    format!("array_{number}")
}

pub const COUNTERS: &str = "counters";

pub fn twin(number: usize) -> String {
    format!("twin_{number}")
}

pub const TICKS: &str = "ticks";

pub const TIMES: &str = "times";

pub fn is_adopted_pin(name: &str) -> bool {
    name.starts_with(ADOPTED)
}

/// Name of the bridge program: 13 bytes, since the kernel cuts names after 15.
pub const BRIDGE_NAME: &str = "bpfman_bridge";
