//! What a failed operation could not undo, until it is.

use std::sync::Arc;

use super::LeaseId;
use crate::error::Remainder;
use crate::state::chain_record::ChainRecord;

/// A step of a failed operation that is still to be undone.
#[derive(Debug)]
pub struct Unfinished {
    /// What is left.
    pub left: Remainder,
    /// Keeps the chain that runs there until then.
    pub kept: Option<(Arc<ChainRecord>, LeaseId)>,
}
