//! Leases: what a client holds as long as it is there.
//!
//! A lease lives in memory alone. Programs that were loaded under it name it in their records: a record whose lease nobody
//! holds is one of a client that is gone, of this daemon or of one before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfmand_core::ClientLease;
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

/// Leases at the same time, of all users and of one.
pub const MOST_LEASES: usize = 64;
/// See [`MOST_LEASES`].
pub const MOST_LEASES_OF_ONE: usize = 8;

/// The leases of now, with the users who hold them.
#[derive(Debug, Default)]
pub struct ClientLeases(Mutex<BTreeMap<ClientLease, u32>>);

/// There is no room for another lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasesTaken {
    /// How many are held.
    pub all: usize,
    /// How many of them by the same user.
    pub own: usize,
}

impl ClientLeases {
    fn guard(&self) -> MutexGuard<'_, BTreeMap<ClientLease, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while some client holds it.
    pub fn is_held(&self, lease: ClientLease) -> bool {
        self.guard().contains_key(&lease)
    }

    /// Refuses a lease that is over, or another user's.
    pub fn ensure_held(&self, lease: ClientLease, uid: u32) -> Result<(), EngineError> {
        if self.guard().get(&lease) == Some(&uid) {
            return Ok(());
        }
        Err(EngineError::Invalid(format!(
            "user {uid} holds no lease {lease}: it ended, or it is another user's; take a new one"
        )))
    }
}

impl<K: Kernel> Engine<K> {
    /// Gives a user a new lease, until [`Engine::end_client_lease`].
    ///
    /// # Errors
    /// There is no room for one more.
    pub fn hold_client_lease(&self, uid: u32) -> Result<ClientLease, LeasesTaken> {
        // A number that is in no record: a load that names it makes all numbers up to it durable with its record.
        let id = ClientLease(self.number());
        let mut held = self.client_leases.guard();
        let own = held.values().filter(|holder| **holder == uid).count();
        // Some are left to root, whoever holds the others.
        let most = if uid == 0 { MOST_LEASES } else { MOST_LEASES - MOST_LEASES_OF_ONE };
        if own >= MOST_LEASES_OF_ONE || held.len() >= most {
            return Err(LeasesTaken { all: held.len(), own });
        }
        held.insert(id, uid);
        Ok(id)
    }

    /// Ends a lease. What was loaded under it is over, and ended by the next [`Engine::expire`].
    pub fn end_client_lease(&self, lease: ClientLease) {
        self.client_leases.guard().remove(&lease);
        // Who looks for what is over looks now.
        self.tell_change();
    }
}
