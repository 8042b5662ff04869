//! Connected users, and the resources that each of them holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_model::KeptShare;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::account::{Account, AccountKey, Tier};
pub use super::limits::IDENTIFYING;
use super::limits::{
    ANSWERS_OF_A_USER, CANDIDATES, CANDIDATES_OF_A_USER, CONNECTIONS_OF_A_USER, REQUESTS, REQUESTS_OF_A_USER,
    SMALL_REQUEST,
};

#[derive(Debug)]
pub struct Callers {
    /// Connections that are kept for root and those that act for applications.
    kept: KeptShare,
    users: Mutex<Users>,
    /// Memory for the larger requests of all users but root, and of root, in bytes.
    requests: [Arc<Semaphore>; 2],
    /// Threads that identify processes.
    identifying: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Users {
    all: HashMap<AccountKey, User>,
    open: [usize; 4],
    /// Number of connections without a place, by user, while their processes are identified.
    candidates: HashMap<u32, usize>,
}

#[derive(Debug)]
struct User {
    connections: usize,
    share: Arc<Share>,
}

#[derive(Debug)]
struct Share {
    requests: Arc<Semaphore>,
    answers: AtomicUsize,
    answered: Notify,
}

#[derive(Debug)]
pub struct ConnectionPlace {
    callers: Arc<Callers>,
    account: Account,
    share: Arc<Share>,
}

/// Connection without a place, until its process is identified.
#[derive(Debug)]
pub struct CandidatePlace {
    callers: Arc<Callers>,
    user: u32,
}

/// Memory that a request occupies until this is dropped.
#[derive(Debug, Default)]
pub struct RequestMemory {
    _user: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub struct Unread {
    share: Arc<Share>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    pub open: usize,
    pub own: bool,
}

impl Default for Callers {
    fn default() -> Self {
        Self::new(KeptShare::default())
    }
}

impl Callers {
    pub fn new(kept: KeptShare) -> Self {
        let room = || Arc::new(Semaphore::new(REQUESTS / 2));
        let identifying = Arc::new(Semaphore::new(IDENTIFYING));
        Self { kept, users: Mutex::default(), requests: [room(), room()], identifying }
    }

    pub fn place(self: &Arc<Self>, account: Account) -> Result<ConnectionPlace, NoPlace> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let share = users.enter(&account, self.kept)?;
        Ok(ConnectionPlace { callers: Arc::clone(self), account, share })
    }

    /// Returns a temporary place for a connection while its process is identified, or the reason of a refusal.
    pub fn candidate(self: &Arc<Self>, user: u32, full: NoPlace) -> Result<CandidatePlace, NoPlace> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = users.candidates.values().sum();
        let own = users.candidates.entry(user).or_default();
        if *own >= CANDIDATES_OF_A_USER || all >= CANDIDATES {
            // Remove the entries of users without candidates.
            users.candidates.retain(|_, count| *count > 0);
            return Err(full);
        }
        *own += 1;
        Ok(CandidatePlace { callers: Arc::clone(self), user })
    }

    /// Waits for a thread that identifies processes.
    pub async fn thread(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so this does not fail.
        Arc::clone(&self.identifying).acquire_owned().await.ok()
    }
}

impl CandidatePlace {
    pub const fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }
}

impl Drop for CandidatePlace {
    fn drop(&mut self) {
        let mut users = self.callers.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.candidates.get_mut(&self.user) {
            *count -= 1;
        }
        users.candidates.retain(|_, count| *count > 0);
    }
}

impl Users {
    fn enter(&mut self, Account { key, tier }: &Account, kept: KeptShare) -> Result<Arc<Share>, NoPlace> {
        let own = self.all.get(key).map_or(0, |user| user.connections);
        if *tier != Tier::Root && own >= CONNECTIONS_OF_A_USER {
            return Err(NoPlace { open: own, own: true });
        }
        for limited in Tier::ALL.into_iter().filter(|limited| limited >= tier) {
            let open = self.open[..=limited as usize].iter().sum();
            if open >= limited.most(kept) {
                return Err(NoPlace { open, own: false });
            }
        }
        self.open[*tier as usize] += 1;
        let user = self.all.entry(key.clone());
        let user = user.or_insert_with(|| User { connections: 0, share: Arc::default() });
        user.connections += 1;
        Ok(Arc::clone(&user.share))
    }

    fn leave(&mut self, Account { key, tier }: &Account) {
        self.open[*tier as usize] -= 1;
        if let Some(user) = self.all.get_mut(key) {
            user.connections -= 1;
            if user.connections == 0 {
                self.all.remove(key);
            }
        }
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
    pub const fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }

    /// Moves the connection to another account, if that account has a free place.
    pub fn count_for(&mut self, account: Account) {
        if account == self.account {
            return;
        }
        let mut users = self.callers.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.leave(&self.account);
        let kept = self.callers.kept;
        match users.enter(&account, kept) {
            Ok(share) => (self.account, self.share) = (account, share),
            // Take the place back that was just left. Its share may be a new object by now.
            Err(_) => {
                if let Ok(share) = users.enter(&self.account, kept) {
                    self.share = share;
                }
            }
        }
    }

    /// Waits until a request of this size, in bytes, fits into the limits.
    pub async fn room(&self, bytes: usize) -> RequestMemory {
        if bytes <= SMALL_REQUEST {
            return RequestMemory::default();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let all = &self.callers.requests[usize::from(self.account.tier == Tier::Root)];
        // Neither is ever closed.
        let _user = Arc::clone(&self.share.requests).acquire_many_owned(bytes).await.ok();
        let _all = Arc::clone(all).acquire_many_owned(bytes).await.ok();
        RequestMemory { _user, _all }
    }

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
        self.callers.users.lock().unwrap_or_else(PoisonError::into_inner).leave(&self.account);
    }
}

impl Unread {
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

    use bpfman_model::{GroupPath, Peer};
    use bpfmand_access::{AccessPolicy, Grant};

    use super::*;
    use crate::serve::WantedIdentity;
    use crate::serve::account::needed_for_grants;
    use crate::serve::limits::{CONNECTIONS, CONNECTIONS_BESIDES_ROOT, CONNECTIONS_WITHOUT_GRANT};

    const ROOT: u32 = 0;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn of(uid: u32, tier: Tier) -> Account {
        Account { key: (uid, None), tier }
    }

    #[test]
    fn users_take_no_places_of_those_above_them() {
        let callers = Arc::new(Callers::default());
        let mut places = Vec::new();
        for (tier, most) in [
            (Tier::Other, CONNECTIONS_WITHOUT_GRANT),
            (Tier::Granted, CONNECTIONS / 2),
            (Tier::Agent, CONNECTIONS_BESIDES_ROOT),
        ] {
            let first = 1000 * (1 + tier as u32);
            for _ in 0..CONNECTIONS_OF_A_USER {
                places.push(callers.place(of(first, tier)).unwrap());
            }
            let own = callers.place(of(first, tier)).unwrap_err();
            assert_eq!(own, NoPlace { open: CONNECTIONS_OF_A_USER, own: true });
            let full = (first + 1..)
                .find_map(|uid| callers.place(of(uid, tier)).map(|place| places.push(place)).err());
            assert_eq!(full, Some(NoPlace { open: most, own: false }), "{tier:?}");
            assert_eq!(places.len(), most);
        }
        let roots = CONNECTIONS - CONNECTIONS_BESIDES_ROOT;
        places.extend((0..roots).map(|_| callers.place(of(ROOT, Tier::Root)).unwrap()));
        let full = callers.place(of(ROOT, Tier::Root)).unwrap_err();
        assert_eq!(full, NoPlace { open: CONNECTIONS, own: false });
        drop(places);
        assert!(callers.place(of(1000, Tier::Other)).is_ok());
        let users = callers.users.lock().unwrap();
        assert!(users.all.is_empty() && users.open == [0; 4], "nothing is kept of who has gone");
    }

    #[test]
    fn tier_is_by_the_grants_that_name_a_user() {
        let callers = |uid| bpfmand_access::GrantCallers { users: [uid].into(), ..Default::default() };
        let grant = |uid, applications| Grant { callers: callers(uid), applications, ..Grant::default() };
        let grants = vec![grant(7, Vec::new()), grant(8, Vec::new()), grant(8, vec!["*".parse().unwrap()])];
        let policy = AccessPolicy { grants, ..AccessPolicy::default() };
        let tier = |uid| Account::of_user(&policy, uid, uid).tier;
        assert_eq!([0, 7, 8, 9].map(tier), [Tier::Root, Tier::Granted, Tier::Agent, Tier::Other]);
        let of_no_grant = |uid| Account::of_user(&AccessPolicy::default(), uid, uid).tier;
        assert_eq!([0, 8].map(of_no_grant), [Tier::Root, Tier::Other]);
    }

    #[test]
    fn callers_by_group_and_pod_have_places_of_their_grant() {
        use bpfmand_access::GrantCallers;
        let grant = |name: &str, callers| Grant { name: name.to_owned(), callers, ..Grant::default() };
        let pods = |uid: &str| GrantCallers { pods: [uid.to_owned()].into(), ..GrantCallers::default() };
        let team = GrantCallers { groups: [500].into(), ..GrantCallers::default() };
        let (first, second) =
            ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222");
        let grants = vec![grant("team", team), grant("first", pods(first)), grant("second", pods(second))];
        let policy = AccessPolicy { grants, ..AccessPolicy::default() };
        assert_eq!(needed_for_grants(&policy, 4711), Some(WantedIdentity::Process));
        let in_pod = |pod: &str| Peer {
            uid: 65_532,
            cgroup: Some(GroupPath::new(
                format!("/kubepods.slice/kubepods-pod{}.slice", pod.replace('-', "_")),
                2,
                None,
            )),
            ..Peer::default()
        };
        let account = |peer: &Peer| Account::of_peer(&policy, peer, peer.uid);
        let member = Peer { uid: 4711, groups: vec![500], ..Peer::default() };
        assert_eq!(account(&member), Account { key: (4711, Some("team".to_owned())), tier: Tier::Granted });
        assert_eq!(account(&Peer { uid: 4712, ..Peer::default() }), of(4712, Tier::Other));

        // Users without a grant fill all their places, and users of one pod fill the places of its grant.
        let callers = Arc::new(Callers::default());
        let mut places: Vec<_> = (1..).map_while(|uid| callers.place(of(uid, Tier::Other)).ok()).collect();
        assert_eq!(places.len(), CONNECTIONS_WITHOUT_GRANT);
        let of_first = account(&in_pod(first));
        places.extend((0..CONNECTIONS_OF_A_USER).map(|_| callers.place(of_first.clone()).unwrap()));
        assert!(callers.place(of_first).unwrap_err().own);
        assert!(callers.place(account(&in_pod(second))).is_ok());
        assert!(callers.place(account(&member)).is_ok());

        // A connection that moves to the grant frees a place of users without a grant.
        places.truncate(1);
        places[0].count_for(account(&member));
        assert_eq!(callers.users.lock().unwrap().open, [0, 1, 0, 0]);
        assert_eq!(callers.users.lock().unwrap().all.len(), 1);
    }

    #[test]
    fn large_requests_wait_only_for_those_of_the_same_user() {
        let callers = Arc::new(Callers::default());
        let (one, other) =
            (callers.place(of(1000, Tier::Other)).unwrap(), callers.place(of(2000, Tier::Other)).unwrap());
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
            (callers.place(of(1000, Tier::Other)).unwrap(), callers.place(of(2000, Tier::Other)).unwrap());
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
