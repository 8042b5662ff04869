//! Journal on disk: reported entries are there, whatever happens to the writer, and the limits hold.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::channel;

use bpfman_model::Peer;
use bpfmand_journal::{
    EntryActor, EntryFailure, EntryResult, HistoryEntry, HistoryReader, Journal, JournalSettings, JournalSync,
};

fn settings(folder: &Path) -> JournalSettings {
    JournalSettings::new(folder.join("journal"))
}

fn entry(verb: &str, uid: u32) -> HistoryEntry {
    let by = EntryActor::of(&Peer { uid, ..Peer::default() });
    HistoryEntry { verb: verb.to_owned(), by, ..HistoryEntry::default() }
}

fn refused(uid: u32) -> HistoryEntry {
    HistoryEntry { result: EntryResult::Denied(EntryFailure::default()), ..entry("Attach", uid) }
}

fn write(journal: &Journal, entry: HistoryEntry) {
    let (told, written) = channel();
    journal.record(entry, Some(Box::new(move || told.send(()).unwrap())));
    written.recv().unwrap();
}

fn all(folder: &Path) -> Vec<HistoryEntry> {
    let reader = HistoryReader::new(&folder.join("journal"));
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = reader.page(before, "", 3, |_| true).unwrap();
        assert!(page.entries.len() <= 3);
        found.extend(page.entries);
        before = page.before;
        if before.is_none() {
            found.reverse();
            return found;
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("journal")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    files.sort();
    files
}

#[test]
fn accesses_push_no_change_out() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalSettings { entries: 1000, ..settings(folder.path()) }).unwrap();
    for uid in 0..500 {
        write(&journal, entry("Attach", uid));
    }
    let before = all(folder.path());
    for round in 0..100 {
        let (told, written) = channel();
        for _ in 0..1000 {
            let told = told.clone();
            let access = entry("OpenForReading", 1000 + round);
            journal.record_access(access, Some(Box::new(move || told.send(()).unwrap())));
        }
        assert_eq!(written.iter().take(1000).count(), 1000);
    }
    assert_eq!(all(folder.path()), before);
    let accesses = journal.access_reader().unwrap();
    let newest = accesses.page(None, "", 1, |_| true).unwrap().entries.remove(0);
    assert_eq!(
        (newest.number, newest.verb.as_str(), newest.by.uid()),
        (100_000, "OpenForReading", Some(1099))
    );
    let kept = fs::read_dir(folder.path().join("journal/accesses")).unwrap().count();
    assert!(kept <= 8, "{kept} files");
    drop(journal);
    let journal = Journal::open(settings(folder.path())).unwrap();
    journal.record_access(entry("OpenForWriting", 1), None);
    write(&journal, entry("Detach", 1));
    drop(journal);
    assert_eq!(all(folder.path()).len(), before.len() + 1);
    let page =
        HistoryReader::new(&folder.path().join("journal/accesses")).page(None, "", 1, |_| true).unwrap();
    assert_eq!(page.entries[0].number, 100_001);
}

#[test]
fn failed_reads_of_root_push_no_change_out() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(JournalSettings { entries: 1000, ..settings(folder.path()) }).unwrap();
    for _ in 0..500 {
        write(&journal, entry("Attach", 0));
    }
    let before = all(folder.path());
    for _ in 0..5000 {
        let failed = HistoryEntry { verb: "GetMapEntry".to_owned(), ..refused(0) };
        let (told, written) = channel();
        journal.record_failed_read(failed, Some(Box::new(move || told.send(()).unwrap())));
        written.recv().unwrap();
    }
    for _ in 0..150 {
        write(&journal, refused(0));
    }
    drop(journal);
    let after = all(folder.path());
    assert_eq!(after[..500], before);
    let count = |verb: &str| after.iter().filter(|entry| entry.verb == verb).count();
    assert!((100..400).contains(&count("GetMapEntry")), "{}", count("GetMapEntry"));
    assert_eq!(count("Attach"), 650);
    let suppressed: u64 = after.iter().map(|entry| entry.suppressed).sum();
    assert_eq!(suppressed + count("GetMapEntry") as u64, 5000);
}

#[test]
fn acknowledged_entry_is_on_disk_and_numbers_go_on_at_restart() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let journal = Journal::open(settings(folder.path())).unwrap();
        for _ in 0..5 {
            write(&journal, entry("Load", 0));
            // Read from the file, not from the writer's memory.
            let last = all(folder.path()).pop().unwrap();
            assert_eq!((last.verb.as_str(), last.time.len()), ("Load", "2026-01-01T00:00:00.000000Z".len()));
        }
        let numbers: Vec<u64> = all(folder.path()).iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (1..=5 * (round + 1)).collect::<Vec<_>>());
    }
}

#[test]
fn a_line_that_a_killed_writer_left_half_is_cut_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    write(&journal, entry("Load", 0));
    write(&journal, entry("Attach", 0));
    drop(journal);
    let file = files(folder.path()).pop().unwrap();
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"number\":3,\"verb\":\"Unl").unwrap();
    assert_eq!(all(folder.path()).len(), 2, "who reads meanwhile does not see it");
    let journal = Journal::open(settings(folder.path())).unwrap();
    assert_eq!(journal.standing().unwrap().cut, 23);
    write(&journal, entry("Detach", 0));
    let verbs: Vec<String> = all(folder.path()).into_iter().map(|entry| entry.verb).collect();
    assert_eq!(verbs, ["Load", "Attach", "Cut", "Detach"]);
    assert!(!fs::read_to_string(&file).unwrap().contains("Unl"));
}

#[test]
fn the_journal_keeps_its_bounds_and_the_newest_entries() {
    for (bytes, entries) in [(64 << 10, 1_000_000), (64 << 20, 1000)] {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings { bytes, entries, ..settings(folder.path()) };
        let journal = Journal::open(settings).unwrap();
        for _ in 0..3000 {
            write(&journal, entry("Load", 0));
        }
        let kept = all(folder.path());
        let used: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(used <= bytes, "{used}");
        assert!(kept.len() as u64 <= entries && kept.len() > 100, "{}", kept.len());
        assert!(files(folder.path()).len() <= 8);
        let numbers: Vec<u64> = kept.iter().map(|entry| entry.number).collect();
        assert_eq!(*numbers.last().unwrap(), 3000);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "the oldest went, none between");
        let standing = journal.standing().unwrap();
        assert_eq!((standing.first, standing.last, standing.bytes), (numbers[0], 3000, used));
    }
}

#[test]
fn repeated_refusals_do_not_displace_other_entries() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings { entries: 1000, ..settings(folder.path()) };
    let journal = Journal::open(settings).unwrap();
    write(&journal, entry("Load", 0));
    for _ in 0..5000 {
        write(&journal, refused(1000));
    }
    write(&journal, refused(2000));
    write(&journal, refused(0));
    let kept = all(folder.path());
    assert_eq!(kept[0].verb, "Load");
    let of = |uid| kept.iter().filter(|entry| entry.by.uid() == Some(uid)).count();
    assert!((100..300).contains(&of(1000)), "{}", of(1000));
    assert_eq!((of(2000), of(0)), (1, 2));
    drop(journal);
    let told: u64 = all(folder.path()).iter().map(|entry| entry.suppressed).sum();
    assert_eq!(of(1000) as u64 + told, 5000, "what has no entry is counted");
}

#[test]
fn unwritable_folder_fails_no_change_and_the_gap_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journal"), "").unwrap();
    let journal = Journal::open(settings(folder.path())).unwrap();
    write(&journal, entry("Load", 0));
    write(&journal, entry("Attach", 0));
    let standing = journal.standing().unwrap();
    assert_eq!(standing.lost, 2);
    assert!(!standing.failure.is_empty());
    fs::remove_file(folder.path().join("journal")).unwrap();
    write(&journal, entry("Detach", 0));
    assert!(journal.standing().unwrap().failure.is_empty());
    let kept = all(folder.path());
    let told: Vec<_> = kept.iter().map(|entry| (entry.number, entry.verb.as_str())).collect();
    assert_eq!(told, [(3, "Gap"), (4, "Detach")]);
    assert_eq!(kept[0].object, "2 entries could not be written");
}

#[test]
fn a_page_looks_for_what_is_wanted_and_not_before_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings { sync: JournalSync::Disk, ..settings(folder.path()) };
    let journal = Journal::open(settings).unwrap();
    for uid in [1, 2, 1, 2, 1] {
        write(&journal, entry("Load", uid));
    }
    let reader = journal.reader().unwrap();
    let of_one = |entry: &HistoryEntry| entry.by.uid() == Some(1);
    let page = reader.page(None, "", 2, of_one).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [5, 3]);
    let rest = reader.page(page.before, "", 2, of_one).unwrap();
    assert_eq!(rest.entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1]);
    assert_eq!(rest.before, None);
    assert_eq!(reader.page(None, "9999", 10, |_| true).unwrap().entries, []);
}
