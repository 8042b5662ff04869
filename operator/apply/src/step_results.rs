//! Results of the steps of one owner.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::state::node::NodeFailure;

use crate::desired::LinkKey;

/// Results of the steps so far.
#[derive(Debug, Default)]
pub struct StepResults {
    /// Sentences for people.
    pub done: Vec<String>,
    /// Further sentences for people.
    pub notes: Vec<String>,
    /// Why the registry did not say what the tag stands for.
    pub not_compared: Option<NodeFailure>,
    /// The first failure of all.
    pub failure: Option<NodeFailure>,
    /// By program and key: the ids of new attachments.
    pub attached: BTreeMap<(String, LinkKey), u32>,
    /// By program and key: attachments that could not be made or changed.
    pub not_attached: BTreeMap<(String, LinkKey), NodeFailure>,
    /// By the daemon's id: attachments that ended.
    pub detached: Vec<u32>,
    /// By the daemon's id: attachments that nothing wants, and that stay since what is wanted instead could not be made.
    pub held: BTreeSet<u32>,
    /// By the daemon's id: attachments that could not be ended.
    pub not_detached: BTreeMap<u32, NodeFailure>,
    /// By kernel id: programs that could not be unloaded.
    pub not_unloaded: BTreeMap<u32, NodeFailure>,
}

impl StepResults {
    /// Notes a failure, named after its program.
    pub fn failed(&mut self, program: &str, mut failure: NodeFailure) -> NodeFailure {
        failure.program = program.to_owned();
        self.failure.get_or_insert_with(|| failure.clone());
        failure
    }
}
