//! Journal: the interface for recording entries.

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
use crate::writer::{EntryFiles, QueuedEntry, Writer};
use crate::{
    DaemonPart, HistoryEntry, HistoryReader, JournalResumption, JournalSettings, JournalState, RefusalCount,
    log_line,
};

/// Maximum number of queued entries. A client can cause many refusals, so their rate is limited before the queue.
const QUEUE: usize = 4096;
const STACK: usize = 256 << 10;

/// Callback after an entry was written to its file, or could not be written.
pub type WriteCallback = Box<dyn FnOnce() + Send>;

/// Recorder of changes and refusals. Dropping it writes pending entries.
#[derive(Debug, Default)]
pub struct Journal {
    /// `None`: entries go only to the log.
    files: Option<Files>,
    refusals: Refusals,
    flood: Arc<Mutex<Flood>>,
    strangers: Mutex<Flood>,
    shared: Arc<SharedJournalState>,
}

#[derive(Debug)]
struct Files {
    queue: Option<SyncSender<QueuedEntry>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    epochs: Epochs,
}

#[derive(Debug, Default)]
pub(crate) struct SharedJournalState {
    standing: Mutex<JournalState>,
    pub listeners: Listeners,
}

impl SharedJournalState {
    pub fn standing(&self) -> MutexGuard<'_, JournalState> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Opens or creates the journal, and starts its writer. An unwritable disk is logged, and retried with each entry.
    pub fn open(settings: JournalSettings) -> std::io::Result<Self> {
        let journal = Self::default();
        let folder = settings.folder.clone();
        let journald = settings.journald.as_deref().and_then(|path| {
            let opened = Journald::open(path);
            opened.inspect_err(|error| tracing::warn!(%error, "journald gets no changes")).ok()
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

    /// Records an entry. `written` is called once it is in its file, or failed. Excess refusals are only counted.
    pub fn record(&self, entry: HistoryEntry, written: Option<WriteCallback>) {
        let account = entry.by.account().filter(|user| *user != 0 && QueuedEntry::is_refusal(&entry));
        self.record_within(account, entry, written);
    }

    /// Records a refused or failed read. The limit applies to root, too: a script must not displace entries of changes.
    pub fn record_failed_read(&self, entry: HistoryEntry, written: Option<WriteCallback>) {
        self.record_within(entry.by.account(), entry, written);
    }

    fn record_within(&self, account: Option<u32>, entry: HistoryEntry, written: Option<WriteCallback>) {
        if let Some(user) = account
            && !self.flood.lock().unwrap_or_else(PoisonError::into_inner).admits(user, Instant::now())
        {
            self.shared.standing().suppressed += 1;
            written.into_iter().for_each(|written| written());
            return;
        }
        self.hand(QueuedEntry { entry, is_access: false, written });
    }

    /// Records an access. Accesses have files of their own, so that they do not push out changes.
    pub fn record_access(&self, entry: HistoryEntry, written: Option<WriteCallback>) {
        self.hand(QueuedEntry { entry, is_access: true, written });
    }

    fn hand(&self, handed: QueuedEntry) {
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

    /// Returns whether a third-party action of this user may have an entry. The limit is the same for root,
    /// since the action is no request of root to the daemon.
    pub fn may_record_third_party(&self, uid: u32) -> bool {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner).try_admit(uid, Instant::now())
    }

    /// Counts a call that was refused or failed.
    pub fn count_refusal(&self, verb: &str, reason: &str) {
        self.refusals.add(verb, reason);
    }

    /// Returns the number of refused and failed calls, by call and reason.
    #[must_use]
    pub fn refusals(&self) -> Vec<RefusalCount> {
        self.refusals.all()
    }

    /// Returns the state of the journal; `None` if it is not on disk.
    #[must_use]
    pub fn standing(&self) -> Option<JournalState> {
        let reader = self.reader()?;
        let mut standing = self.shared.standing().clone();
        standing.bytes = reader.bytes();
        Some(standing)
    }

    /// Returns the number of the newest entry; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.shared.standing().last
    }

    /// Returns the epoch of this run, without which a number is ambiguous; empty if the journal is not on disk.
    #[must_use]
    pub fn epoch(&self) -> &str {
        self.files.as_ref().map_or("", |files| files.epochs.now())
    }

    /// Returns the position for a reader that got all entries up to `after` in this or an earlier run.
    #[must_use]
    pub fn resume(&self, epoch: &str, after: u64) -> JournalResumption {
        self.files.as_ref().map_or(JournalResumption::Unknown, |files| files.epochs.resume(epoch, after))
    }

    /// Registers a listener for the number of the newest entry, until the caller drops its own reference.
    pub fn on_written(&self, listener: &Arc<WrittenListener>) {
        self.shared.listeners.add(listener);
    }

    /// Returns a reader; `None` if the journal is not on disk.
    #[must_use]
    pub fn reader(&self) -> Option<HistoryReader> {
        Some(HistoryReader::new(&self.files.as_ref()?.folder))
    }

    /// Returns a reader of accesses; `None` if the journal is not on disk.
    #[must_use]
    pub fn access_reader(&self) -> Option<HistoryReader> {
        Some(HistoryReader::new(&accesses(&self.files.as_ref()?.folder)))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
