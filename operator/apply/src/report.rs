//! Result of a reconciliation.

use std::collections::BTreeSet;

use bpfman_application::state::node::NodeFailure;

use crate::desired::{AttachmentKey, UnknownPlace, WantedLink};

/// Application on one machine after its reconciliation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub load: ReportedLoad,
    /// Digest of the running image; empty if it came from a file.
    pub digest: String,
    /// Programs, in the order of the spec.
    pub programs: Vec<ProgramReport>,
    pub failure: Option<NodeFailure>,
    /// Reason why the registry did not resolve the image's tag, if it was to be queried. The running programs stay.
    pub not_compared: Option<NodeFailure>,
    /// True if nothing of this application existed before.
    pub created: bool,
    /// Changes that were made, for people; empty if nothing had to be done.
    pub done: Vec<String>,
    /// Further notes for people: maps that started empty, a tag that could not be compared.
    pub notes: Vec<String>,
}

/// Load state of an application's programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportedLoad {
    /// Nothing is wanted, and nothing is loaded.
    #[default]
    NotWanted,
    /// All programs are loaded in the wanted version.
    Loaded,
    /// The wanted version could not be loaded, and an older one still runs.
    OlderRuns,
    /// The programs could not be loaded.
    Failed,
    /// Some programs could not be unloaded.
    UnloadFailed,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgramReport {
    pub name: String,
    /// Name of the type in the spec.
    pub program_type: &'static str,
    /// Kernel id, if it is loaded.
    pub id: Option<u32>,
    /// Attachments that are wanted or still exist, by key.
    pub links: Vec<LinkReport>,
    /// Problems in determining attach points.
    pub problems: Vec<String>,
    /// Attachments whose selector matches nothing on this machine.
    pub unmatched: Vec<String>,
    /// Scopes in which more attachments may be wanted than `links` has.
    pub unknown: BTreeSet<UnknownPlace>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LinkReport {
    pub key: AttachmentKey,
    /// Wanted attachment; `None` if it is no longer wanted.
    pub wanted: Option<WantedLink>,
    /// True if it is kept: it is unknown whether it is wanted, or its replacement could not be made.
    pub kept: bool,
    /// Value of the link's metadata `bpfman.io/uuid`, assigned when the link was first wanted.
    pub uuid: String,
    /// Id in the daemon, if it is attached.
    pub id: Option<u32>,
    pub status: LinkOutcome,
}

/// State of an attachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LinkOutcome {
    Attached,
    /// Not attached, but without an error: its program is not loaded.
    #[default]
    NotAttached,
    /// Attaching it, or changing it, failed.
    AttachFailed(NodeFailure),
    /// No longer wanted, but detaching it failed.
    DetachFailed(NodeFailure),
}
