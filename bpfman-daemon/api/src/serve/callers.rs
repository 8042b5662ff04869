//! The users that are connected, and what each of them holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::limits::{
    ANSWERS_OF_A_USER, CONNECTIONS, CONNECTIONS_OF_A_USER, CONNECTIONS_OF_OTHERS, REQUESTS,
    REQUESTS_OF_A_USER, SMALL_REQUEST,
};

const ROOT: u32 = 0;

/// All users that are connected.
#[derive(Debug)]
pub struct Callers {
    users: Mutex<HashMap<u32, User>>,
    /// Room for the larger requests of all users but root, and of root.
    requests: [Arc<Semaphore>; 2],
}

/// One user, for as long as one of its connections is open.
#[derive(Debug)]
struct User {
    connections: usize,
    share: Arc<Share>,
}

/// What the connections of one user share.
#[derive(Debug)]
struct Share {
    requests: Arc<Semaphore>,
    answers: AtomicUsize,
    answered: Notify,
}

/// A connection's place. It is given back when this is dropped.
#[derive(Debug)]
pub struct ConnectionPlace {
    callers: Arc<Callers>,
    uid: u32,
    share: Arc<Share>,
}

/// Room that a request takes, until this is dropped.
#[derive(Debug, Default)]
pub struct RequestRoom {
    _user: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

/// Bytes of an answer that its client has not taken yet.
#[derive(Debug)]
pub struct Unread {
    share: Arc<Share>,
    bytes: usize,
}

/// Why there is no place for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// Connections of this user, or of all, that are open.
    pub open: usize,
    /// Whether these are the user's own.
    pub own: bool,
}

impl Default for Callers {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(REQUESTS / 2));
        Self { users: Mutex::default(), requests: [room(), room()] }
    }
}

impl Callers {
    /// A place for one more connection of a user.
    pub fn place(self: &Arc<Self>, uid: u32) -> Result<ConnectionPlace, NoPlace> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let own = users.get(&uid).map_or(0, |user| user.connections);
        let all: usize = users.values().map(|user| user.connections).sum();
        let others = all - users.get(&ROOT).map_or(0, |root| root.connections);
        if uid != ROOT && own >= CONNECTIONS_OF_A_USER {
            return Err(NoPlace { open: own, own: true });
        }
        if all >= CONNECTIONS || uid != ROOT && others >= CONNECTIONS_OF_OTHERS {
            return Err(NoPlace { open: all, own: false });
        }
        let user = users.entry(uid).or_insert_with(|| User { connections: 0, share: Arc::default() });
        user.connections += 1;
        Ok(ConnectionPlace { callers: Arc::clone(self), uid, share: Arc::clone(&user.share) })
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
    /// Waits until there is room for a request of so many bytes.
    pub async fn room(&self, bytes: usize) -> RequestRoom {
        if bytes <= SMALL_REQUEST {
            return RequestRoom::default();
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let all = &self.callers.requests[usize::from(self.uid == ROOT)];
        // Neither is ever closed.
        let _user = Arc::clone(&self.share.requests).acquire_many_owned(bytes).await.ok();
        let _all = Arc::clone(all).acquire_many_owned(bytes).await.ok();
        RequestRoom { _user, _all }
    }

    /// Waits until this user has read enough of the answers that it has.
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

    /// Nothing unread yet.
    pub fn unread(&self) -> Unread {
        Unread { share: Arc::clone(&self.share), bytes: 0 }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut users = self.callers.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get_mut(&self.uid) {
            user.connections -= 1;
            if user.connections == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

impl Unread {
    /// So many bytes wait now.
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
    fn one_user_takes_no_place_of_another_and_nobody_those_of_root() {
        let callers = Arc::new(Callers::default());
        let mut places: Vec<_> = (0..CONNECTIONS_OF_A_USER).map(|_| callers.place(1000).unwrap()).collect();
        assert_eq!(callers.place(1000).unwrap_err(), NoPlace { open: CONNECTIONS_OF_A_USER, own: true });
        for uid in 2000..u32::MAX {
            match callers.place(uid) {
                Ok(place) => places.push(place),
                Err(full) => {
                    assert_eq!(full, NoPlace { open: CONNECTIONS_OF_OTHERS, own: false });
                    break;
                }
            }
        }
        places.extend((CONNECTIONS_OF_OTHERS..CONNECTIONS).map(|_| callers.place(ROOT).unwrap()));
        assert_eq!(callers.place(ROOT).unwrap_err(), NoPlace { open: CONNECTIONS, own: false });
        drop(places);
        assert!(callers.place(1000).is_ok());
        assert!(callers.users.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn large_requests_of_one_user_wait_for_each_other_and_no_others_for_them() {
        let callers = Arc::new(Callers::default());
        let (one, other) = (callers.place(1000).unwrap(), callers.place(2000).unwrap());
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
        let (one, other) = (callers.place(1000).unwrap(), callers.place(2000).unwrap());
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
