//! Objects received from watches. An object that a new list lacks is removed when the list is complete.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeFrom;

use kube::runtime::watcher::Event;

/// Objects by key, from one or several watches.
#[derive(Debug)]
pub struct Listing<K, V, const WATCHES: usize = 1> {
    objects: BTreeMap<K, Kept<V>>,
    rounds: [(u32, bool); WATCHES],
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    watch: u8,
    round: u32,
}

/// Change caused by an event.
#[derive(Debug, PartialEq, Eq)]
pub enum ListingChange<O, K, V> {
    /// The event has an object, which the caller stores with [`Listing::put`].
    Present(O),
    /// Stored objects that were removed; often none.
    Gone(Vec<(K, V)>),
}

impl<K, V, const WATCHES: usize> Default for Listing<K, V, WATCHES> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), rounds: [(0, false); WATCHES] }
    }
}

impl<K: Clone + Ord, V, const WATCHES: usize> Listing<K, V, WATCHES> {
    /// Processes an event of a watch; `key` returns the key of an object.
    pub fn take<O>(
        &mut self,
        watch: usize,
        event: Event<O>,
        key: impl Fn(O) -> Option<K>,
    ) -> ListingChange<O, K, V> {
        match event {
            Event::Init => self.rounds[watch].0 += 1,
            Event::InitDone => {
                self.rounds[watch].1 = true;
                let round = self.rounds[watch].0;
                let gone = self
                    .objects
                    .extract_if(.., |_, kept| usize::from(kept.watch) == watch && kept.round != round);
                return ListingChange::Gone(gone.map(|(key, kept)| (key, kept.value)).collect());
            }
            Event::Apply(object) | Event::InitApply(object) => return ListingChange::Present(object),
            Event::Delete(object) => {
                let gone = key(object).and_then(|key| Some((key.clone(), self.remove(&key)?)));
                return ListingChange::Gone(gone.into_iter().collect());
            }
        }
        ListingChange::Gone(Vec::new())
    }

    /// Stores an object. Returns the one that it replaces.
    pub fn put(&mut self, watch: usize, key: K, value: V) -> Option<V> {
        let kept = Kept { value, watch: watch as u8, round: self.rounds[watch].0 };
        self.objects.insert(key, kept).map(|kept| kept.value)
    }

    /// Marks an object as contained in the current list, and returns it for changes in place.
    pub fn seen<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let kept = self.objects.get_mut(key)?;
        kept.round = self.rounds[usize::from(kept.watch)].0;
        Some(&mut kept.value)
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.objects.remove(key).map(|kept| kept.value)
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.objects.get(key).map(|kept| &kept.value)
    }

    /// Returns all objects with their keys, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.objects.iter().map(|(key, kept)| (key, &kept.value))
    }

    /// Returns all objects from a key on, in key order.
    pub fn from(&self, range: RangeFrom<K>) -> impl Iterator<Item = (&K, &V)> {
        self.objects.range(range).map(|(key, kept)| (key, &kept.value))
    }

    /// Returns all objects, in key order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.objects.values().map(|kept| &kept.value)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Returns whether every watch has been listed completely once. Before that, a missing object proves nothing.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.rounds.iter().all(|(_, complete)| *complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(listing: &mut Listing<char, (), 2>, watch: usize, event: Event<char>) -> Vec<char> {
        match listing.take(watch, event, Some) {
            ListingChange::Present(object) => {
                listing.put(watch, object, ());
                Vec::new()
            }
            ListingChange::Gone(gone) => gone.into_iter().map(|(key, ())| key).collect(),
        }
    }

    #[test]
    fn object_missing_in_a_complete_list_is_gone_for_its_watch_only() {
        let mut listing = Listing::default();
        for (watch, event) in
            [(0, Event::Init), (0, Event::InitApply('a')), (0, Event::InitApply('b')), (0, Event::InitDone)]
        {
            assert_eq!(take(&mut listing, watch, event), []);
        }
        assert!(!listing.complete(), "the other one was not listed");
        assert_eq!(take(&mut listing, 1, Event::Init), []);
        assert_eq!(take(&mut listing, 1, Event::InitDone), []);
        assert!(listing.complete() && listing.len() == 2);
        assert_eq!(take(&mut listing, 0, Event::Init), []);
        assert_eq!(take(&mut listing, 0, Event::InitApply('b')), []);
        assert!(listing.get(&'a').is_some(), "the list is not complete yet");
        assert_eq!(take(&mut listing, 0, Event::InitDone), ['a']);
        assert_eq!(take(&mut listing, 0, Event::Delete('b')), ['b']);
        assert!(listing.is_empty());
    }

    #[test]
    fn object_that_is_listed_again_stays() {
        let mut listing: Listing<char, u8> = Listing::default();
        listing.put(0, 'a', 1);
        _ = listing.take(0, Event::<char>::Init, Some);
        assert_eq!(listing.seen(&'a').copied(), Some(1));
        assert_eq!(listing.take(0, Event::<char>::InitDone, Some), ListingChange::Gone(Vec::new()));
    }
}
