//! Places of those who read for long: few in all, and fewer of one user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use crate::status;

/// Places of one kind, and who has them.
#[derive(Debug)]
pub struct ReadingPlaces {
    taken: Mutex<BTreeMap<u32, usize>>,
    /// What is being read.
    what: &'static str,
    /// The most at the same time, of all callers and of one.
    most: usize,
    most_of_one: usize,
}

/// One place, which is free again when it is dropped.
#[derive(Debug)]
pub struct ReadingPlace {
    places: Arc<ReadingPlaces>,
    uid: u32,
}

impl ReadingPlaces {
    /// None of them taken.
    pub fn new(what: &'static str, most: usize, most_of_one: usize) -> Self {
        Self { taken: Mutex::default(), what, most, most_of_one }
    }

    /// Takes one for a user.
    ///
    /// # Errors
    /// All are taken, or all that one user may have.
    pub fn enter(self: &Arc<Self>, uid: u32) -> Result<ReadingPlace, Status> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&uid).copied().unwrap_or(0));
        let Self { what, most, most_of_one, .. } = **self;
        if own >= most_of_one || all >= most {
            return Err(status::busy(format!(
                "{all} {what} are being read, {own} of them by user {uid}: at most {most} are at the same time, and \
                 {most_of_one} by one user; try again"
            )));
        }
        taken.insert(uid, own + 1);
        Ok(ReadingPlace { places: Arc::clone(self), uid })
    }
}

impl Drop for ReadingPlace {
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

    #[test]
    fn a_user_has_few_places_and_all_together_have_not_many_more() {
        let all = Arc::new(ReadingPlaces::new("maps", 4, 2));
        let mut places: Vec<_> = (0..2).map(|_| all.enter(7).unwrap()).collect();
        let refused = all.enter(7).unwrap_err();
        assert!(refused.message().contains("2 maps are being read, 2 of them by user 7"), "{refused}");
        places.extend((0..2).map(|_| all.enter(8).unwrap()));
        assert!(all.enter(9).is_err());
        drop(places);
        assert!(all.enter(9).is_ok());
        assert!(all.taken.lock().unwrap().is_empty());
    }
}
