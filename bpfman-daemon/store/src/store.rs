//! Handle of a store: callers that wait at the same time share one durable write.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::batch::MAX_SHARED;
use crate::engine::{StorageError, panic_text};
use crate::error::{CommitOutcome, StoreError};
use crate::ledger::Ledger;
use crate::lock::StateFolderLock;
use crate::{Batch, JournalEntry, Snapshot, StoreOptions};

/// Open store. Clones share it; dropping the last one closes it. All calls block, most of them on the disk.
///
/// The store has no thread: one of the callers waiting in [`commit`](Store::commit) writes for all that have arrived.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    queue: Mutex<Queue>,
    turn_over: Condvar,
    // Declared before the lock: the database closes before another process may open it.
    ledger: Mutex<Ledger>,
    _lock: StateFolderLock,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    waiting: VecDeque<(u64, Batch)>,
    busy: bool,
    done: HashMap<u64, Result<(), StoreError>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store: creates missing files, checks existing ones, and migrates them. The folder stays locked.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        let folder = options.folder().to_owned();
        crate::durable::make_folder(&folder)?;
        let lock = StateFolderLock::take(&folder)?;
        let ledger = Mutex::new(Ledger::open(options)?);
        let shared =
            Shared { folder, queue: Mutex::default(), turn_over: Condvar::new(), ledger, _lock: lock };
        Ok(Store { shared: Arc::new(shared) })
    }

    /// Makes the batch durable before it returns `Ok`. [`StoreError::NotSaved`] has the state found on disk.
    pub fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        batch.check()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back((ticket, batch));
        loop {
            if let Some(outcome) = queue.done.remove(&ticket) {
                return outcome;
            }
            if queue.busy {
                queue = self.shared.turn_over.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.busy = true;
            let group = take_group(&mut queue.waiting);
            drop(queue);
            let outcome = self.write(&group);
            queue = self.queue();
            queue.busy = false;
            queue.done.extend(group.into_iter().map(|(ticket, _)| (ticket, outcome.clone())));
            self.shared.turn_over.notify_all();
        }
    }

    /// Returns all records, each checked.
    pub fn load(&self) -> Result<Snapshot, StoreError> {
        self.ledger().load()
    }

    /// Returns up to `limit` journal entries, oldest first, from number `from` on or from the oldest one.
    pub fn journal(&self, from: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.ledger().journal(from, limit)
    }

    /// Returns the numbers of the journal entries.
    pub fn journal_range(&self) -> Range<u64> {
        self.ledger().journal_range()
    }

    /// Durably removes the oldest journal entries until `keep` are left.
    pub fn trim_journal(&self, keep: u64) -> Result<(), StoreError> {
        self.ledger()
            .commit(&[], Some(keep))
            .map_err(|(outcome, source)| StoreError::NotSaved { outcome, source })
    }

    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    fn write(&self, group: &[(u64, Batch)]) -> Result<(), StoreError> {
        let batches: Vec<&Batch> = group.iter().map(|(_, batch)| batch).collect();
        // The engines catch panics of their libraries. After another one, waiting callers must still get an answer.
        let written = catch_unwind(AssertUnwindSafe(|| self.ledger().commit(&batches, None)));
        let failure = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failure,
            Err(panic) => {
                self.ledger().distrust();
                let message = panic_text(&*panic);
                let path = self.shared.folder.clone();
                (
                    CommitOutcome::Unknown,
                    Arc::new(StorageError::Panicked { doing: "committing to", path, message }),
                )
            }
        };
        let (outcome, source) = failure;
        Err(StoreError::NotSaved { outcome, source })
    }

    // A panic cannot leave these plain collections inconsistent, so a poisoned lock is usable.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the oldest batches that fit into one commit, but at least one.
fn take_group(waiting: &mut VecDeque<(u64, Batch)>) -> Vec<(u64, Batch)> {
    let mut size = 0;
    let fit = waiting.iter().take_while(|(_, batch)| {
        size += batch.size();
        size <= MAX_SHARED
    });
    let count = fit.count().max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

#[cfg(test)]
mod tests;
