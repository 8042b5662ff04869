//! Subordinate users: ids of a range in `/etc/subuid`, which a user may use. Per-user limits count them as that user.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use crate::group;
use crate::policy::file::{FileStamp, read_bounded};

const RANGES: &str = "/etc/subuid";
/// Maximum size of each file, in bytes. The files of a machine with a hundred thousand users have some MiB.
const MAX_FILE: u64 = 16 << 20;
/// Maximum number of ranges: each connection compares its user with all of them.
const MAX_RANGES: usize = 16_384;

static SYSTEM: LazyLock<SubordinateUsers> =
    LazyLock::new(|| SubordinateUsers::new([RANGES, group::USERS].map(PathBuf::from)));

pub fn read() {
    SYSTEM.read();
}

/// Returns the owner of the subordinate range that contains a user, or the user itself. Ranges of directory services are
/// not looked up. While a changed file is read, its former ranges apply, so that connections do not wait.
pub fn account_uid(uid: u32) -> u32 {
    if SYSTEM.begin_reading() {
        let thread = std::thread::Builder::new().name("sub-users".to_owned());
        if let Err(error) = thread.spawn(read) {
            tracing::warn!(%error, "{RANGES} has changed, and is read by a later connection");
            SYSTEM.known().reading = false;
        }
    }
    SYSTEM.owner(uid)
}

/// Returns why changed files could not be read, while former ranges apply; `None` if the ranges are current.
pub fn failure() -> Option<String> {
    SYSTEM.known().failure.clone()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
    owner: u32,
}

struct SubordinateUsers {
    files: [PathBuf; 2],
    known: Mutex<KnownRanges>,
}

type Stamps = [Option<FileStamp>; 2];

#[derive(Default)]
struct KnownRanges {
    files: Option<Stamps>,
    ranges: Vec<Range>,
    /// Reason why the files could not be read; `ranges` then has the former ranges.
    failure: Option<String>,
    reading: bool,
}

impl SubordinateUsers {
    fn new(files: [PathBuf; 2]) -> Self {
        Self { files, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, KnownRanges> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamps(&self) -> Stamps {
        self.files.each_ref().map(|file| FileStamp::of(file))
    }

    fn begin_reading(&self) -> bool {
        let files = self.stamps();
        let mut known = self.known();
        let begins = known.files != Some(files) && !known.reading;
        known.reading |= begins;
        begins
    }

    fn read(&self) {
        // Take the stamp before the contents, so that a change in between is read again.
        let files = self.stamps();
        let [ranges, users] = self.files.each_ref().map(|file| text_of(file));
        let read = ranges.and_then(|ranges| Ok((ranges, users?)));
        let mut known = self.known();
        (known.files, known.reading) = (Some(files), false);
        match read {
            Ok((ranges, users)) => {
                let users = group::by_name(&users);
                known.ranges = parsed(&ranges, |name| users.get(name).copied());
                known.failure = None;
            }
            Err(error) => {
                tracing::error!(%error, "subordinate users count by the ranges of before");
                known.failure = Some(error.to_string());
            }
        }
    }

    fn owner(&self, uid: u32) -> u32 {
        owner_in(&self.known().ranges, uid)
    }
}

fn text_of(file: &Path) -> io::Result<String> {
    match read_bounded(file, MAX_FILE) {
        Ok((text, _)) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
    }
}

/// Parses `USER:FIRST:COUNT`; invalid lines are skipped. Ranges of root count as a user of their own.
fn parsed(text: &str, user: impl Fn(&str) -> Option<u32>) -> Vec<Range> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let (name, first, count) =
            (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let owner = name.parse().ok().or_else(|| user(name))?;
        Some(Range { first, count, owner: if owner == 0 { first } else { owner } })
    };
    let ranges = text.lines().filter_map(line).filter(|range| range.first > 0);
    ranges.take(MAX_RANGES).collect()
}

fn owner_in(ranges: &[Range], uid: u32) -> u32 {
    let is_in = |range: &&Range| uid.checked_sub(range.first).is_some_and(|place| place < range.count);
    ranges.iter().find(is_in).map_or(uid, |range| range.owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_users_count_for_the_user_that_has_them() {
        let text = "ada:100000:65536\n4712:165536:65536\nroot:231072:65536\n\nbob:x:1\nbob:0:9\nnobody\ncarl:300000:1\n";
        let ranges = parsed(text, |name| {
            [("ada", 4711), ("root", 0), ("bob", 7)]
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, uid)| *uid)
        });
        for (uid, owner) in [
            (0, 0),
            (4711, 4711),
            (99_999, 99_999),
            (100_000, 4711),
            (165_535, 4711),
            (165_536, 4712),
            (231_072, 231_072),
            (240_000, 231_072),
            (300_000, 300_000),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(owner_in(&ranges, uid), owner, "{uid}");
        }
    }

    #[test]
    fn ranges_of_changed_files_count_once_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["subuid", "passwd"].map(|name| folder.path().join(name));
        let users = SubordinateUsers::new(files.clone());
        let write = |ranges: &str, passwd: &str| {
            for (file, text) in files.iter().zip([ranges, passwd]) {
                let new = file.with_extension("new");
                std::fs::write(&new, text).unwrap();
                std::fs::rename(&new, file).unwrap();
            }
        };
        assert!(users.begin_reading());
        users.read();
        assert!(!users.begin_reading(), "there is no file, and that is known");
        assert_eq!(users.owner(100_000), 100_000);
        write("ada:100000:65536\n", "ada:x:4711:4711::/:/bin/sh\n");
        assert_eq!(users.owner(100_000), 100_000, "nothing is read by who asks");
        assert!(users.begin_reading());
        assert!(!users.begin_reading(), "one thread reads");
        users.read();
        assert_eq!(users.owner(100_000), 4711);
        write("ada:100000:65536\n", "ada:x:4712:4712::/:/bin/sh\n");
        assert!(users.begin_reading());
        users.read();
        assert_eq!(users.owner(100_000), 4712);
        let many: String = (0..=MAX_RANGES).map(|range| format!("4711:{}:1\n", 200_000 + range)).collect();
        write(&many, "");
        users.read();
        let last = u32::try_from(200_000 + MAX_RANGES).unwrap();
        assert_eq!([last - 1, last].map(|uid| users.owner(uid)), [4711, last]);
        write(
            "ada:200000:1\n",
            &(0..60_000).map(|uid| format!("user-{uid}:x:{uid}:1::/:\n")).collect::<String>(),
        );
        users.read();
        assert_eq!(users.owner(200_000), 200_000);
        let passwd = (0..60_000).map(|uid| format!("user-{uid}:x:{uid}:1::/:\n")).collect::<String>();
        write("ada:200000:1\n", &format!("{passwd}ada:x:4711:4711::/:\n"));
        users.read();
        assert_eq!((users.owner(200_000), users.known().failure.clone()), (4711, None));
        std::fs::write(files[1].with_extension("new"), [0xff; 9]).unwrap();
        std::fs::rename(files[1].with_extension("new"), &files[1]).unwrap();
        assert!(users.begin_reading());
        users.read();
        let failure = users.known().failure.clone().unwrap();
        assert!(failure.contains("passwd") && users.owner(200_000) == 4711, "{failure}");
        assert!(!users.begin_reading(), "until it changes");
    }
}
