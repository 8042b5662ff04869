//! The journal as those have it who write to it.

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use crate::epochs::Epochs;
use crate::flood::Flood;
use crate::journald::Journald;
use crate::listeners::{Listeners, WrittenListener};
use crate::refusals::Refusals;
use crate::segments::Segments;
use crate::settings::accesses;
use crate::writer::{EntryFiles, Handed, Writer};
use crate::{
    DaemonPart, HistoryEntry, HistoryReader, JournalResumption, JournalSettings, JournalStanding,
    RefusalCount, log_line,
};

/// Entries that wait for the writer. Refusals, of which one client may have many at a time, are held back before that.
const QUEUE: usize = 4096;
const STACK: usize = 256 << 10;

/// Called once an entry is in its file, or could not be written.
pub type WhenWritten = Box<dyn FnOnce() + Send>;

/// Where changes and refusals are told. Dropping it writes what waits.
#[derive(Debug, Default)]
pub struct Journal {
    /// None: entries go to the log alone.
    files: Option<Files>,
    refusals: Refusals,
    flood: Arc<Mutex<Flood>>,
    /// What strangers do, by their users.
    strangers: Mutex<Flood>,
    shared: Arc<SharedStanding>,
}

#[derive(Debug)]
struct Files {
    queue: Option<SyncSender<Handed>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    epochs: Epochs,
}

/// What writer and others see.
#[derive(Debug, Default)]
pub(crate) struct SharedStanding {
    standing: Mutex<JournalStanding>,
    pub listeners: Listeners,
}

impl SharedStanding {
    pub fn standing(&self) -> MutexGuard<'_, JournalStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Opens the journal, or makes it, and starts its writer. A disk that cannot be written to is told, and tried again with
    /// each entry: no daemon is kept from starting by its journal.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn open(settings: JournalSettings) -> std::io::Result<Self> {
        let journal = Self::default();
        let folder = settings.folder.clone();
        let journald = settings.journald.as_deref().and_then(|path| {
            let opened = Journald::open(path);
            opened.inspect_err(|error| tracing::warn!(%error, "journald is not told of changes")).ok()
        });
        let most_bytes = settings.bytes;
        let last = |segments: &Segments| segments.next().saturating_sub(1);
        let of_accesses = settings.of_accesses();
        let (segments, cut, epochs) = match Segments::open(settings.clone()) {
            Ok((segments, cut)) => {
                let epochs = Epochs::begin(&folder, last(&segments));
                (segments, cut, epochs)
            }
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "the journal cannot be opened");
                journal.shared.standing().failure = error.to_string();
                let segments = Segments::unopened(settings);
                let epochs = Epochs::unwritten(last(&segments));
                (segments, 0, epochs)
            }
        };
        {
            let mut standing = journal.shared.standing();
            standing.first = segments.first();
            standing.last = last(&segments);
            (standing.most_bytes, standing.cut) = (most_bytes, cut);
        }
        let (queue, handed) = sync_channel(QUEUE);
        let (shared, flood) = (Arc::clone(&journal.shared), Arc::clone(&journal.flood));
        let accesses = Segments::open(of_accesses.clone()).map(|(accesses, _cut)| accesses);
        let accesses = accesses.unwrap_or_else(|_told_by_the_journal| Segments::unopened(of_accesses));
        let failure = journal.shared.standing().failure.clone();
        let changes = EntryFiles::new(segments, failure);
        let accesses = EntryFiles::new(accesses, String::new());
        let writer = Writer { changes, accesses, journald, shared, flood };
        let thread =
            Builder::new().name("journal".to_owned()).stack_size(STACK).spawn(move || writer.run(&handed))?;
        let files = Some(Files { queue: Some(queue), thread: Some(thread), folder, epochs });
        let journal = Self { files, ..journal };
        if cut > 0 {
            tracing::warn!(bytes = cut, "the end of the journal was no whole entry, and was cut");
            let object = format!("{cut} bytes at the end were no whole entry");
            journal.record(HistoryEntry::of_daemon(DaemonPart::Journal, "Cut", &object), None);
        }
        Ok(journal)
    }

    /// Records an entry. `written` is called once it is in its file, or cannot be; at once if there are no files.
    ///
    /// A user who is refused all the time is counted instead.
    pub fn record(&self, entry: HistoryEntry, written: Option<WhenWritten>) {
        let uid = entry.by.uid().filter(|uid| *uid != 0 && Handed::is_refusal(&entry));
        if let Some(uid) = uid
            && !self.flood.lock().unwrap_or_else(PoisonError::into_inner).admits(uid, Instant::now())
        {
            self.shared.standing().suppressed += 1;
            written.into_iter().for_each(|written| written());
            return;
        }
        self.hand(Handed { entry, is_access: false, written });
    }

    /// Records an access, which changed nothing by itself. Accesses have a room of their own: they push no change out.
    pub fn record_access(&self, entry: HistoryEntry, written: Option<WhenWritten>) {
        self.hand(Handed { entry, is_access: true, written });
    }

    fn hand(&self, handed: Handed) {
        let Some(queue) = self.files.as_ref().and_then(|files| files.queue.as_ref()) else {
            log_line::write(&handed.entry);
            handed.written.into_iter().for_each(|written| written());
            return;
        };
        if let Err(TrySendError::Full(handed) | TrySendError::Disconnected(handed)) = queue.try_send(handed) {
            self.shared.standing().lost += 1;
            log_line::write(&handed.entry);
            handed.written.into_iter().for_each(|written| written());
        }
    }

    /// Whether there is room for an entry of what a stranger of this user did: so often as for refusals of a user. Root has no
    /// more room than others, since nobody asked for these entries. What has none waits, and is told together.
    pub fn has_room_for_stranger(&self, uid: u32) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).has_room(uid, Instant::now())
    }

    /// Counts a call that was not done.
    pub fn count_refusal(&self, verb: &str, reason: &str) {
        self.refusals.add(verb, reason);
    }

    /// How often which call was not done, and why.
    #[must_use]
    pub fn refusals(&self) -> Vec<RefusalCount> {
        self.refusals.all()
    }

    /// How the journal is; none if there is none on disk.
    #[must_use]
    pub fn standing(&self) -> Option<JournalStanding> {
        let reader = self.reader()?;
        let mut standing = self.shared.standing().clone();
        standing.bytes = reader.bytes();
        Some(standing)
    }

    /// The number of the newest entry; 0: there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.shared.standing().last
    }

    /// The name of this run of the journal, without which a number is not known for certain; empty if there is none on disk.
    #[must_use]
    pub fn epoch(&self) -> &str {
        self.files.as_ref().map_or("", |files| files.epochs.now())
    }

    /// Where a reader goes on who was told all up to a number in this run or an earlier one.
    #[must_use]
    pub fn resume(&self, epoch: &str, after: u64) -> JournalResumption {
        self.files.as_ref().map_or(JournalResumption::Unknown, |files| files.epochs.resume(epoch, after))
    }

    /// From now on the listener is told the number of the newest entry, as long as somebody else holds it.
    pub fn on_written(&self, listener: &Arc<WrittenListener>) {
        self.shared.listeners.add(listener);
    }

    /// Reads it; none if there is none on disk.
    #[must_use]
    pub fn reader(&self) -> Option<HistoryReader> {
        Some(HistoryReader::new(&self.files.as_ref()?.folder))
    }

    /// Reads the accesses; none if there is no journal on disk.
    #[must_use]
    pub fn access_reader(&self) -> Option<HistoryReader> {
        Some(HistoryReader::new(&accesses(&self.files.as_ref()?.folder)))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // The writer ends when nobody can hand it anything.
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
