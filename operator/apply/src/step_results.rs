//! Results of the steps of one owner.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::state::node::NodeFailure;

use crate::desired::AttachmentKey;

#[derive(Debug, Default)]
pub struct StepResults {
    /// Changes that were made, for people.
    pub done: Vec<String>,
    /// Further notes for people.
    pub notes: Vec<String>,
    /// Reason why the registry did not resolve the image's tag.
    pub not_compared: Option<NodeFailure>,
    /// First failure.
    pub failure: Option<NodeFailure>,
    /// Ids of new attachments, by program and key.
    pub attached: BTreeMap<(String, AttachmentKey), u32>,
    /// Attachments that could not be made or changed, by program and key.
    pub not_attached: BTreeMap<(String, AttachmentKey), NodeFailure>,
    /// Detached attachments, by their ids in the daemon.
    pub detached: Vec<u32>,
    /// Unwanted attachments that stay because their replacements could not be made, by their ids in the daemon.
    pub held: BTreeSet<u32>,
    /// Attachments that could not be detached, by their ids in the daemon.
    pub not_detached: BTreeMap<u32, NodeFailure>,
    /// Programs that could not be unloaded, by kernel id.
    pub not_unloaded: BTreeMap<u32, NodeFailure>,
}

impl StepResults {
    /// Records a failure of a program.
    pub fn failed(&mut self, program: &str, mut failure: NodeFailure) -> NodeFailure {
        failure.program = program.to_owned();
        self.failure.get_or_insert_with(|| failure.clone());
        failure
    }
}
