//! Programs and links that running calls are about to make: concurrent calls together must keep the limits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_model::Owner;
use bpfmand_engine::{OwnedCounts, ReservedObjects};

#[derive(Debug, Default)]
pub(crate) struct Reservations(Mutex<BTreeMap<Owner, OwnedCounts>>);

#[derive(Debug)]
pub(crate) struct ReservedPlaces {
    all: Arc<Reservations>,
    owner: Owner,
    counts: OwnedCounts,
}

/// All reserved places of a call. A change holds a copy, because it continues after its client has disconnected.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallPlaces(Arc<Mutex<Vec<ReservedPlaces>>>);

impl CallPlaces {
    fn lock(&self) -> MutexGuard<'_, Vec<ReservedPlaces>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hold(&self, places: ReservedPlaces) {
        self.lock().push(places);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl ReservedObjects for CallPlaces {
    fn owners(&self) -> Vec<Owner> {
        self.lock().iter().map(|places| places.owner.clone()).collect()
    }

    fn recorded(&self, owner: &Owner, more: OwnedCounts) {
        if let Some(places) = self.lock().iter_mut().find(|places| places.owner == *owner) {
            places.give_back(more);
        }
    }
}

impl ReservedPlaces {
    fn give_back(&mut self, counts: OwnedCounts) {
        let programs = counts.programs.min(self.counts.programs);
        let links = counts.links.min(self.counts.links);
        self.counts.programs -= programs;
        self.counts.links -= links;
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = all.get_mut(&self.owner) {
            entry.programs = entry.programs.saturating_sub(programs);
            entry.links = entry.links.saturating_sub(links);
            if *entry == OwnedCounts::default() {
                all.remove(&self.owner);
            }
        }
    }
}

impl Reservations {
    /// Reserves places if `check` accepts those that running calls of the owner are about to make.
    pub(crate) fn reserve<E>(
        self: &Arc<Self>,
        owner: &Owner,
        counts: OwnedCounts,
        check: impl FnOnce(OwnedCounts) -> Result<(), E>,
    ) -> Result<ReservedPlaces, E> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        check(all.get(owner).copied().unwrap_or_default())?;
        let entry = all.entry(owner.clone()).or_default();
        entry.programs += counts.programs;
        entry.links += counts.links;
        Ok(ReservedPlaces { all: Arc::clone(self), owner: owner.clone(), counts })
    }
}

impl Drop for ReservedPlaces {
    fn drop(&mut self) {
        self.give_back(self.counts);
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
            let within = |sum: OwnedCounts| if sum.programs < 2 { Ok(()) } else { Err(sum.programs) };
            all.reserve(owner, one, within)
        };
        let (first, second) = (reserve(&owner).unwrap(), reserve(&owner).unwrap());
        assert_eq!(reserve(&owner).unwrap_err(), 2);
        assert!(reserve(&Owner::User(8)).is_ok());
        drop(first);
        drop(reserve(&owner).unwrap());
        let call = CallPlaces::default();
        call.hold(second);
        call.recorded(&Owner::User(8), one);
        assert!(!all.0.lock().unwrap().is_empty());
        call.recorded(&owner, OwnedCounts { programs: 9, links: 9 });
        assert_eq!(*all.0.lock().unwrap(), BTreeMap::new(), "recorded places are counted where they are");
        drop(call);
        assert_eq!(*all.0.lock().unwrap(), BTreeMap::new());
    }
}
