//! What came out.

use std::collections::BTreeSet;

use bpfman_application::state::node::NodeFailure;

use crate::desired::{LinkKey, UnknownPlace, WantedLink};

/// An application on one machine, after it was reconciled, as far as that could be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Whether its programs are loaded.
    pub load: ReportedLoad,
    /// Digest of the image that runs; empty if it came from a file.
    pub digest: String,
    /// The programs, in the order of the spec.
    pub programs: Vec<ProgramReport>,
    /// The first thing that failed.
    pub failure: Option<NodeFailure>,
    /// Why the registry did not say what the image's tag stands for now, where it was to be asked. What runs stays.
    pub not_compared: Option<NodeFailure>,
    /// Nothing of this application was here before.
    pub created: bool,
    /// What was done, for people; empty if there was nothing to do.
    pub done: Vec<String>,
    /// What people should know besides: maps that began empty, a tag that could not be compared.
    pub notes: Vec<String>,
}

/// Whether the programs of an application are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportedLoad {
    /// Nothing is wanted here, and nothing is here.
    #[default]
    NotWanted,
    /// All are loaded, in the version that is wanted.
    Loaded,
    /// The version that is wanted could not be loaded, and an older one still runs.
    OlderRuns,
    /// They could not be loaded.
    Failed,
    /// Some could not be unloaded.
    UnloadFailed,
}

/// One program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramReport {
    /// Function name.
    pub name: String,
    /// Name of the type in the spec.
    pub program_type: &'static str,
    /// Kernel id, if it is loaded.
    pub id: Option<u32>,
    /// Attachments that are wanted or still there, by key.
    pub links: Vec<LinkReport>,
    /// What could not be found out about where to attach.
    pub problems: Vec<String>,
    /// Attachments whose selector means nothing that is here now.
    pub unmatched: Vec<String>,
    /// Where attachments may be wanted that are not among `links`.
    pub unknown: BTreeSet<UnknownPlace>,
}

/// One attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkReport {
    /// Which.
    pub key: LinkKey,
    /// As it is wanted; absent if it is not wanted any more.
    pub wanted: Option<WantedLink>,
    /// It stays as it is: whether it is wanted is not known now, or what is wanted instead could not be made.
    pub kept: bool,
    /// Value of the link's metadata `bpfman.io/uuid`; made when it was first wanted.
    pub uuid: String,
    /// The daemon's id, if it is attached.
    pub id: Option<u32>,
    /// How it is doing.
    pub status: LinkOutcome,
}

/// How an attachment is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LinkOutcome {
    /// Attached as wanted.
    Attached,
    /// Not attached, without an error: its program is not loaded.
    #[default]
    NotAttached,
    /// It could not be attached, or changed to what is wanted.
    AttachFailed(NodeFailure),
    /// It is not wanted and could not be detached.
    DetachFailed(NodeFailure),
}
