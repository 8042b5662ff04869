//! Leases: rights that a client holds while it is connected. They exist in memory only: if no client holds the lease of
//! a record, its client, of this daemon or an earlier one, has gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_model::ClientLease;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Maximum number of leases at the same time, of all users together.
pub const MAX_LEASES: usize = 64;
/// Maximum number of leases of one user; see [`MAX_LEASES`].
pub const MAX_LEASES_OF_ONE: usize = 8;

#[derive(Debug, Default)]
pub struct ClientLeases(Mutex<BTreeMap<ClientLease, LeaseHolder>>);

#[derive(Debug)]
struct LeaseHolder {
    uid: u32,
    /// User against whose limit the lease counts: leases of subordinate users count for their owner.
    account: u32,
}

/// Refusal of a lease: a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasesTaken {
    /// Number of leases held by all users.
    pub all: usize,
    /// Number of leases held by the same user.
    pub own: usize,
}

impl ClientLeases {
    fn guard(&self) -> MutexGuard<'_, BTreeMap<ClientLease, LeaseHolder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_held(&self, lease: ClientLease) -> bool {
        self.guard().contains_key(&lease)
    }

    /// Refuses a lease that has ended or that belongs to another user.
    pub fn ensure_held(&self, lease: ClientLease, uid: u32) -> Result<(), EngineError> {
        if self.guard().get(&lease).is_some_and(|holder| holder.uid == uid) {
            return Ok(());
        }
        Err(EngineError::Invalid(format!(
            "user {uid} holds no lease {lease}: it ended, or it is another user's; take a new one"
        )))
    }
}

impl<K: Kernel> Engine<K> {
    /// Gives a user a new lease, until [`Engine::end_client_lease`]; an error if a limit of `account` is reached.
    pub fn hold_client_lease(&self, uid: u32, account: u32) -> Result<ClientLease, LeasesTaken> {
        // The number need not be stored: a load under the lease stores its own, larger number, so none is reused.
        let id = ClientLease(self.number());
        let mut held = self.client_leases.guard();
        let own = held.values().filter(|holder| holder.account == account).count();
        let most = if uid == 0 { MAX_LEASES } else { MAX_LEASES - MAX_LEASES_OF_ONE };
        if own >= MAX_LEASES_OF_ONE || held.len() >= most {
            return Err(LeasesTaken { all: held.len(), own });
        }
        held.insert(id, LeaseHolder { uid, account });
        Ok(id)
    }

    /// Ends a lease. The next [`Engine::expire`] removes the programs that were loaded under it.
    pub fn end_client_lease(&self, lease: ClientLease) {
        self.client_leases.guard().remove(&lease);
        self.announce_change();
    }
}
