//! Places of long-running readers: few in total, fewer per user, and some reserved for root.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::status;

#[derive(Clone, Copy, Debug)]
pub struct ReadingBounds {
    pub most: usize,
    /// Maximum for one user other than root.
    pub most_of_one: usize,
    /// Maximum number of readers that work at once. Other threads stay free for calls that only read.
    pub working: usize,
}

#[derive(Debug)]
pub struct ReadingPlaces {
    taken: Mutex<BTreeMap<u32, usize>>,
    what: &'static str,
    bounds: ReadingBounds,
    working: Arc<Semaphore>,
}

/// Place that is free once all copies are dropped. Each task of a reader has a copy, also after a disconnect.
#[derive(Clone, Debug)]
pub struct ReadingPlace(Arc<AcquiredPlace>);

#[derive(Debug)]
struct AcquiredPlace {
    places: Arc<ReadingPlaces>,
    uid: u32,
}

/// Permission to work now, with the reader's place. The working thread holds it.
#[derive(Debug)]
pub struct ReadingTurn {
    _turn: OwnedSemaphorePermit,
    _place: ReadingPlace,
}

impl ReadingPlaces {
    pub fn new(what: &'static str, bounds: ReadingBounds) -> Self {
        let working = Arc::new(Semaphore::new(bounds.working));
        Self { taken: Mutex::default(), what, bounds, working }
    }

    /// Returns the number of places reserved for root: otherwise a few users together could lock it out.
    const fn reserved_for_root(&self) -> usize {
        self.bounds.most.div_ceil(8)
    }

    pub fn enter(self: &Arc<Self>, uid: u32) -> Result<ReadingPlace, Status> {
        let ReadingBounds { most, most_of_one, .. } = self.bounds;
        let what = self.what;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&uid).copied().unwrap_or(0));
        let refuse = |bound: String| {
            let found = format!("{all} {what} are being read, {own} of them by user {uid}");
            Err(status::busy(format!("{found}: {bound}; try again")))
        };
        if uid == 0 && all >= most {
            return refuse(format!("at most {most} are at the same time"));
        }
        let of_others = all - taken.get(&0).copied().unwrap_or(0);
        let most_of_others = most - self.reserved_for_root();
        if uid != 0 && (own >= most_of_one || of_others >= most_of_others || all >= most) {
            return refuse(format!(
                "at most {most} are at the same time, {most_of_others} of them by users other than root, and \
                 {most_of_one} by one user"
            ));
        }
        taken.insert(uid, own + 1);
        Ok(ReadingPlace(Arc::new(AcquiredPlace { places: Arc::clone(self), uid })))
    }
}

impl ReadingPlace {
    pub async fn turn(&self) -> Result<ReadingTurn, Status> {
        let places = &self.0.places;
        let ending = |_closed| Status::unavailable("the daemon is ending");
        let turn = Arc::clone(&places.working).acquire_owned().await.map_err(ending)?;
        Ok(ReadingTurn { _turn: turn, _place: self.clone() })
    }
}

impl Drop for AcquiredPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, most_of_one: usize, working: usize) -> Arc<ReadingPlaces> {
        Arc::new(ReadingPlaces::new("maps", ReadingBounds { most, most_of_one, working }))
    }

    #[test]
    fn a_user_has_few_places_and_all_together_have_not_many_more() {
        let all = places(5, 2, 1);
        let mut taken: Vec<_> = (0..2).map(|_| all.enter(7).unwrap()).collect();
        let refused = all.enter(7).unwrap_err();
        assert!(refused.message().contains("2 maps are being read, 2 of them by user 7"), "{refused}");
        taken.extend((0..2).map(|_| all.enter(8).unwrap()));
        assert!(all.enter(9).is_err());
        drop(taken);
        assert!(all.enter(9).is_ok());
        assert!(all.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn users_leave_places_for_root_and_root_may_take_all() {
        let all = places(16, 7, 1);
        let taken: Vec<_> =
            (1..=2).flat_map(|uid| (0..7).map(move |_| uid)).map(|uid| all.enter(uid).unwrap()).collect();
        assert!(all.enter(3).unwrap_err().message().contains("14 of them by users other than root"));
        let of_root: Vec<_> = (0..2).map(|_| all.enter(0).unwrap()).collect();
        assert!(all.enter(0).is_err(), "each place costs the daemon something, root's too");
        drop(taken);
        // Root has 10 of 16 places, others can have 6: the reserved places are not subtracted a second time.
        let more_of_root: Vec<_> = (0..8).map(|_| all.enter(0).unwrap()).collect();
        assert!((0..6).map(|_| all.enter(3)).collect::<Result<Vec<_>, _>>().is_ok());
        drop((of_root, more_of_root));
    }

    #[tokio::test]
    async fn abandoned_call_keeps_turn_and_place_until_it_ends() {
        let all = places(8, 1, 1);
        let place = all.enter(7).unwrap();
        let turn = place.turn().await.unwrap();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            wait.recv()
        });
        drop(place);
        assert!(all.enter(7).is_err(), "the thread still works for this user");
        assert_eq!(all.working.available_permits(), 0);
        go_on.send(()).unwrap();
        thread.await.unwrap().unwrap();
        assert_eq!(all.working.available_permits(), 1);
        assert!(all.enter(7).is_ok());
    }
}
