//! Details of programs, maps and links.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{
    CpuExcess, HookAttachment, KernelLinkId, LinkId, MapFacts, ProgramFacts, ProgramId, Waiting,
};

use crate::state::records::{LinkRecord, MatchingRecord, ProgramRecord};
use crate::state::{Standing, XdpPlacement};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedProgram {
    /// Record: the requested properties, and the kernel ids.
    pub record: Arc<ProgramRecord>,
    /// Programs that share its map folder, including this one.
    pub map_used_by: Vec<ProgramId>,
    pub links: Vec<LinkId>,
    /// Version before the last replacement, to which the program can be rolled back.
    pub previous: Option<PreviousVersion>,
    /// Status in the kernel.
    pub standing: Standing,
    /// CPU use, if it exceeded the limit.
    pub excess: Option<CpuExcess>,
    /// Time until the program is unloaded, if it has a deadline.
    pub left: Option<Duration>,
}

/// Version of a program before its last replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousVersion {
    /// Kernel id, while the version is still loaded.
    pub id: Option<ProgramId>,
    /// SHA-256 of the object file, 64 hexadecimal digits.
    pub bytecode_sha256: String,
}

/// Program with the kernel's facts, and with its record if it is managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDetails {
    pub id: ProgramId,
    /// Facts of the kernel; `None` if the kernel no longer has the program.
    pub facts: Option<ProgramFacts>,
    /// Record and status; `None` for third-party programs.
    pub managed: Option<ManagedProgram>,
}

/// Map of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDetails {
    /// Name in the object, or the kernel's name for third-party maps.
    pub name: String,
    pub facts: MapFacts,
    /// Pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// Managed programs that use it.
    pub used_by: Vec<ProgramId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDetails {
    /// Record: the requested properties.
    pub record: Arc<LinkRecord>,
    pub program: Arc<ProgramRecord>,
    /// Ordering intents whose anchor is currently not at the hook. They apply again when an anchor appears.
    pub waits_for: Vec<Waiting>,
    /// Position among the programs of its hook, from 0.
    pub position: Option<u32>,
    pub kernel_link: Option<KernelLinkId>,
    /// Program that the kernel runs at the attach point.
    pub running: Option<ProgramId>,
    /// Pin of the link, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// Hook, as commands name it.
    pub hook: Option<String>,
    /// XDP mode, for XDP hooks.
    pub xdp: Option<XdpPlacement>,
    /// Status in the kernel.
    pub standing: Standing,
    /// Time until the link is detached, if it has a deadline.
    pub left: Option<Duration>,
    /// Problems that changes of this link may have caused, at its hook or at others.
    pub warnings: Vec<String>,
}

/// Attachment by an interface selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingDetails {
    /// Record: the requested properties. The interface of its attach point has no name.
    pub record: Arc<MatchingRecord>,
    pub program: Arc<ProgramRecord>,
    pub links: Vec<LinkDetails>,
    /// Time until the attachment ends, if it has a deadline.
    pub left: Option<Duration>,
    /// Matching interfaces without a link of this attachment, each with the reason.
    pub failures: Vec<String>,
}

/// Program at a hook, of the daemon or of a third party.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntryDetails {
    /// True for a chain or link of the daemon.
    pub ours: bool,
    /// Kernel id; `None` for filters that are not BPF programs.
    pub program: Option<ProgramId>,
    /// Facts of the kernel; `None` if the program has gone meanwhile.
    pub facts: Option<ProgramFacts>,
    /// Mechanism by which it is attached.
    pub via: HookAttachment,
    /// Kernel id of the link, if it is known.
    pub kernel_link: Option<KernelLinkId>,
    /// Processes that hold the program or its link, as "name (pid, unit)".
    pub held_by: Vec<String>,
}
