//! Subordinate users: with a range in `/etc/subuid`, a user can create user namespaces with those ids. Per-user limits
//! count them as that user.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::group;

const RANGES: &str = "/etc/subuid";

/// Range of user ids, with the user to whom it is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
    owner: u32,
}

/// Ranges, with inode and modification time of the file.
struct KnownRanges {
    file: Option<(u64, SystemTime)>,
    ranges: Vec<Range>,
}

/// Returns the user that a user id counts as: the one to whom it is subordinate, or itself. Ranges of directory
/// services are not considered.
pub fn counts_for(uid: u32) -> u32 {
    static KNOWN: Mutex<KnownRanges> = Mutex::new(KnownRanges { file: None, ranges: Vec::new() });
    let found = std::fs::metadata(RANGES).ok().and_then(|file| Some((file.ino(), file.modified().ok()?)));
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.file != found {
        let text = std::fs::read_to_string(RANGES).unwrap_or_default();
        *known = KnownRanges { file: found, ranges: parsed(&text, group::find_user) };
    }
    owner_in(&known.ranges, uid)
}

/// Parses lines of `USER:FIRST:COUNT`; invalid lines are skipped. Ranges of root count as a user of their own, and not
/// as root.
fn parsed(text: &str, user: impl Fn(&str) -> Option<u32>) -> Vec<Range> {
    let line = |line: &str| {
        let mut fields = line.trim().split(':');
        let (name, first, count) =
            (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let owner = name.parse().ok().or_else(|| user(name))?;
        Some(Range { first, count, owner: if owner == 0 { first } else { owner } })
    };
    text.lines().filter_map(line).filter(|range| range.first > 0).collect()
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
}
