//! The one thread that writes: it numbers entries, puts what waits into the file by one write, and says so.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::flood::Flood;
use crate::journal::{SharedStanding, WhenWritten};
use crate::journald::Journald;
use crate::segments::Segments;
use crate::{DaemonPart, EntryResult, HistoryEntry, log_line};

/// Entries that are written at once.
const BATCH: usize = 64;
/// Refusals that were only counted are told so often.
const TELL: Duration = Duration::from_secs(10);

/// An entry on its way.
pub(crate) struct Handed {
    pub entry: HistoryEntry,
    /// It tells of an access, not of a change.
    pub is_access: bool,
    pub written: Option<WhenWritten>,
}

pub(crate) struct Writer {
    pub segments: Segments,
    /// Accesses: however many there are, they push no change out.
    pub accesses: Segments,
    pub journald: Option<Journald>,
    pub shared: Arc<SharedStanding>,
    pub flood: Arc<Mutex<Flood>>,
    /// Entries that could not be written since the last that was.
    pub gap: u64,
}

impl Writer {
    /// Writes until nobody hands entries any more.
    pub fn run(mut self, handed: &Receiver<Handed>) {
        loop {
            let first = match handed.recv_timeout(TELL) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut batch: Vec<Handed> = first.into_iter().collect();
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
        for files in [&mut self.segments, &mut self.accesses] {
            if let Err(error) = files.sync() {
                tracing::warn!(%error, "the journal may not be on disk");
            }
        }
    }

    /// What was only counted.
    fn suppressed(&self) -> Vec<Handed> {
        let counted = self.flood.lock().unwrap_or_else(PoisonError::into_inner).take_suppressed();
        let entry = |(uid, count): (Option<u32>, u64)| {
            let whose = uid.map_or_else(|| "of further users".to_owned(), |uid| format!("of user {uid}"));
            let object = format!("{count} refusals {whose} came too fast to be written one by one");
            let mut entry = HistoryEntry::of_daemon(DaemonPart::Journal, "Suppressed", &object);
            entry.suppressed = count;
            entry.owners.extend(uid.map(|uid| format!("user:{uid}")));
            Handed { entry, is_access: false, written: None }
        };
        counted.into_iter().map(entry).collect()
    }

    fn write(&mut self, mut batch: Vec<Handed>) {
        if self.gap > 0 {
            let object = format!("{} entries could not be written", self.gap);
            let entry = HistoryEntry::of_daemon(DaemonPart::Journal, "Gap", &object);
            batch.insert(0, Handed { entry, is_access: false, written: None });
        }
        let first = self.segments.next();
        let lines = numbered(&mut batch, first);
        let count = batch.len() as u64;
        let done = self.segments.append(&lines, first, count);
        // What could not be written has its number all the same: the gap is seen. What tells of it is none that is lost.
        let lost = count - u64::from(self.gap > 0);
        self.segments.count(if done.is_ok() { count } else { lost });
        self.note(done, lost);
        self.tell(batch);
    }

    /// Accesses have numbers and files of their own.
    fn write_accesses(&mut self, mut batch: Vec<Handed>) {
        let first = self.accesses.next();
        let lines = numbered(&mut batch, first);
        let count = batch.len() as u64;
        if let Err(error) = self.accesses.append(&lines, first, count) {
            tracing::warn!(%error, "accesses have no entry in the journal");
            self.shared.standing().lost += count;
        }
        self.accesses.count(count);
        self.tell(batch);
    }

    /// Tells those who wait, and journald or the log.
    fn tell(&self, batch: Vec<Handed>) {
        for Handed { entry, written, .. } in batch {
            if let Some(written) = written {
                written();
            }
            self.log(&entry);
        }
    }

    fn note(&mut self, done: std::io::Result<()>, lost: u64) {
        let mut standing = self.shared.standing();
        match done {
            Ok(()) => {
                if !standing.failure.is_empty() {
                    tracing::info!("the journal is written again; {} entries are lost", standing.lost);
                }
                standing.failure.clear();
                self.gap = 0;
            }
            Err(error) => {
                let why = error.to_string();
                if standing.failure != why {
                    tracing::warn!(%error, "changes go on without an entry in the journal");
                }
                standing.failure = why;
                standing.lost += lost;
                self.gap += lost;
            }
        }
        standing.first = self.segments.first();
        let last = self.segments.next().saturating_sub(1);
        standing.last = last;
        drop(standing);
        self.shared.listeners.tell(last);
    }

    /// Tells journald, or the log.
    fn log(&self, entry: &HistoryEntry) {
        let told = self.journald.as_ref().is_some_and(|journald| journald.send(entry).is_ok());
        if !told {
            log_line::write(entry);
        }
    }
}

/// Gives entries their numbers and time; returns their lines.
fn numbered(batch: &mut [Handed], first: u64) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let mut lines = String::new();
    for (number, handed) in (first..).zip(batch) {
        handed.entry.number = number;
        handed.entry.time.clone_from(&time);
        lines.push_str(&handed.entry.line());
    }
    lines
}

impl Handed {
    /// Whether it tells of something that was not done.
    pub fn is_refusal(entry: &HistoryEntry) -> bool {
        entry.result != EntryResult::Done
    }
}
