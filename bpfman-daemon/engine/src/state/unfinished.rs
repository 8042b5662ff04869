//! Steps that a failed operation could not undo, kept until they are undone.

use std::sync::Arc;

use super::LeaseId;
use crate::error::Remainder;
use crate::state::chain_record::ChainRecord;

#[derive(Debug)]
pub struct Unfinished {
    pub left: Remainder,
    pub kept: Option<(Arc<ChainRecord>, LeaseId)>,
}
