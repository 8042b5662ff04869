//! Connection limits, per client and in total.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of connections of all clients; a privileged client may exceed it.
pub const MAX_CONNECTIONS: usize = 32;
pub const MAX_OF_ONE: usize = 4;

#[derive(Debug)]
pub struct Places<Reader>(Mutex<HashMap<Reader, usize>>);

impl<Reader> Default for Places<Reader> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

pub struct ReaderPlace<Reader: Eq + Hash> {
    places: Arc<Places<Reader>>,
    reader: Reader,
}

impl<Reader: Eq + Hash + Clone> Places<Reader> {
    /// Returns a slot; `None` if there are too many connections. With `is_always_let_in`, only the client's limit
    /// applies.
    pub fn take(self: &Arc<Self>, reader: &Reader, is_always_let_in: bool) -> Option<ReaderPlace<Reader>> {
        let mut taken = self.taken();
        let all: usize = taken.values().sum();
        let own = taken.get(reader).copied().unwrap_or(0);
        if own >= MAX_OF_ONE || all >= MAX_CONNECTIONS && !is_always_let_in {
            return None;
        }
        taken.insert(reader.clone(), own + 1);
        Some(ReaderPlace { places: Arc::clone(self), reader: reader.clone() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Reader, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Reader: Eq + Hash> Drop for ReaderPlace<Reader> {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.reader) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.reader);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_connections_protect_others_and_root() {
        let places = Arc::new(Places::default());
        let mut held: Vec<_> = (0..MAX_OF_ONE).filter_map(|_| places.take(&1000, false)).collect();
        assert_eq!(held.len(), MAX_OF_ONE);
        assert!(places.take(&1000, false).is_none());
        held.extend((2000..).map_while(|reader| places.take(&reader, false)));
        assert_eq!(held.len(), MAX_CONNECTIONS);
        let _of_root = places.take(&0, true).unwrap_or_else(|| unreachable!("root is let in"));
        drop(held);
        assert_eq!(places.taken().len(), 1);
    }
}
