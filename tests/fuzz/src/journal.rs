//! Files of the audit log after damage of the disk.

use bpfmand_journal::{DaemonPart, HistoryEntry, HistoryReader, Journal, JournalCursor, JournalSettings};

use crate::world;

/// Opens an audit log with the input as its last file, adds an entry, and reads all entries.
pub fn run(bytes: &[u8]) {
    let folder = world::folder();
    let file = folder.path().join("00000000000000000001.jsonl");
    std::fs::write(file, bytes).expect("a new folder");
    let journal = Journal::open(JournalSettings::new(folder.path().to_owned())).expect("a thread");
    let entry = HistoryEntry::of_daemon(DaemonPart::Csi, "Fuzz", "x");
    let (told, written) = std::sync::mpsc::channel();
    let tell = move || {
        let _nobody_waits = told.send(());
    };
    journal.record(entry, Some(Box::new(tell)));
    written.recv().expect("the writer answers");
    let reader = HistoryReader::new(folder.path());
    read_forward(&reader, journal.last());
    let mut before = None;
    loop {
        let page = reader.page(before, "", 100, |_| true).expect("the files are there");
        assert!(page.before < before.or(Some(u64::MAX)), "pages do not end");
        if page.before.is_none() {
            return;
        }
        before = page.before;
    }
}

fn read_forward(reader: &HistoryReader, last: u64) {
    let mut cursor = JournalCursor::at_oldest();
    let mut number = 0;
    while cursor.position() < last {
        let before = cursor.clone();
        let page = reader.forward(&mut cursor, last, 100, |_| true).expect("the files are there");
        assert_ne!(cursor, before, "it does not go on");
        for entry in page.entries {
            assert!(entry.number > number, "numbers do not go up");
            number = entry.number;
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let entry = HistoryEntry::of_daemon(DaemonPart::Csi, "Fuzz", "x");
    let line = serde_json::to_vec(&entry).expect("an entry");
    let two = [line.clone(), b"\n".to_vec(), line.clone(), b"\n".to_vec()].concat();
    vec![two[..two.len() - 9].to_vec(), two]
}
