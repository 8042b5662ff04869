//! Forward reader: each entry once, in order, with all missing numbers.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use bpfman_model::Peer;
use bpfmand_journal::{
    EntryActor, HistoryEntry, HistoryReader, Journal, JournalCursor, JournalSettings, MissedNumbers,
    WrittenListener,
};

const PAGE: usize = 7;

fn settings(folder: &Path) -> JournalSettings {
    JournalSettings::new(folder.to_owned())
}

fn entry(uid: u32) -> HistoryEntry {
    let by = EntryActor::of(&Peer { uid, ..Peer::default() });
    HistoryEntry { verb: "Load".to_owned(), by, ..HistoryEntry::default() }
}

fn write(journal: &Journal, entry: HistoryEntry) {
    let (told, written) = channel();
    journal.record(entry, Some(Box::new(move || told.send(()).unwrap())));
    written.recv().unwrap();
}

fn reader(folder: &Path) -> HistoryReader {
    HistoryReader::new(folder)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    numbers: Vec<u64>,
    missed: Vec<(u64, u64)>,
    damaged: u64,
}

fn read(folder: &Path, cursor: &mut JournalCursor, up_to: u64) -> Read {
    read_wanted(folder, cursor, up_to, |_| true)
}

fn read_wanted(
    folder: &Path,
    cursor: &mut JournalCursor,
    up_to: u64,
    wanted: impl Fn(&HistoryEntry) -> bool,
) -> Read {
    let mut all = Read::default();
    let mut idle = 0;
    while cursor.position() < up_to {
        let before = cursor.clone();
        let page = reader(folder).forward(cursor, up_to, PAGE, &wanted).unwrap();
        assert!(page.entries.len() <= PAGE);
        idle = if *cursor == before { idle + 1 } else { 0 };
        assert!(idle < 2, "it does not go on at {before:?}");
        all.missed.extend(page.missed.map(|MissedNumbers { first, last }| (first, last)));
        all.numbers.extend(page.entries.iter().map(|entry| entry.number));
        all.damaged += page.damaged;
    }
    assert_eq!(cursor.position(), up_to);
    all
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    files.sort();
    files
}

#[test]
fn entries_come_once_in_order_over_files_pages_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut cursor = JournalCursor::after(0);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let journal = Journal::open(JournalSettings { entries: 100, ..settings(folder.path()) }).unwrap();
        for _ in 0..25 {
            write(&journal, entry(0));
            if journal.last().is_multiple_of(4) {
                let more = read(folder.path(), &mut cursor, journal.last());
                assert_eq!((more.missed, more.damaged), (Vec::new(), 0));
                numbers.extend(more.numbers);
            }
        }
    }
    numbers.extend(read(folder.path(), &mut cursor, 75).numbers);
    assert_eq!(numbers, (1..=75).collect::<Vec<_>>());
    assert!(files(folder.path()).len() > 3);
    let rest = read(folder.path(), &mut JournalCursor::after(40), 75);
    assert_eq!(rest, Read { numbers: (41..=75).collect(), ..Read::default() });
}

#[test]
fn reader_slower_than_the_journal_learns_of_its_gap() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalSettings { entries: 80, ..settings(folder.path()) }).unwrap();
    write(&journal, entry(0));
    let mut cursor = JournalCursor::at_oldest();
    assert_eq!(read(folder.path(), &mut cursor, 1).numbers, [1]);
    for _ in 0..200 {
        write(&journal, entry(0));
    }
    let first = journal.standing().unwrap().first;
    assert!(first > 100);
    let rest = read(folder.path(), &mut cursor, 201);
    let expected = Read { numbers: (first..=201).collect(), missed: vec![(2, first - 1)], damaged: 0 };
    assert_eq!(rest, expected);
    let all = read(folder.path(), &mut JournalCursor::at_oldest(), 201);
    assert_eq!(all, Read { missed: Vec::new(), ..expected });
}

#[test]
fn damaged_and_partial_lines_are_skipped_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    for _ in 0..6 {
        write(&journal, entry(0));
    }
    drop(journal);
    let file = files(folder.path()).pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    (lines[1], lines[2], lines[4]) = ("{\"number\":", "\0\0\0", "[]");
    let damaged = lines.join("\n") + "\n";
    fs::write(&file, &damaged).unwrap();
    let read_all = || read(folder.path(), &mut JournalCursor::after(0), 6);
    let expected = Read { numbers: vec![1, 4, 6], missed: vec![(2, 3), (5, 5)], damaged: 3 };
    assert_eq!(read_all(), expected);
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"number\":7,").unwrap();
    assert_eq!(read_all(), expected);
    fs::write(&file, format!("{}\n{damaged}", "x".repeat(3 << 20))).unwrap();
    let read = read_all();
    assert_eq!((read.numbers, read.missed), (expected.numbers, expected.missed));
    assert!(read.damaged > expected.damaged);
}

#[test]
fn failed_writes_and_a_removed_journal_are_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal_folder = folder.path().join("journal");
    // A file blocks the folder, also for root.
    fs::write(&journal_folder, "").unwrap();
    let journal = Journal::open(settings(&journal_folder)).unwrap();
    write(&journal, entry(0));
    write(&journal, entry(0));
    let mut cursor = JournalCursor::after(0);
    let error = reader(&journal_folder).forward(&mut cursor, 2, PAGE, |_| true).unwrap_err();
    assert!(error.to_string().contains("the journal cannot be read: listing"), "{error}");
    assert_eq!(cursor, JournalCursor::after(0));
    fs::remove_file(&journal_folder).unwrap();
    assert_eq!(read(&journal_folder, &mut cursor, 2).missed, [(1, 2)]);
    write(&journal, entry(0));
    assert_eq!(journal.last(), 4);
    assert_eq!(read(&journal_folder, &mut cursor, 4).numbers, [3, 4], "the word of the gap, and the entry");
    write(&journal, entry(0));
    fs::remove_dir_all(&journal_folder).unwrap();
    assert_eq!(read(&journal_folder, &mut cursor, 5).missed, [(5, 5)]);
}

#[test]
fn nothing_is_read_behind_the_number_that_the_writer_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    for uid in [1, 2, 1, 2] {
        write(&journal, entry(uid));
    }
    let mut cursor = JournalCursor::at_oldest();
    let of_one = |entry: &HistoryEntry| entry.by.uid() == Some(1);
    assert_eq!(read_wanted(folder.path(), &mut cursor, 2, of_one).numbers, [1]);
    assert_eq!(read_wanted(folder.path(), &mut cursor, 2, of_one), Read::default());
    let rest = read_wanted(folder.path(), &mut cursor, 4, of_one);
    assert_eq!(rest, Read { numbers: vec![3], ..Read::default() }, "what is not wanted is no gap");
}

#[test]
fn listener_gets_each_entry_after_it_is_on_disk_and_no_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    let (told, heard) = channel();
    let seen = folder.path().to_owned();
    let listener: Arc<WrittenListener> = Arc::new(move |last| {
        let read = read(&seen, &mut JournalCursor::after(last - 1), last);
        let _gone = told.send((last, read.numbers));
    });
    journal.on_written(&listener);
    for number in 1..=3 {
        write(&journal, entry(0));
        assert_eq!(heard.recv().unwrap(), (number, vec![number]));
    }
    drop(listener);
    write(&journal, entry(0));
    assert!(heard.recv().is_err(), "nobody holds what would tell");
}
