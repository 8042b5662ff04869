//! Connected users, and the resources that each of them holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bpfmand_access::{AccessPolicy, Grant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::limits::{
    ANSWERS_OF_A_USER, CONNECTIONS, CONNECTIONS_BESIDES_ROOT, CONNECTIONS_OF_A_USER, CONNECTIONS_OF_OTHERS,
    CONNECTIONS_WITHOUT_GRANT, REQUESTS, REQUESTS_OF_A_USER, SMALL_REQUEST,
};

const ROOT: u32 = 0;

/// Classes of callers, by the connections reserved for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Users that no grant names.
    Other,
    /// Users that a grant names.
    Granted,
    /// Users that a grant lets act for applications: a cluster's agent.
    Agent,
    Root,
}

impl Tier {
    const ALL: [Self; 4] = [Self::Other, Self::Granted, Self::Agent, Self::Root];

    /// Returns the tier of a user by its uid alone, because nothing else is known of a caller at this point.
    pub fn of(policy: &AccessPolicy, uid: u32) -> Self {
        let grants = policy.grants.iter();
        let of_grant =
            |grant: &Grant| if grant.applications.is_empty() { Self::Granted } else { Self::Agent };
        let named = grants.filter(|grant| grant.callers.users.contains(&uid)).map(of_grant).max();
        if uid == ROOT { Self::Root } else { named.unwrap_or(Self::Other) }
    }

    /// Returns the maximum number of connections of this tier and those below it together.
    const fn most(self) -> usize {
        match self {
            Self::Other => CONNECTIONS_WITHOUT_GRANT,
            Self::Granted => CONNECTIONS_OF_OTHERS,
            Self::Agent => CONNECTIONS_BESIDES_ROOT,
            Self::Root => CONNECTIONS,
        }
    }
}

#[derive(Debug)]
pub struct Callers {
    users: Mutex<Users>,
    /// Memory for the larger requests of all users but root, and of root, in bytes.
    requests: [Arc<Semaphore>; 2],
}

/// Users by the uid that their connections count for, and the numbers of connections by tier.
#[derive(Debug, Default)]
struct Users {
    all: HashMap<u32, User>,
    open: [usize; 4],
}

#[derive(Debug)]
struct User {
    connections: usize,
    share: Arc<Share>,
}

/// Resources that the connections of one user share.
#[derive(Debug)]
struct Share {
    requests: Arc<Semaphore>,
    answers: AtomicUsize,
    answered: Notify,
}

/// Place of a connection, which is freed when this is dropped.
#[derive(Debug)]
pub struct ConnectionPlace {
    callers: Arc<Callers>,
    uid: u32,
    tier: Tier,
    share: Arc<Share>,
}

/// Memory that a request occupies until this is dropped.
#[derive(Debug, Default)]
pub struct RequestRoom {
    _user: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

/// Bytes of an answer that its client has not read yet.
#[derive(Debug)]
pub struct Unread {
    share: Arc<Share>,
    bytes: usize,
}

/// Reason why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// Open connections of this user, or of all users.
    pub open: usize,
    /// True if these are the user's own.
    pub own: bool,
}

impl Default for Callers {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(REQUESTS / 2));
        Self { users: Mutex::default(), requests: [room(), room()] }
    }
}

impl Callers {
    /// Acquires a place for a connection, counted for `uid`, which is a subordinate user's parent.
    pub fn place(self: &Arc<Self>, uid: u32, tier: Tier) -> Result<ConnectionPlace, NoPlace> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let own = users.all.get(&uid).map_or(0, |user| user.connections);
        if tier != Tier::Root && own >= CONNECTIONS_OF_A_USER {
            return Err(NoPlace { open: own, own: true });
        }
        for limited in Tier::ALL.into_iter().filter(|limited| *limited >= tier) {
            let open = users.open[..=limited as usize].iter().sum();
            if open >= limited.most() {
                return Err(NoPlace { open, own: false });
            }
        }
        users.open[tier as usize] += 1;
        let user = users.all.entry(uid).or_insert_with(|| User { connections: 0, share: Arc::default() });
        user.connections += 1;
        Ok(ConnectionPlace { callers: Arc::clone(self), uid, tier, share: Arc::clone(&user.share) })
    }
}

impl Default for Share {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_OF_A_USER)),
            answers: AtomicUsize::new(0),
            answered: Notify::new(),
        }
    }
}

impl ConnectionPlace {
    /// Waits until there is memory for a request of so many bytes.
    pub async fn room(&self, bytes: usize) -> RequestRoom {
        if bytes <= SMALL_REQUEST {
            return RequestRoom::default();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let all = &self.callers.requests[usize::from(self.uid == ROOT)];
        // The semaphores are never closed.
        let _user = Arc::clone(&self.share.requests).acquire_many_owned(bytes).await.ok();
        let _all = Arc::clone(all).acquire_many_owned(bytes).await.ok();
        RequestRoom { _user, _all }
    }

    /// Waits until this user has read enough of its answers.
    pub async fn answers_read(&self) {
        loop {
            let mut answered = std::pin::pin!(self.share.answered.notified());
            answered.as_mut().enable();
            if self.share.answers.load(Ordering::SeqCst) < ANSWERS_OF_A_USER {
                return;
            }
            answered.await;
        }
    }

    pub fn unread(&self) -> Unread {
        Unread { share: Arc::clone(&self.share), bytes: 0 }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut users = self.callers.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.open[self.tier as usize] -= 1;
        if let Some(user) = users.all.get_mut(&self.uid) {
            user.connections -= 1;
            if user.connections == 0 {
                users.all.remove(&self.uid);
            }
        }
    }
}

impl Unread {
    /// Sets the number of unread bytes.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.share.answers.fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            self.share.answers.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
            self.share.answered.notify_waiters();
        }
        self.bytes = bytes;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn users_take_no_places_of_those_above_them() {
        let callers = Arc::new(Callers::default());
        let mut places = Vec::new();
        for (tier, most) in [
            (Tier::Other, CONNECTIONS_WITHOUT_GRANT),
            (Tier::Granted, CONNECTIONS_OF_OTHERS),
            (Tier::Agent, CONNECTIONS_BESIDES_ROOT),
        ] {
            let first = 1000 * (1 + tier as u32);
            for _ in 0..CONNECTIONS_OF_A_USER {
                places.push(callers.place(first, tier).unwrap());
            }
            let own = callers.place(first, tier).unwrap_err();
            assert_eq!(own, NoPlace { open: CONNECTIONS_OF_A_USER, own: true });
            let full =
                (first + 1..).find_map(|uid| callers.place(uid, tier).map(|place| places.push(place)).err());
            assert_eq!(full, Some(NoPlace { open: most, own: false }), "{tier:?}");
            assert_eq!(places.len(), most);
        }
        const { assert!(CONNECTIONS_OF_OTHERS <= CONNECTIONS / 2, "half is for root and agents") };
        let roots = CONNECTIONS - CONNECTIONS_BESIDES_ROOT;
        places.extend((0..roots).map(|_| callers.place(ROOT, Tier::Root).unwrap()));
        let full = callers.place(ROOT, Tier::Root).unwrap_err();
        assert_eq!(full, NoPlace { open: CONNECTIONS, own: false });
        drop(places);
        assert!(callers.place(1000, Tier::Other).is_ok());
        let users = callers.users.lock().unwrap();
        assert!(users.all.is_empty() && users.open == [0; 4], "nothing is kept of who has gone");
    }

    #[test]
    fn tier_is_by_the_grants_that_name_a_user() {
        let callers = |uid| bpfmand_access::GrantCallers { users: [uid].into(), ..Default::default() };
        let grant = |uid, applications| Grant { callers: callers(uid), applications, ..Grant::default() };
        let grants = vec![grant(7, Vec::new()), grant(8, Vec::new()), grant(8, vec!["*".parse().unwrap()])];
        let policy = AccessPolicy { grants, ..AccessPolicy::default() };
        let tier = |uid| Tier::of(&policy, uid);
        assert_eq!([0, 7, 8, 9].map(tier), [Tier::Root, Tier::Granted, Tier::Agent, Tier::Other]);
        assert_eq!([0, 8].map(|uid| Tier::of(&AccessPolicy::default(), uid)), [Tier::Root, Tier::Other]);
    }

    #[test]
    fn large_requests_of_one_user_wait_for_each_other_and_no_others_for_them() {
        let callers = Arc::new(Callers::default());
        let (one, other) =
            (callers.place(1000, Tier::Other).unwrap(), callers.place(2000, Tier::Other).unwrap());
        let mut held: Vec<_> = (0..REQUESTS_OF_A_USER / (256 << 10))
            .map(|_| match poll(std::pin::pin!(one.room(256 << 10))) {
                Poll::Ready(room) => room,
                Poll::Pending => panic!("there is room"),
            })
            .collect();
        assert!(poll(std::pin::pin!(one.room(256 << 10))).is_pending());
        assert!(poll(std::pin::pin!(one.room(SMALL_REQUEST))).is_ready());
        assert!(poll(std::pin::pin!(other.room(256 << 10))).is_ready());
        held.pop();
        assert!(poll(std::pin::pin!(one.room(256 << 10))).is_ready());
    }

    #[test]
    fn a_user_who_reads_no_answers_gets_no_more() {
        let callers = Arc::new(Callers::default());
        let (one, other) =
            (callers.place(1000, Tier::Other).unwrap(), callers.place(2000, Tier::Other).unwrap());
        let mut unread = one.unread();
        unread.set(ANSWERS_OF_A_USER);
        let mut waiting = std::pin::pin!(one.answers_read());
        assert!(poll(waiting.as_mut()).is_pending());
        assert!(poll(std::pin::pin!(other.answers_read())).is_ready());
        unread.set(ANSWERS_OF_A_USER - 1);
        assert!(poll(waiting).is_ready());
        drop(unread);
        assert_eq!(one.share.answers.load(Ordering::SeqCst), 0);
    }
}
