//! Accesses that cannot be written: the log says so once, and a gap is in the files as soon as there is room again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use bpfmand_journal::{HistoryEntry, Journal, JournalSettings};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts warnings of accesses.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Visit for Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" && format!("{value:?}").contains("accesses") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Records an access, and waits until it is in its file, or cannot be.
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
    let warnings = Warnings::default();
    // The writer has a thread of its own.
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("journal")).unwrap();
    // In the way of the folder, also for root.
    let in_the_way = folder.path().join("journal/accesses");
    fs::write(&in_the_way, "").unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    for _ in 0..5 {
        access(&journal, "OpenForReading");
    }
    assert_eq!(warnings.0.load(Ordering::SeqCst), 1);
    let standing = journal.standing().unwrap();
    assert_eq!((standing.lost, standing.failure.as_str()), (5, ""), "changes have their entries");
    fs::remove_file(&in_the_way).unwrap();
    access(&journal, "OpenForWriting");
    let gap = (6, "Gap".to_owned(), "5 entries could not be written".to_owned());
    assert_eq!(accesses(&journal), [gap, (7, "OpenForWriting".to_owned(), String::new())]);
}
