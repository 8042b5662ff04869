//! Shares of the threads for changes: slow changes of one caller do not delay other callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_model::{Owner, OwningApplication};
use bpfman_proto::printable::one_line;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::authorize::Permit;
use crate::reservations::Reservations;
use crate::status::busy;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    User(u32),
    /// Callers for the applications of one namespace: its authors can create any number of applications.
    Namespace(String),
}

impl Sharer {
    fn of(permit: &Permit) -> Option<Self> {
        match &permit.owner {
            Owner::Application(OwningApplication { namespace: Some(namespace), .. }) => {
                Some(Self::Namespace(namespace.to_string()))
            }
            _ if permit.uid == 0 => None,
            _ => Some(Self::User(permit.account)),
        }
    }
}

impl std::fmt::Display for Sharer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(uid) => write!(f, "user {uid}"),
            Self::Namespace(name) => write!(f, "applications of namespace {name}"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ChangeShares {
    running: usize,
    waiting: usize,
    /// Limit for all shares together: a tenant may act for many namespaces.
    together: Arc<Semaphore>,
    sharers: Mutex<HashMap<Sharer, Share>>,
    pub(crate) reservations: Arc<Reservations>,
}

#[derive(Debug)]
struct Share {
    threads: Arc<Semaphore>,
    changes: usize,
}

#[derive(Debug)]
pub(crate) struct SharePlace {
    of: Option<(Arc<ChangeShares>, Sharer)>,
    thread: [Option<OwnedSemaphorePermit>; 2],
}

impl ChangeShares {
    pub(crate) fn new(running: usize, waiting: usize, together: usize) -> Self {
        Self {
            running,
            waiting,
            together: Arc::new(Semaphore::new(together)),
            sharers: Mutex::default(),
            reservations: Arc::default(),
        }
    }

    /// Waits until one more change of a caller may run; fails if the maximum number of them waits already.
    pub(crate) async fn enter(self: &Arc<Self>, permit: &Permit) -> Result<SharePlace, Status> {
        let Some(sharer) = Sharer::of(permit) else {
            return Ok(SharePlace { of: None, thread: [None, None] });
        };
        let threads = {
            let mut sharers = self.sharers.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Share { threads: Arc::new(Semaphore::new(self.running)), changes: 0 };
            let share = sharers.entry(sharer.clone()).or_insert_with(new);
            if share.changes >= self.running + self.waiting {
                let why = format!(
                    "{sharer} has {} changes that work or wait, as many as may be; wait until some are answered",
                    self.running + self.waiting
                );
                return Err(busy(one_line(&why).into_owned()));
            }
            share.changes += 1;
            Arc::clone(&share.threads)
        };
        // From here on, the place is freed even if the caller disconnects while waiting.
        let mut place = SharePlace { of: Some((Arc::clone(self), sharer)), thread: [None, None] };
        // Semaphores are never closed. First the caller's own permit: its changes must not block others.
        place.thread[0] = threads.acquire_owned().await.ok();
        place.thread[1] = Arc::clone(&self.together).acquire_owned().await.ok();
        Ok(place)
    }
}

impl Drop for SharePlace {
    fn drop(&mut self) {
        self.thread = [None, None];
        let Some((shares, sharer)) = &self.of else { return };
        let mut sharers = shares.sharers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = sharers.get_mut(sharer) {
            share.changes -= 1;
            if share.changes == 0 {
                sharers.remove(sharer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use bpfmand_access::GrantLimits;

    use super::*;

    fn permit(uid: u32, owner: Owner) -> Permit {
        Permit {
            uid,
            account: uid,
            owner,
            limits: GrantLimits::default(),
            reserved: Default::default(),
            network: None,
            tenant: None,
            speaks_for_all: false,
        }
    }

    fn of_namespace(namespace: &str, name: &str) -> Permit {
        permit(7, Owner::Application(OwningApplication::parse(Some(namespace), name).unwrap()))
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn at_once(shares: &Arc<ChangeShares>, permit: &Permit) -> Option<SharePlace> {
        match poll(pin!(shares.enter(permit))) {
            Poll::Ready(place) => Some(place.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn caller_uses_only_its_share_of_threads_and_root_uses_all() {
        let shares = Arc::new(ChangeShares::new(2, 1, 100));
        let [ada, eve, root] = [1000, 2000, 0].map(|uid| permit(uid, Owner::of_user(uid)));
        let running = [at_once(&shares, &ada).unwrap(), at_once(&shares, &ada).unwrap()];
        let mut waiting = Box::pin(shares.enter(&ada));
        assert!(poll(waiting.as_mut()).is_pending());
        let Poll::Ready(Err(refused)) = poll(pin!(shares.enter(&ada))) else { panic!("it is refused") };
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains("user 1000 has 3 changes that work or wait"), "{refused}");
        assert!(at_once(&shares, &eve).is_some());
        let of_root: Vec<_> = (0..64).filter_map(|_| at_once(&shares, &root)).collect();
        assert_eq!(of_root.len(), 64);
        drop(running);
        assert!(poll(waiting.as_mut()).is_ready());
        drop(waiting);
        assert!(shares.sharers.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn all_shares_together_leave_threads_for_root() {
        let shares = Arc::new(ChangeShares::new(2, 1, 3));
        let running: Vec<_> = ["shop", "bank", "mail"]
            .into_iter()
            .filter_map(|namespace| at_once(&shares, &of_namespace(namespace, "one")))
            .collect();
        assert_eq!(running.len(), 3);
        assert!(at_once(&shares, &of_namespace("news", "one")).is_none());
        assert!(at_once(&shares, &permit(0, Owner::Root)).is_some());
        drop(running);
        assert!(at_once(&shares, &of_namespace("news", "one")).is_some());
        assert!(shares.sharers.lock().unwrap().is_empty());
    }

    #[test]
    fn disconnected_waiter_releases_its_place() {
        let shares = Arc::new(ChangeShares::new(1, 1, 100));
        let ada = permit(1000, Owner::User(1000));
        let running = at_once(&shares, &ada).unwrap();
        for _ in 0..3 {
            assert!(at_once(&shares, &ada).is_none());
        }
        drop(running);
        assert!(at_once(&shares, &ada).is_some());
    }

    #[test]
    fn applications_of_one_namespace_share_and_of_two_do_not() {
        let shares = Arc::new(ChangeShares::new(1, 1, 100));
        let _running = at_once(&shares, &of_namespace("shop", "one")).unwrap();
        assert!(at_once(&shares, &of_namespace("shop", "another")).is_none());
        let _others = at_once(&shares, &of_namespace("bank", "one")).unwrap();
        assert!(at_once(&shares, &permit(7, Owner::User(7))).is_some());
    }
}
