//! Writer thread: numbers entries, writes pending ones at once, and reports them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::flood::Flood;
use crate::journal::{SharedJournalState, WriteCallback};
use crate::journald::Journald;
use crate::segments::Segments;
use crate::{DaemonPart, EntryResult, HistoryEntry, log_line};

const BATCH: usize = 64;
const TELL: Duration = Duration::from_secs(10);

pub(crate) struct QueuedEntry {
    pub entry: HistoryEntry,
    pub is_access: bool,
    pub written: Option<WriteCallback>,
}

pub(crate) struct Writer {
    pub changes: EntryFiles,
    pub accesses: EntryFiles,
    pub journald: Option<Journald>,
    pub shared: Arc<SharedJournalState>,
    pub flood: Arc<Mutex<Flood>>,
}

pub(crate) struct EntryFiles {
    pub files: Segments,
    gap: u64,
    failure: String,
}

impl EntryFiles {
    /// `failure` is the reason if the files are not open.
    pub const fn new(files: Segments, failure: String) -> Self {
        Self { files, gap: 0, failure }
    }

    /// Writes entries, after one about earlier losses. Returns the number lost now. `what` is for the log.
    fn write(&mut self, batch: &mut Vec<QueuedEntry>, what: &str) -> u64 {
        let had_gap = self.gap > 0;
        if had_gap {
            let object = format!("{} entries could not be written", self.gap);
            let entry = HistoryEntry::of_daemon(DaemonPart::Journal, "Gap", &object);
            batch.insert(0, QueuedEntry { entry, is_access: false, written: None });
        }
        let first = self.files.next();
        let lines = numbered(batch, first);
        let count = batch.len() as u64;
        match self.files.append(&lines, first, count) {
            Ok(()) => {
                self.files.count(count);
                if !self.failure.is_empty() {
                    tracing::info!("{what} are written to the journal again; {} entries are lost", self.gap);
                }
                self.failure.clear();
                self.gap = 0;
                0
            }
            Err(error) => {
                // The entry about the gap is neither lost nor logged: the next batch has another one. Other
                // entries keep their numbers in journald and the log: readers count losses by them.
                batch.drain(..usize::from(had_gap));
                numbered(batch, first);
                let lost = batch.len() as u64;
                self.files.count(lost);
                let why = error.to_string();
                if self.failure != why {
                    tracing::warn!(%error, "{what} have no entry in the journal");
                }
                self.failure = why;
                self.gap += lost;
                lost
            }
        }
    }
}

impl Writer {
    pub fn run(mut self, handed: &Receiver<QueuedEntry>) {
        loop {
            let first = match handed.recv_timeout(TELL) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch: Vec<QueuedEntry> = first.into_iter().collect();
            while batch.len() < BATCH {
                match handed.try_recv() {
                    Ok(next) => batch.push(next),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            batch.extend(self.suppressed());
            let (accesses, changes): (Vec<_>, Vec<_>) = batch.into_iter().partition(|one| one.is_access);
            if !changes.is_empty() {
                self.write(changes);
            }
            if !accesses.is_empty() {
                self.write_accesses(accesses);
            }
        }
        for entries in [&self.changes, &self.accesses] {
            if let Err(error) = entries.files.sync() {
                tracing::warn!(%error, "the journal may not be on disk");
            }
        }
    }

    fn suppressed(&self) -> Vec<QueuedEntry> {
        let counted = self.flood.lock().unwrap_or_else(PoisonError::into_inner).take_suppressed();
        let entry = |(uid, count): (Option<u32>, u64)| {
            let whose = uid.map_or_else(|| "of further users".to_owned(), |uid| format!("of user {uid}"));
            let object = format!("{count} refusals {whose} came too fast to be written one by one");
            let mut entry = HistoryEntry::of_daemon(DaemonPart::Journal, "Suppressed", &object);
            entry.suppressed = count;
            entry.owners.extend(uid.map(|uid| format!("user:{uid}")));
            QueuedEntry { entry, is_access: false, written: None }
        };
        counted.into_iter().map(entry).collect()
    }

    fn write(&mut self, mut batch: Vec<QueuedEntry>) {
        let lost = self.changes.write(&mut batch, "changes");
        let mut standing = self.shared.standing();
        standing.failure.clone_from(&self.changes.failure);
        standing.lost += lost;
        standing.first = self.changes.files.first();
        let last = self.changes.files.next().saturating_sub(1);
        standing.last = last;
        drop(standing);
        self.shared.listeners.tell(last);
        self.tell(batch);
    }

    fn write_accesses(&mut self, mut batch: Vec<QueuedEntry>) {
        let lost = self.accesses.write(&mut batch, "accesses");
        self.shared.standing().lost += lost;
        self.tell(batch);
    }

    fn tell(&self, batch: Vec<QueuedEntry>) {
        for QueuedEntry { entry, written, .. } in batch {
            if let Some(written) = written {
                written();
            }
            self.log(&entry);
        }
    }

    fn log(&self, entry: &HistoryEntry) {
        let told = self.journald.as_ref().is_some_and(|journald| journald.send(entry).is_ok());
        if !told {
            log_line::write(entry);
        }
    }
}

fn numbered(batch: &mut [QueuedEntry], first: u64) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut lines = String::new();
    for (number, handed) in (first..).zip(batch) {
        handed.entry.number = number;
        handed.entry.time.clone_from(&time);
        lines.push_str(&handed.entry.line());
    }
    lines
}

impl QueuedEntry {
    pub fn is_refusal(entry: &HistoryEntry) -> bool {
        entry.result != EntryResult::Done
    }
}
