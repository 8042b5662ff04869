//! Slots by name: one load per repository, a few per registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Slot: the right to pull from a repository, or to use a registry.
pub(crate) struct RegistrySlot<'a> {
    table: &'a Turns,
    name: String,
    place: Option<OwnedSemaphorePermit>,
}

/// Semaphores by name, kept while a load holds or waits for a slot.
pub(crate) type Turns = Mutex<HashMap<String, Arc<Semaphore>>>;

impl<'a> RegistrySlot<'a> {
    /// Waits for one of `places` slots.
    pub(crate) async fn take(table: &'a Turns, name: String, places: usize) -> Self {
        // Created before the wait, so that a cancelled wait cleans up too.
        let mut turn = Self { table, name: name.clone(), place: None };
        let places = {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(name).or_insert_with(|| Arc::new(Semaphore::new(places))))
        };
        // The semaphore is never closed.
        turn.place = places.acquire_owned().await.ok();
        turn
    }
}

impl Drop for RegistrySlot<'_> {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.place = None;
        // A count of one means that only the table holds the semaphore.
        if table.get(&self.name).is_some_and(|places| Arc::strong_count(places) == 1) {
            table.remove(&self.name);
        }
    }
}
