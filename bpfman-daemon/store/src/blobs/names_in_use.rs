use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::blob_id::BlobId;

/// Names of files that are being written, each by one thread at a time.
#[derive(Debug, Default)]
pub struct NamesInUse {
    names: Mutex<BTreeSet<BlobId>>,
    released: Condvar,
}

/// A name, released on drop.
pub struct NameInUse<'n> {
    all: &'n NamesInUse,
    name: BlobId,
}

impl NamesInUse {
    /// Waits until no other thread uses the name.
    pub fn take(&self, name: &BlobId) -> NameInUse<'_> {
        let mut names = self.lock();
        while names.contains(name) {
            names = self.released.wait(names).unwrap_or_else(PoisonError::into_inner);
        }
        names.insert(name.clone());
        NameInUse { all: self, name: name.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<BlobId>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for NameInUse<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
        self.all.released.notify_all();
    }
}
