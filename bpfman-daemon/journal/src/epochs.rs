//! Epochs: the daemon runs that assigned the numbers of entries.
//!
//! If numbered entries are lost (full disk, power loss), the next run assigns their numbers again. Therefore a reader
//! that resumes after a number also sends its epoch.

use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// File with a line for each run: the last number before the run, and its epoch.
const FILE: &str = "epochs";
const NEW_FILE: &str = "epochs.new";
/// Maximum number of known runs. A reader that was away for longer starts with the oldest entry.
const MAX_RUNS: usize = 256;
const MAX_LINE: u64 = 64;

/// Runs that are known; the last one is the present run.
#[derive(Debug)]
pub(crate) struct Epochs {
    runs: Vec<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    after: u64,
    epoch: String,
}

/// Position at which a reader resumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalResumption {
    /// The position is unchanged.
    Same,
    /// After this number: later ones were assigned again.
    Renumbered(u64),
    /// The epoch is unknown.
    Unknown,
}

impl Epochs {
    /// Begins a run after the number `last`. If the file cannot be written, later runs do not know this one.
    pub fn begin(folder: &Path, last: u64) -> Self {
        let mut epochs = Self::unwritten(last);
        let before = read(folder).inspect_err(|error| tracing::warn!(%error, "earlier runs are not known"));
        let mut runs = before.unwrap_or_default();
        runs.append(&mut epochs.runs);
        runs.drain(..runs.len().saturating_sub(MAX_RUNS));
        if let Err(error) = write(folder, &runs) {
            tracing::warn!(%error, "after the next start readers of the journal begin with its oldest entry");
        }
        Self { runs }
    }

    pub fn unwritten(last: u64) -> Self {
        // `RandomState` is randomly seeded.
        let epoch = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Self { runs: vec![Run { after: last, epoch }] }
    }

    pub fn now(&self) -> &str {
        self.runs.last().map_or("", |run| &run.epoch)
    }

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
    file.take(MAX_LINE * MAX_RUNS as u64).read_to_string(&mut text)?;
    Ok(text.lines().filter_map(run).collect())
}

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
    // Must be durable before the first entry of this run is.
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_of_reassigned_numbers_continues_before_them() {
        let folder = tempfile::tempdir().unwrap();
        let first = Epochs::begin(folder.path(), 0);
        assert_eq!(first.resume(first.now(), 20), JournalResumption::Same);
        let second = Epochs::begin(folder.path(), 9);
        assert_eq!(second.resume(first.now(), 9), JournalResumption::Same);
        assert_eq!(second.resume(first.now(), 20), JournalResumption::Renumbered(9));
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
        for _ in 0..MAX_RUNS + 10 {
            Epochs::begin(folder.path(), 8);
        }
        let runs = read(folder.path()).unwrap();
        assert_eq!(runs.len(), MAX_RUNS);
        assert_eq!(Epochs::begin(folder.path(), 8).resume(now.now(), 1), JournalResumption::Unknown);
        fs::write(folder.path().join(FILE), [0xff; 100]).unwrap();
        assert_eq!(Epochs::begin(folder.path(), 8).runs.len(), 1);
    }
}
