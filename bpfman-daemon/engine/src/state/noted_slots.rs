use std::collections::BTreeSet;

use bpfman_model::OperationId;

/// Concerns about slots of one program, as one load made it.
#[derive(Clone, Debug)]
pub struct NotedSlots {
    pub operation: OperationId,
    pub slots: BTreeSet<String>,
}
