//! Accesses that cannot be written: one log message, and an entry about the gap when the files are writable again.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use bpfmand_journal::{HistoryEntry, Journal, JournalSettings};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[derive(Clone, Default)]
struct Log {
    warnings: Arc<AtomicUsize>,
    gaps: Arc<AtomicUsize>,
}

struct Counter<'l>(&'l Log, Level);

impl Visit for Counter<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        if (field.name(), self.1) == ("message", Level::WARN) && value.contains("accesses") {
            self.0.warnings.fetch_add(1, Ordering::SeqCst);
        }
        if field.name() == "verb" && value.contains("Gap") {
            self.0.gaps.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Counter(self, *event.metadata().level()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn access(journal: &Journal, verb: &str) {
    let (told, written) = channel();
    let entry = HistoryEntry { verb: verb.to_owned(), ..HistoryEntry::default() };
    journal.record_access(entry, Some(Box::new(move || told.send(()).unwrap())));
    written.recv().unwrap();
}

fn accesses(journal: &Journal) -> Vec<(u64, String, String)> {
    let page = journal.access_reader().unwrap().page(None, "", 100, |_| true).unwrap();
    page.entries.into_iter().rev().map(|entry| (entry.number, entry.verb, entry.object)).collect()
}

fn settings(folder: &Path) -> JournalSettings {
    JournalSettings::new(folder.join("journal"))
}

#[test]
fn lost_accesses_are_warned_of_once_and_leave_a_gap() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("journal")).unwrap();
    // A file blocks the folder, also for root.
    let in_the_way = folder.path().join("journal/accesses");
    fs::write(&in_the_way, "").unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    for _ in 0..5 {
        access(&journal, "OpenForReading");
    }
    assert_eq!(log.warnings.load(Ordering::SeqCst), 1);
    let standing = journal.standing().unwrap();
    assert_eq!((standing.lost, standing.failure.as_str()), (5, ""), "changes have their entries");
    fs::remove_file(&in_the_way).unwrap();
    access(&journal, "OpenForWriting");
    let gap = (6, "Gap".to_owned(), "5 entries could not be written".to_owned());
    assert_eq!(accesses(&journal), [gap, (7, "OpenForWriting".to_owned(), String::new())]);
    drop(journal);
    assert_eq!(log.gaps.load(Ordering::SeqCst), 1);
}

#[test]
fn lost_entries_have_numbers_of_their_own_in_journald() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journald");
    let journald = UnixDatagram::bind(&path).unwrap();
    // All messages are there when the writer has ended.
    journald.set_nonblocking(true).unwrap();
    let in_the_way = folder.path().join("journal/accesses");
    fs::create_dir(folder.path().join("journal")).unwrap();
    fs::write(&in_the_way, "").unwrap();
    let journal = Journal::open(JournalSettings { journald: Some(path), ..settings(folder.path()) }).unwrap();
    (0..3).for_each(|_| access(&journal, "OpenForReading"));
    fs::remove_file(&in_the_way).unwrap();
    access(&journal, "OpenForWriting");
    drop(journal);
    let numbers = (0..5).map(|_| {
        let mut bytes = [0; 4096];
        let length = journald.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        text.lines().find_map(|line| line.strip_prefix("BPFMAN_NUMBER=")?.parse().ok()).unwrap()
    });
    assert_eq!(numbers.collect::<Vec<u64>>(), [1, 2, 3, 4, 5]);
}
