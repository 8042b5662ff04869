//! Streams that report changes: their limits, the namespaces that they follow, and their end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tonic::Status;

use crate::places::{ReadingBounds, ReadingPlace, ReadingPlaces};
use crate::status;

/// Limits of concurrent streams: each has a thread of its own while it lasts.
const WATCH_STREAMS: ReadingBounds = ReadingBounds { most: 64, most_of_one: 16, working: 64 };

/// Maximum number of namespaces that a user's streams follow, except root's: each costs a socket and a list of interfaces.
const MAX_NAMESPACES_OF_A_USER: usize = 2000;

#[derive(Debug)]
pub(crate) struct Watchers {
    places: Arc<ReadingPlaces>,
    namespaces: Mutex<BTreeMap<u32, usize>>,
    ended: watch::Sender<bool>,
}

impl Default for Watchers {
    fn default() -> Self {
        let places = ReadingPlaces::new("streams of changes", WATCH_STREAMS);
        Self { places: Arc::new(places), namespaces: Mutex::default(), ended: watch::Sender::new(false) }
    }
}

impl Watchers {
    pub fn enter(&self, uid: u32) -> Result<ReadingPlace, Status> {
        self.places.enter(uid)
    }

    /// Counts the namespaces of one more stream of a user, until the returned value is dropped.
    pub fn follow(self: &Arc<Self>, uid: u32, count: usize) -> Result<FollowedNamespaces, Status> {
        let mut namespaces = self.followed();
        let before = namespaces.get(&uid).copied().unwrap_or(0);
        if uid != 0 && before + count > MAX_NAMESPACES_OF_A_USER {
            return Err(status::busy(format!(
                "streams of user {uid} follow {before} network namespaces, and {count} more are asked for: at most \
                 {MAX_NAMESPACES_OF_A_USER} are followed for one user; end a stream first"
            )));
        }
        namespaces.insert(uid, before + count);
        Ok(FollowedNamespaces { watchers: Arc::clone(self), uid, count })
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all streams, those that begin later too.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut ended = self.ended.subscribe();
        async move {
            // The sender is dropped with the daemon.
            let _gone = ended.wait_for(|ended| *ended).await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct FollowedNamespaces {
    watchers: Arc<Watchers>,
    uid: u32,
    count: usize,
}

impl Drop for FollowedNamespaces {
    fn drop(&mut self) {
        let mut namespaces = self.watchers.followed();
        match namespaces.get_mut(&self.uid) {
            Some(followed) if *followed > self.count => *followed -= self.count,
            _ => drop(namespaces.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
#[test]
fn streams_of_one_user_follow_so_many_namespaces_together() {
    let watchers = Arc::<Watchers>::default();
    let mut streams: Vec<_> = (0..2).map(|_| watchers.follow(1000, 1000).unwrap()).collect();
    assert!(watchers.follow(1000, 1).unwrap_err().message().contains("follow 2000 network namespaces"));
    assert!(watchers.follow(1001, 1000).is_ok() && watchers.follow(1000, 0).is_ok());
    let _roots: Vec<_> = (0..9).map(|_| watchers.follow(0, 1000).unwrap()).collect();
    streams.pop();
    drop(watchers.follow(1000, 1000).unwrap());
    drop(streams);
    assert_eq!(watchers.followed().keys().collect::<Vec<_>>(), [&0], "nothing is kept of who has gone");
}
