//! Counters of the radar's programs, which show how many events were lost.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelObjects as _};

use super::event::{FloodCount, FloodKey, flood};

const MAX_FLOODS: usize = 1024;
/// Number of readings without change after which an entry of `floods` is removed.
const QUIET: u32 = 10;

/// Keys of the map `counts`: all events, those that found the ring buffer full, and calls not observed.
const SEEN: u32 = 0;
const RING_FULL: u32 = 1;
const MISSED: u32 = 2;
/// Keys under which the daemon stores how many full and missed events it has logged, for the next daemon.
const TOLD_FULL: u32 = 3;
const TOLD_MISSED: u32 = 4;

#[derive(Debug, Default)]
pub struct CallCounts {
    floods: BTreeMap<FloodKey, Known>,
    by_process: u64,
    /// Events that the kernel counted without a process: already logged, and pending since the last reading.
    lost_told: u64,
    lost_before: u64,
    missed: u64,
    noted: Option<ReportedCounts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    count: u64,
    quiet: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ReportedCounts {
    /// Events that found the ring buffer full, without those in `floods`.
    ring_full: u64,
    missed: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallDeltas {
    pub floods: Vec<(FloodKey, FloodCount)>,
    pub lost: u64,
    pub events: u64,
}

/// Flood that is over, with its raw key in the map.
type QuietFlood = (FloodKey, Vec<u8>);

#[derive(Clone, Debug, Default)]
struct Reading {
    seen: u64,
    ring_full: u64,
    missed: u64,
    floods: Vec<(FloodKey, FloodCount, Vec<u8>)>,
}

impl CallCounts {
    pub fn read(
        &mut self,
        kernel: &LinuxKernel,
        counts: &OwnedFd,
        floods: &OwnedFd,
    ) -> Result<CallDeltas, KernelError> {
        let each = |key| {
            let values = kernel.read_per_cpu(counts, key)?;
            let number = |value: &Vec<u8>| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            Ok::<Vec<u64>, KernelError>(values.iter().map(number).collect())
        };
        let sum = |key| each(key).map(|numbers| numbers.iter().sum::<u64>());
        if self.noted.is_none() {
            // The map of an older object has no such keys. Then everything is logged, possibly twice.
            let noted = |key| each(key).ok().and_then(|numbers| numbers.first().copied()).unwrap_or_default();
            self.go_on(ReportedCounts { ring_full: noted(TOLD_FULL), missed: noted(TOLD_MISSED) });
        }
        // Read the floods last: a call counted in `counts` is in `floods` by then.
        let mut reading = Reading {
            seen: sum(SEEN)?,
            ring_full: sum(RING_FULL)?,
            missed: sum(MISSED)?,
            floods: Vec::new(),
        };
        for entry in kernel.map_entries(floods, MAX_FLOODS)? {
            reading.floods.extend(flood(&entry).map(|(key, count)| (key, count, entry.key)));
        }
        let (news, quiet) = self.compare(&reading);
        for (over, key) in quiet {
            match kernel.remove_entry(floods, &key) {
                Ok(_was_there) => {
                    self.floods.remove(&over);
                }
                // The removal is retried; the new counts are returned anyway.
                Err(error) => tracing::warn!(%error, "a flood that is over stays in the map"),
            }
        }
        Ok(news)
    }

    /// Stores how much has been logged, for the next daemon. Call it after logging: after a kill, the rest is logged
    /// then.
    pub fn store_reported(&mut self, kernel: &LinuxKernel, counts: &OwnedFd) {
        let told = self.told();
        if self.noted.is_none_or(|noted| noted == told) {
            return;
        }
        self.noted = Some(told);
        for (key, number) in [(TOLD_FULL, told.ring_full), (TOLD_MISSED, told.missed)] {
            if let Err(error) = kernel.write_per_cpu(counts, key, &number.to_ne_bytes()) {
                tracing::debug!(%error, "another daemon will tell again how many calls were lost");
            }
        }
    }

    fn go_on(&mut self, noted: ReportedCounts) {
        (self.lost_told, self.missed) = (noted.ring_full, noted.missed);
        self.noted = Some(noted);
    }

    /// Returns the logged counts, without those in `floods`: the next daemon logs these by process once more.
    fn told(&self) -> ReportedCounts {
        let in_floods: u64 = self.floods.values().map(|known| known.count).sum();
        let ring_full = (self.by_process + self.lost_told).saturating_sub(in_floods);
        ReportedCounts { ring_full, missed: self.missed }
    }

    fn compare(&mut self, reading: &Reading) -> (CallDeltas, Vec<QuietFlood>) {
        let mut news = CallDeltas { events: reading.seen, ..CallDeltas::default() };
        let (mut known, mut quiet) = (BTreeMap::new(), Vec::new());
        for (key, count, raw) in &reading.floods {
            let before = self.floods.get(key).copied().unwrap_or_default();
            // A smaller count means that the kernel evicted the entry and created it again.
            let more = count.count.checked_sub(before.count).unwrap_or(count.count);
            if more > 0 {
                self.by_process += more;
                news.floods.push((key.clone(), FloodCount { count: more, ..*count }));
            }
            let is_quiet = if more > 0 { 0 } else { before.quiet + 1 };
            if is_quiet >= QUIET {
                quiet.push((key.clone(), raw.clone()));
            }
            known.insert(key.clone(), Known { count: count.count, quiet: is_quiet });
        }
        self.floods = known;
        // Programs count the event before its process, so a difference is a loss only if it persists.
        let lost = reading.ring_full.saturating_sub(self.by_process + self.lost_told);
        let surely = lost.min(self.lost_before);
        self.lost_before = lost - surely;
        self.lost_told += surely;
        news.lost = surely + reading.missed.saturating_sub(self.missed);
        self.missed = reading.missed;
        (news, quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ring_full: u64, floods: &[(u32, u64)]) -> Reading {
        let flood = |(process, count): &(u32, u64)| {
            let key = FloodKey { process: *process, user: 0, kind: 5, error: 0, command: "flood".to_owned() };
            (key, FloodCount { count: *count, first: 1, last: 2 }, process.to_ne_bytes().to_vec())
        };
        Reading { ring_full, floods: floods.iter().map(flood).collect(), ..Reading::default() }
    }

    fn told(news: &CallDeltas) -> u64 {
        news.floods.iter().map(|(_, count)| count.count).sum()
    }

    #[test]
    fn sum_of_reports_equals_kernel_counts_even_after_evictions() {
        let mut counts = CallCounts::default();
        let (mut sum, mut lost) = (0, 0);
        counts.compare(&reading(0, &[]));
        for (ring_full, floods) in [
            (100, vec![(1, 60), (2, 40)]),
            // The kernel evicted process 2 with 50 unread calls.
            (200, vec![(1, 110)]),
            (200, vec![(1, 110)]),
            (230, vec![(1, 120), (2, 20)]),
            (230, vec![(1, 120), (2, 20)]),
        ] {
            let (news, _) = counts.compare(&reading(ring_full, &floods));
            (sum, lost) = (sum + told(&news), lost + news.lost);
        }
        assert_eq!((sum, lost), (180, 50));
    }

    #[test]
    fn counted_event_that_is_not_yet_read_is_not_lost() {
        let mut counts = CallCounts::default();
        counts.compare(&reading(0, &[]));
        assert_eq!(counts.compare(&reading(10, &[(1, 9)])).0.lost, 0);
        assert_eq!(counts.compare(&reading(11, &[(1, 11)])).0.lost, 0);
    }

    #[test]
    fn finished_flood_leaves_the_map_and_is_counted_again_later() {
        let mut counts = CallCounts::default();
        let first = counts.compare(&reading(10, &[(1, 10)]));
        assert_eq!((told(&first.0), first.0.lost), (10, 0));
        let ended = (0..QUIET).map(|_| counts.compare(&reading(10, &[(1, 10)]))).last().unwrap();
        let keys: Vec<Vec<u8>> = ended.1.iter().map(|(_, key)| key.clone()).collect();
        assert_eq!((keys, ended.0.lost), (vec![1_u32.to_ne_bytes().to_vec()], 0));
        for (flood, _) in &ended.1 {
            counts.floods.remove(flood);
        }
        // The new entry has a higher count than the old one had.
        let (news, _) = counts.compare(&reading(25, &[(1, 15)]));
        assert_eq!((told(&news), news.lost), (15, 0));
    }

    /// Returns the calls logged by process and as lost, after two readings of the same numbers.
    fn told_from(noted: ReportedCounts, reading: &Reading) -> (u64, u64, ReportedCounts) {
        let mut counts = CallCounts::default();
        counts.go_on(noted);
        let news = [(); 2].map(|()| counts.compare(reading).0);
        (news.iter().map(told).sum(), news.iter().map(|news| news.lost).sum(), counts.told())
    }

    #[test]
    fn successor_reports_unreported_counts_and_ongoing_floods_again() {
        // 50 calls by process, 10 without a process, and 4 missed.
        let before = Reading { missed: 4, ..reading(60, &[(1, 50)]) };
        let (by_process, lost, noted) = told_from(ReportedCounts::default(), &before);
        assert_eq!((by_process, lost, noted), (50, 14, ReportedCounts { ring_full: 10, missed: 4 }));
        let after = Reading { missed: 6, ..reading(70, &[(1, 57)]) };
        let (by_process, lost, noted) = told_from(noted, &after);
        assert_eq!((by_process, lost, noted), (57, 5, ReportedCounts { ring_full: 13, missed: 6 }));
        assert_eq!(told_from(ReportedCounts::default(), &after).1, 13 + 6);
        // A flood that was logged and then evicted by the kernel is logged as lost, rather than not at all.
        assert_eq!(told_from(noted, &reading(70, &[])).1, 57);
    }
}
