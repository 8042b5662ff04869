//! What the engine answers about programs, maps and links.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bpfmand_core::{CpuExcess, KernelLinkId, LinkId, MapFacts, ProgramFacts, ProgramId, Via, Waiting};

use crate::state::records::{LinkRecord, MatchingRecord, ProgramRecord};
use crate::state::{Standing, XdpPlacement};

/// A program of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedProgram {
    /// What was asked for, and what it is in the kernel.
    pub record: Arc<ProgramRecord>,
    /// Programs that share its map folder, itself among them.
    pub map_used_by: Vec<ProgramId>,
    /// Its links.
    pub links: Vec<LinkId>,
    /// The version before its last replacement, which can be taken back.
    pub previous: Option<PreviousVersion>,
    /// How it stands in the kernel.
    pub standing: Standing,
    /// What it took of a CPU, if that was more than it may.
    pub excess: Option<CpuExcess>,
    /// How long until it is unloaded, if it is to be.
    pub left: Option<Duration>,
}

/// The version of a program before its last replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousVersion {
    /// The kernel's id, while it is still loaded.
    pub id: Option<ProgramId>,
    /// sha256 of the object file, 64 digits.
    pub bytecode_sha256: String,
}

/// A program: the kernel's facts, and ours if it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDetails {
    /// Kernel id.
    pub id: ProgramId,
    /// None if the kernel no longer has it.
    pub facts: Option<ProgramFacts>,
    /// None for programs of others.
    pub managed: Option<ManagedProgram>,
}

/// A map of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDetails {
    /// Name in the object, or the kernel's for maps of others.
    pub name: String,
    /// The kernel's facts.
    pub facts: MapFacts,
    /// Its pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// Programs of ours that use it.
    pub used_by: Vec<ProgramId>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDetails {
    /// What was asked for.
    pub record: Arc<LinkRecord>,
    /// Its program.
    pub program: Arc<ProgramRecord>,
    /// Of its order, what nothing at the hook answers to now. It counts again when something does.
    pub waits_for: Vec<Waiting>,
    /// Place among the programs of its hook, 0 first.
    pub position: Option<u32>,
    /// The kernel's link.
    pub kernel_link: Option<KernelLinkId>,
    /// What the kernel runs there.
    pub running: Option<ProgramId>,
    /// The link's pin, relative to the daemon's bpffs.
    pub pin: Option<PathBuf>,
    /// The hook as commands name it.
    pub hook: Option<String>,
    /// At XDP: where that runs.
    pub xdp: Option<XdpPlacement>,
    /// How it stands in the kernel.
    pub standing: Standing,
    /// How long until it is detached, if it is to be.
    pub left: Option<Duration>,
}

/// An attachment to every interface that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingDetails {
    /// What was asked for. The interface in its point has no name.
    pub record: Arc<MatchingRecord>,
    /// Its program.
    pub program: Arc<ProgramRecord>,
    /// The links that it made.
    pub links: Vec<LinkDetails>,
    /// How long until it ends, if it is to.
    pub left: Option<Duration>,
    /// Interfaces that match and have no link of it, each with the reason.
    pub failures: Vec<String>,
}

/// Something that runs at a hook, ours or another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEntryDetails {
    /// A chain or link of ours.
    pub ours: bool,
    /// The kernel's id; none for filters that are no BPF programs.
    pub program: Option<ProgramId>,
    /// What the kernel says about it; none if it went meanwhile.
    pub facts: Option<ProgramFacts>,
    /// How it is attached.
    pub via: Via,
    /// The kernel's link, where it is known which one it is.
    pub kernel_link: Option<KernelLinkId>,
    /// Processes that hold the program or its link, "name (pid, unit)".
    pub held_by: Vec<String>,
}
