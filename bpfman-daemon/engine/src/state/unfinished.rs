//! Steps that a failed operation could not undo, kept until they are undone.

use std::sync::Arc;

use super::LeaseId;
use crate::error::Remainder;
use crate::state::chain_record::ChainRecord;

/// Step of a failed operation that still has to be undone.
#[derive(Debug)]
pub struct Unfinished {
    pub left: Remainder,
    /// Lease that keeps the running chain loaded until then.
    pub kept: Option<(Arc<ChainRecord>, LeaseId)>,
}
