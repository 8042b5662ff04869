//! All grants, and what holds for everybody who may open the socket.

use bpfmand_core::Peer;
use serde::Deserialize;

use crate::{ApplicationPattern, Grant};

/// What may be done on this machine, besides what root does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Grants, in the order of the file: the first that allows a call counts.
    pub grants: Vec<Grant>,
    /// What everybody may do who can open the socket.
    pub socket_group: SocketGroup,
}

/// What everybody may do who can open the socket, without a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketGroup {
    /// Nothing.
    Nothing,
    /// Read.
    #[default]
    Read,
    /// All that a grant could allow, also over what others made: what v0.6.0 does.
    All,
}

impl AccessPolicy {
    /// The grants of a caller.
    pub fn grants_of<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.callers.include(peer))
    }

    /// Returns whether a caller may speak for all applications, as the node agent may.
    #[must_use]
    pub fn speaks_for_all(&self, peer: &Peer) -> bool {
        self.grants_of(peer).any(|grant| grant.applications.iter().any(ApplicationPattern::is_any))
    }
}
