//! Grants, and the permissions of all users of the socket.

use bpfman_model::Peer;
use serde::Deserialize;

use crate::Grant;

/// Permissions on this machine, besides root's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Grants in the order of the file: the first one that allows a call applies.
    pub grants: Vec<Grant>,
    /// Permissions of every user that can open the socket.
    pub socket_group: SocketGroup,
}

/// Permissions, without a grant, of every user that can open the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketGroup {
    /// No permission.
    Nothing,
    #[default]
    Read,
    /// All permissions of a grant of `all`, also over objects of other owners, as in v0.6.0.
    All,
}

impl AccessPolicy {
    pub fn grants_of<'a>(&'a self, peer: &'a Peer) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.callers.include(peer))
    }
}
