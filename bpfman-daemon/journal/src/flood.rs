//! Rate limit of refusals per user: excess ones are counted, so that a user cannot push out the entries of others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const BURST: u32 = 100;
const EVERY: Duration = Duration::from_millis(500);
/// Maximum number of users with a limit of their own. All other users share one.
const MAX_USERS: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Flood {
    users: HashMap<Option<u32>, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
    suppressed: u64,
}

impl Flood {
    pub fn admits(&mut self, uid: u32, now: Instant) -> bool {
        if self.users.len() >= MAX_USERS {
            self.users.retain(|_, bucket| !bucket.is_full(now) || bucket.suppressed > 0);
        }
        let is_known = self.users.contains_key(&Some(uid)) || self.users.len() < MAX_USERS;
        let of = is_known.then_some(uid);
        let bucket = self.users.entry(of).or_insert(Bucket { left: BURST, filled: now, suppressed: 0 });
        bucket.fill(now);
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return false;
        }
        bucket.left -= 1;
        true
    }

    /// Returns whether an entry fits the limit. Excess ones are not counted here: the caller keeps them.
    pub fn try_admit(&mut self, uid: u32, now: Instant) -> bool {
        let admitted = self.admits(uid, now);
        if !admitted {
            let of = self.users.contains_key(&Some(uid)).then_some(uid);
            if let Some(bucket) = self.users.get_mut(&of) {
                bucket.suppressed = 0;
            }
        }
        admitted
    }

    pub fn take_suppressed(&mut self) -> Vec<(Option<u32>, u64)> {
        let counted = self.users.iter_mut().filter(|(_, bucket)| bucket.suppressed > 0);
        counted.map(|(uid, bucket)| (*uid, std::mem::take(&mut bucket.suppressed))).collect()
    }
}

impl Bucket {
    fn is_full(&self, now: Instant) -> bool {
        let missing = BURST - self.left;
        now.saturating_duration_since(self.filled) >= EVERY * missing
    }

    fn fill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.filled).as_millis() / EVERY.as_millis();
        let more = u32::try_from(more).unwrap_or(BURST).min(BURST);
        self.left = (self.left + more).min(BURST);
        self.filled = if self.left == BURST { now } else { self.filled + EVERY * more };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constantly_refused_user_is_counted_and_others_are_written() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        let admitted = (0..1000).filter(|_| flood.admits(1000, now)).count();
        assert_eq!(admitted, BURST as usize);
        assert!(flood.admits(2000, now));
        assert_eq!(flood.take_suppressed(), [(Some(1000), 900)]);
        assert!(flood.take_suppressed().is_empty());
        assert!(!flood.admits(1000, now));
        assert!(flood.admits(1000, now + EVERY), "one more after a while");
        assert!(!flood.admits(1000, now + EVERY));
    }

    #[test]
    fn waiting_entry_is_not_counted_as_suppressed() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        let admitted = (0..1000).filter(|_| flood.try_admit(0, now)).count();
        assert_eq!((admitted, flood.take_suppressed()), (BURST as usize, Vec::new()));
        assert!(flood.try_admit(0, now + EVERY) && !flood.try_admit(0, now + EVERY));
    }

    #[test]
    fn no_number_of_users_takes_all_memory() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        for uid in 0..10_000 {
            flood.admits(uid, now);
        }
        assert!(flood.users.len() <= MAX_USERS + 1);
        flood.admits(1, now + EVERY * BURST);
        assert!(flood.users.len() < MAX_USERS, "who was quiet is forgotten");
    }
}
