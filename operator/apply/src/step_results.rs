use std::collections::{BTreeMap, BTreeSet};

use bpfman_application::state::node::NodeFailure;

use crate::desired::AttachmentKey;

#[derive(Debug, Default)]
pub struct StepResults {
    pub done: Vec<String>,
    pub notes: Vec<String>,
    pub not_compared: Option<NodeFailure>,
    pub failure: Option<NodeFailure>,
    pub attached: BTreeMap<(String, AttachmentKey), u32>,
    pub not_attached: BTreeMap<(String, AttachmentKey), NodeFailure>,
    pub detached: Vec<u32>,
    pub held: BTreeSet<u32>,
    pub not_detached: BTreeMap<u32, NodeFailure>,
    pub not_unloaded: BTreeMap<u32, NodeFailure>,
}

impl StepResults {
    pub fn failed(&mut self, program: &str, mut failure: NodeFailure) -> NodeFailure {
        failure.program = program.to_owned();
        self.failure.get_or_insert_with(|| failure.clone());
        failure
    }
}
