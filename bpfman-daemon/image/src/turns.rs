//! Places by name: one load a repository, a few a registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One of a few places, by name: the right to pull from a repository, or to ask a registry.
pub(crate) struct RegistrySlot<'a> {
    table: &'a Turns,
    name: String,
    place: Option<OwnedSemaphorePermit>,
}

/// Places by name, as long as somebody has or waits for one.
pub(crate) type Turns = Mutex<HashMap<String, Arc<Semaphore>>>;

impl<'a> RegistrySlot<'a> {
    /// Waits for one of so many places.
    pub(crate) async fn take(table: &'a Turns, name: String, places: usize) -> Self {
        // Made before the wait: whoever gives up waiting tidies up too.
        let mut turn = Self { table, name: name.clone(), place: None };
        let places = {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(name).or_insert_with(|| Arc::new(Semaphore::new(places))))
        };
        // None of them is ever closed.
        turn.place = places.acquire_owned().await.ok();
        turn
    }
}

impl Drop for RegistrySlot<'_> {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.place = None;
        // Two owners are the table and whoever has or waits for a place; one is the table alone.
        if table.get(&self.name).is_some_and(|places| Arc::strong_count(places) == 1) {
            table.remove(&self.name);
        }
    }
}
