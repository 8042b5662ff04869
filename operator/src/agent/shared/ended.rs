//! Results of a reconciliation.

use std::time::Duration;

use bpfman_apply::failure::Unreachable;

use super::write_status::StatusWritten;
use crate::agent::objects::cluster::ApiError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing to do until a change.
    Done,
    /// Reconcile again after this time; nothing failed.
    Later(Duration),
    /// A failure with this reason; retried with a growing delay.
    Failed(String),
    /// A failure that affects the whole fleet; retried after at most half a minute.
    Waiting(String),
}

impl Ended {
    /// Adjusts the result if the status write was delayed, so that it is written later.
    #[must_use]
    pub fn after(self, written: StatusWritten) -> Self {
        match (written, self) {
            (StatusWritten::TooMany(wait), Self::Done | Self::Later(_)) => Self::Later(wait),
            (_, ended) => ended,
        }
    }
}

/// Error that ends a reconciliation early.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The daemon does not answer.
    #[error(transparent)]
    Daemon(#[from] Unreachable),
    /// A request to the API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
}
