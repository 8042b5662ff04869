//! Programs and links that running calls are about to make: calls at the same time would each see room for their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_model::Owner;
use bpfmand_engine::OwnedCounts;

#[derive(Debug, Default)]
pub(crate) struct Reservations(Mutex<BTreeMap<Owner, OwnedCounts>>);

#[derive(Debug)]
pub(crate) struct ReservedPlaces {
    all: Arc<Reservations>,
    owner: Owner,
    counts: OwnedCounts,
}

/// All reserved places of a call. A change holds a copy: it goes on after its client has gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallPlaces(Arc<Mutex<Vec<ReservedPlaces>>>);

impl CallPlaces {
    pub(crate) fn hold(&self, places: ReservedPlaces) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(places);
    }
}

impl Reservations {
    /// Reserves places if `check` accepts the sum of those that the owner has and those that it is about to make.
    pub(crate) fn reserve<E>(
        self: &Arc<Self>,
        owner: &Owner,
        counts: OwnedCounts,
        has: impl FnOnce() -> OwnedCounts,
        check: impl FnOnce(OwnedCounts) -> Result<(), E>,
    ) -> Result<ReservedPlaces, E> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = all.get(owner).copied().unwrap_or_default();
        let has = has();
        check(OwnedCounts { programs: has.programs + reserved.programs, links: has.links + reserved.links })?;
        let entry = all.entry(owner.clone()).or_default();
        entry.programs += counts.programs;
        entry.links += counts.links;
        Ok(ReservedPlaces { all: Arc::clone(self), owner: owner.clone(), counts })
    }
}

impl Drop for ReservedPlaces {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(&self.owner) {
            entry.programs = entry.programs.saturating_sub(self.counts.programs);
            entry.links = entry.links.saturating_sub(self.counts.links);
            if *entry == OwnedCounts::default() {
                all.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_calls_at_the_same_time_add_up() {
        let all = Arc::new(Reservations::default());
        let owner = Owner::User(7);
        let one = OwnedCounts { programs: 1, links: 0 };
        let reserve = |owner: &Owner| {
            let within = |sum: OwnedCounts| if sum.programs < 3 { Ok(()) } else { Err(sum.programs) };
            all.reserve(owner, one, || one, within)
        };
        let (first, second) = (reserve(&owner).unwrap(), reserve(&owner).unwrap());
        assert_eq!(reserve(&owner).unwrap_err(), 3);
        assert!(reserve(&Owner::User(8)).is_ok());
        drop(first);
        drop(reserve(&owner).unwrap());
        drop(second);
        assert_eq!(*all.0.lock().unwrap(), BTreeMap::new());
    }
}
