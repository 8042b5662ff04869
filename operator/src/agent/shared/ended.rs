//! How working on an application ends.

use std::time::Duration;

use bpfman_apply::failure::Unreachable;

use super::write_status::StatusWritten;
use crate::agent::objects::cluster::ApiError;

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to do until something changes.
    Done,
    /// To be reconciled again after this time; nothing failed.
    Later(Duration),
    /// Something failed, in one word; it is tried again, later and later.
    Failed(String),
    /// Something failed that the whole fleet feels: it is tried again, but at most half a minute later.
    Waiting(String),
}

impl Ended {
    /// A status that has to wait is written later, whatever else there is to do.
    #[must_use]
    pub fn after(self, written: StatusWritten) -> Self {
        match (written, self) {
            (StatusWritten::TooMany(wait), Self::Done | Self::Later(_)) => Self::Later(wait),
            (_, ended) => ended,
        }
    }
}

/// What a reconcile cannot go on without.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] Unreachable),
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}
