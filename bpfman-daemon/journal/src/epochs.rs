//! Which run of the daemon gave which numbers.
//!
//! A number is given before its entry is in the files. When entries are lost that have one already (a disk is full, power
//! fails) the next run counts on from what the files have, and gives those numbers again. Whoever reads on behind a number
//! says in which run it was told of it: its epoch.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The file beside the segments: a line for each run, the number before its first, and its epoch.
const FILE: &str = "epochs";
/// It is written here, and then put in place.
const NEW_FILE: &str = "epochs.new";
/// Runs that are remembered. Who was away for longer begins with the oldest entry.
const MOST: usize = 256;
/// A line has two numbers.
const LONGEST_LINE: u64 = 64;

/// All runs that are remembered, the last one is this.
#[derive(Debug)]
pub(crate) struct Epochs {
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// All up to this number was in the files when it began.
    after: u64,
    epoch: String,
}

/// Where a reader goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalResumption {
    /// Where it was.
    Same,
    /// Behind this number: those after it were given again.
    Renumbered(u64),
    /// No such run is remembered.
    Unknown,
}

impl Epochs {
    /// Begins a run in a folder whose files have entries up to `last`. Without a file that can be written, later runs do not
    /// know this one.
    pub fn begin(folder: &Path, last: u64) -> Self {
        let mut epochs = Self::unwritten(last);
        let before = read(folder).inspect_err(|error| tracing::warn!(%error, "earlier runs are not known"));
        let mut runs = before.unwrap_or_default();
        runs.append(&mut epochs.runs);
        runs.drain(..runs.len().saturating_sub(MOST));
        if let Err(error) = write(folder, &runs) {
            tracing::warn!(%error, "after the next start readers of the journal begin with its oldest entry");
        }
        Self { runs }
    }

    /// A run that no file knows.
    pub fn unwritten(last: u64) -> Self {
        // Seeded by the system for each process.
        let epoch = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { runs: vec![Run { after: last, epoch }] }
    }

    /// The name of this run.
    pub fn now(&self) -> &str {
        self.runs.last().map_or("", |run| &run.epoch)
    }

    /// Where a reader goes on who was told all up to a number in a run.
    pub fn resume(&self, epoch: &str, after: u64) -> JournalResumption {
        let Some(place) = self.runs.iter().position(|run| run.epoch == epoch) else {
            return JournalResumption::Unknown;
        };
        match self.runs[place + 1..].iter().map(|later| later.after).min() {
            Some(kept) if kept < after => JournalResumption::Renumbered(kept),
            _ => JournalResumption::Same,
        }
    }
}

fn read(folder: &Path) -> io::Result<Vec<Run>> {
    let file = match fs::File::open(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut text = String::new();
    file.take(LONGEST_LINE * MOST as u64).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(run).collect())
}

/// A line of the file; none if it is damaged.
fn run(line: &str) -> Option<Run> {
    let (after, epoch) = line.split_once(' ')?;
    let is_epoch = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Run { after: after.parse().ok()?, epoch: epoch.to_owned() }).filter(|_| is_epoch)
}

fn write(folder: &Path, runs: &[Run]) -> io::Result<()> {
    let text: String = runs.iter().map(|Run { after, epoch }| format!("{after} {epoch}\n")).collect();
    let new = folder.join(NEW_FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    // Before the first entry of this run can be on disk.
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_told_numbers_that_were_given_again_goes_on_before_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = Epochs::begin(folder.path(), 0);
        assert_eq!(first.resume(first.now(), 20), JournalResumption::Same);
        // Of the 20 that it told 9 are in the files.
        let second = Epochs::begin(folder.path(), 9);
        assert_eq!(second.resume(first.now(), 9), JournalResumption::Same);
        assert_eq!(second.resume(first.now(), 20), JournalResumption::Renumbered(9));
        // More are written by now, and the next run does not forget.
        let third = Epochs::begin(folder.path(), 30);
        assert_eq!(third.resume(first.now(), 20), JournalResumption::Renumbered(9));
        assert_eq!(third.resume(second.now(), 30), JournalResumption::Same);
        assert_eq!(third.resume("0123456789abcdef", 1), JournalResumption::Unknown);
        assert_ne!(second.now(), third.now());
    }

    #[test]
    fn damage_and_many_runs_end_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "7 half\n\nx 0123456789abcdef\n5 0123456789abcdef\n").unwrap();
        let now = Epochs::begin(folder.path(), 8);
        assert_eq!(now.resume("0123456789abcdef", 8), JournalResumption::Same);
        for _ in 0..MOST + 10 {
            Epochs::begin(folder.path(), 8);
        }
        let runs = read(folder.path()).unwrap();
        assert_eq!(runs.len(), MOST);
        assert_eq!(Epochs::begin(folder.path(), 8).resume(now.now(), 1), JournalResumption::Unknown);
        fs::write(folder.path().join(FILE), [0xff; 100]).unwrap();
        assert_eq!(Epochs::begin(folder.path(), 8).runs.len(), 1);
    }
}
