use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct RegistrySlot<'a> {
    table: &'a Turns,
    name: String,
    place: Option<OwnedSemaphorePermit>,
}

pub(crate) type Turns = Mutex<HashMap<String, Arc<Semaphore>>>;

impl<'a> RegistrySlot<'a> {
    pub(crate) async fn take(table: &'a Turns, name: String, places: usize) -> Self {
        // Created before the wait, so that a cancelled wait cleans up too.
        let mut turn = Self { table, name: name.clone(), place: None };
        let places = {
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(name).or_insert_with(|| Arc::new(Semaphore::new(places))))
        };
        turn.place = places.acquire_owned().await.ok();
        turn
    }
}

impl Drop for RegistrySlot<'_> {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        self.place = None;
        if table.get(&self.name).is_some_and(|places| Arc::strong_count(places) == 1) {
            table.remove(&self.name);
        }
    }
}
