//! The single owner of the engine: converts batches into changes, and maintains the checksums that reveal damage.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::acknowledged::AcknowledgedFile;
use crate::digest::{seal, unseal};
use crate::engine::{EngineWrite, StorageEngine, StorageError};
use crate::error::{CommitOutcome, StoreError};
use crate::options::{OpenEngine, StoreOptions};
use crate::record::{STATE_KEY, StoreState, journal_key, record_key};
use crate::{Batch, JournalEntry, Snapshot, durable};

mod check;
mod migrate;

pub(crate) struct Ledger {
    folder: PathBuf,
    open: OpenEngine,
    files: Option<PathBuf>,
    /// `None` after a failure, until the database was reopened and checked.
    engine: Option<Box<dyn StorageEngine>>,
    acknowledged: AcknowledgedFile,
    /// State as of the last acknowledged commit, or of the last time the database was opened.
    state: StoreState,
    journal_limit: u64,
}

type Failure = (CommitOutcome, Arc<StorageError>);

impl Ledger {
    pub(crate) fn open(options: StoreOptions) -> Result<Ledger, StoreError> {
        let StoreOptions { folder, engine: kind, open, schema, migrations, journal_limit } = options;
        durable::make_folder(&folder)?;
        let synced = kind.number_must_be_synced();
        let noted = AcknowledgedFile::open(&folder, synced)?;
        let files = open.is_none().then(|| kind.path(&folder));
        if let Some(files) = &files {
            migrate::refuse_other_engine(&folder, kind)?;
            if let Some((_, acknowledged)) = noted
                && acknowledged > 0
                && !files.exists()
            {
                return Err(StoreError::LostCommits { folder, found: 0, acknowledged });
            }
        }
        let path = folder.clone();
        let mut open = open.unwrap_or_else(|| Box::new(move || kind.open(&path)));
        let engine = open()?;
        let found = check::read_all(&folder, &*engine, None)?;
        if found.is_none() {
            durable::sync_ancestors(&folder);
        }
        let (acknowledged, state) = match (noted, found) {
            (Some((_, acknowledged)), found) if found.is_none_or(|state| state.number < acknowledged) => {
                let found = found.map_or(0, |state| state.number);
                if found < acknowledged {
                    return Err(StoreError::LostCommits { folder, found, acknowledged });
                }
                (AcknowledgedFile::create(&folder, 0, synced)?, None)
            }
            (Some((acknowledged, _)), found) => (acknowledged, found),
            (None, None) => (AcknowledgedFile::create(&folder, 0, synced)?, None),
            (None, Some(state)) => {
                // The store never removes the file: an administrator did, to continue after a loss or unaware of it.
                tracing::warn!(folder = %folder.display(), commit = state.number, "the file `acknowledged` is missing; going on with what the store holds");
                (AcknowledgedFile::create(&folder, state.number, synced)?, Some(state))
            }
        };
        let mut ledger = Ledger {
            folder,
            open,
            files,
            engine: Some(engine),
            acknowledged,
            state: state.unwrap_or(StoreState { schema, ..StoreState::default() }),
            journal_limit,
        };
        match state {
            None => ledger.commit(&[], None).map_err(not_saved)?,
            Some(_) => ledger.migrate(schema, migrations)?,
        }
        Ok(ledger)
    }

    /// Applies all batches as one durable step; `trim_to` limits the number of journal entries.
    pub(crate) fn commit(&mut self, batches: &[&Batch], trim_to: Option<u64>) -> Result<(), Failure> {
        self.ensure_open().map_err(|error| (CommitOutcome::Unknown, engine_part(error)))?;
        let (next, changes) =
            self.plan(batches, trim_to).map_err(|error| self.failed(self.state.number + 1, error))?;
        // Checked before the commit, and again after it, since its writes may not have reached the disk.
        durable::refuse_read_only(&self.folder)
            .map_err(|error| (CommitOutcome::NotApplied, Arc::new(error)))?;
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let written = engine
            .commit(&changes)
            .and_then(|()| self.acknowledged.record(next.number))
            .and_then(|()| durable::refuse_read_only(&self.folder));
        match written {
            Ok(()) => {
                self.state = next;
                Ok(())
            }
            Err(error) => Err(self.failed(next.number, error)),
        }
    }

    fn plan(
        &self,
        batches: &[&Batch],
        trim_to: Option<u64>,
    ) -> Result<(StoreState, Vec<EngineWrite>), StorageError> {
        let mut next = StoreState { number: self.state.number + 1, ..self.state };
        let mut records: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        let mut entries: Vec<EngineWrite> = Vec::new();
        for batch in batches {
            for change in &batch.changes {
                let key = record_key(change.table.0, &change.key);
                let value = change.value.clone().map(|value| seal(&key, value));
                records.insert(key, value);
            }
            for entry in &batch.journal {
                let key = journal_key(next.journal_next);
                let value = seal(&key, entry.clone());
                entries.push((key, Some(value)));
                next.journal_next += 1;
            }
        }
        for (key, value) in &records {
            if let Some(old) = self.engine()?.read(key)? {
                // A damaged value must not corrupt the digest as well.
                unseal(key, &old).ok_or_else(|| self.changed(key))?;
                next.digest.remove(&old);
            }
            if let Some(new) = value {
                next.digest.add(new);
            }
        }
        let keep = trim_to.unwrap_or(u64::MAX).min(self.journal_limit);
        let first = next.journal_first.max(next.journal_next.saturating_sub(keep));
        entries.retain(|(key, _)| *key >= journal_key(first));
        let trimmed = next.journal_first..first.min(self.state.journal_next);
        let mut changes: Vec<EngineWrite> = trimmed.map(|number| (journal_key(number), None)).collect();
        next.journal_first = first;
        changes.append(&mut entries);
        changes.push((STATE_KEY.to_vec(), Some(seal(STATE_KEY, next.to_bytes()))));
        changes.extend(records);
        Ok((next, changes))
    }

    fn changed(&self, key: &[u8]) -> StorageError {
        let why = format!("the record at {} was changed", key.escape_ascii());
        StorageError::Damaged { path: self.folder.clone(), why }
    }

    /// Reads the database back: after an I/O error, neither library nor caller knows the disk's contents.
    fn failed(&mut self, attempted: u64, error: StorageError) -> Failure {
        self.engine = None;
        let outcome = match self.ensure_open() {
            Ok(()) if self.state.number == attempted => CommitOutcome::Applied,
            Ok(()) => CommitOutcome::NotApplied,
            Err(again) => {
                tracing::error!(error = %again, "the store could not be opened again after a failed commit");
                CommitOutcome::Unknown
            }
        };
        (outcome, Arc::new(error))
    }

    /// Closes the database: the next call reads it back from disk.
    pub(crate) fn distrust(&mut self) {
        self.engine = None;
    }

    fn engine(&self) -> Result<&dyn StorageEngine, StorageError> {
        self.engine.as_deref().ok_or_else(|| StorageError::Refused {
            doing: "using",
            path: self.folder.clone(),
            why: "it is closed after an error".into(),
        })
    }

    fn ensure_open(&mut self) -> Result<(), StoreError> {
        if self.engine.is_some() {
            return Ok(());
        }
        if let Some(files) = self.files.as_deref().filter(|files| files.exists()) {
            durable::write_again(files)?;
        }
        let engine = (self.open)()?;
        let found = check::read_all(&self.folder, &*engine, None)?;
        let number = found.map_or(0, |state| state.number);
        match found {
            Some(state) if number >= self.state.number => self.state = state,
            _ => {
                let acknowledged = self.state.number;
                return Err(StoreError::LostCommits {
                    folder: self.folder.clone(),
                    found: number,
                    acknowledged,
                });
            }
        }
        self.engine = Some(engine);
        Ok(())
    }

    pub(crate) fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.ensure_open()?;
        let mut snapshot = Snapshot { schema: self.state.schema, ..Snapshot::default() };
        let read = check::read_all(&self.folder, self.engine()?, Some(&mut snapshot));
        if read.is_err() {
            self.engine = None;
        }
        read.map(|_| snapshot)
    }

    pub(crate) fn journal(&mut self, from: u64, limit: usize) -> Result<Vec<JournalEntry>, StoreError> {
        self.ensure_open()?;
        let first = from.max(self.state.journal_first);
        let mut entries = Vec::new();
        let mut damaged = None;
        let (start, end) = (journal_key(first), journal_key(self.state.journal_next));
        if start < end && limit > 0 {
            self.engine()?.scan(&start, &end, &mut |key, stored| {
                let number = first + entries.len() as u64;
                match unseal(key, stored) {
                    Some(entry) if key == journal_key(number) => {
                        entries.push(JournalEntry { number, entry: entry.to_vec() });
                        if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                    }
                    _ => {
                        damaged = Some(number);
                        ControlFlow::Break(())
                    }
                }
            })?;
        }
        match damaged {
            None => Ok(entries),
            Some(number) => Err(StoreError::Damaged {
                folder: self.folder.clone(),
                why: format!("journal entry {number} is missing or was changed"),
            }),
        }
    }

    pub(crate) fn journal_range(&self) -> std::ops::Range<u64> {
        self.state.journal_first..self.state.journal_next
    }
}

fn not_saved((outcome, source): Failure) -> StoreError {
    StoreError::NotSaved { outcome, source }
}

fn engine_part(error: StoreError) -> Arc<StorageError> {
    match error {
        StoreError::Engine(error) => error,
        StoreError::LostCommits { ref folder, .. } | StoreError::Damaged { ref folder, .. } => {
            Arc::new(StorageError::Damaged { path: folder.clone(), why: error.to_string() })
        }
        other => {
            Arc::new(StorageError::Refused { doing: "opening", path: PathBuf::new(), why: other.to_string() })
        }
    }
}
