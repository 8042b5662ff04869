//! What the radar's programs counted: so that nothing is lost unnoticed.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelError, KernelObjects as _};

use super::event::{FloodCount, FloodKey, flood};

/// Entries of the map `floods`.
const MOST_FLOODS: usize = 1024;
/// Readings after which an entry of `floods` that stays the same is removed.
const QUIET: u32 = 10;

/// What was read last.
#[derive(Debug, Default)]
pub struct RadarCounts {
    floods: BTreeMap<FloodKey, Known>,
    /// Events that found the ring full, by their kinds and processes.
    by_process: u64,
    /// Those that the kernel counted, and no process was kept of: told, and found by the reading before.
    lost_told: u64,
    lost_before: u64,
    missed: Option<u64>,
    begun: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    count: u64,
    quiet: u32,
}

/// What is new since the reading before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RadarNews {
    /// Calls that have no event.
    pub floods: Vec<(FloodKey, FloodCount)>,
    /// Calls of which nothing is known.
    pub lost: u64,
    /// All events so far.
    pub events: u64,
}

/// What the kernel says.
#[derive(Clone, Debug, Default)]
struct Reading {
    seen: u64,
    ring_full: u64,
    missed: u64,
    floods: Vec<(FloodKey, FloodCount, Vec<u8>)>,
}

impl RadarCounts {
    /// Reads the maps.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read(
        &mut self,
        kernel: &LinuxKernel,
        counts: &OwnedFd,
        floods: &OwnedFd,
    ) -> Result<RadarNews, KernelError> {
        let sum = |key| {
            let values = kernel.read_per_cpu(counts, key)?;
            let number = |value: &Vec<u8>| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            Ok::<u64, KernelError>(values.iter().map(number).sum())
        };
        // The floods last: what is counted in one is in the other by then.
        let mut reading = Reading { seen: sum(0)?, ring_full: sum(1)?, missed: sum(2)?, floods: Vec::new() };
        for entry in kernel.map_entries(floods, MOST_FLOODS)? {
            reading.floods.extend(flood(&entry).map(|(key, count)| (key, count, entry.key)));
        }
        let (news, quiet) = self.compare(&reading);
        for key in quiet {
            kernel.remove_entry(floods, &key)?;
        }
        Ok(news)
    }

    /// What is new, and the keys of floods that are over.
    fn compare(&mut self, reading: &Reading) -> (RadarNews, Vec<Vec<u8>>) {
        let mut news = RadarNews { events: reading.seen, ..RadarNews::default() };
        let (mut known, mut quiet) = (BTreeMap::new(), Vec::new());
        for (key, count, raw) in &reading.floods {
            let before = self.floods.get(key).copied().unwrap_or_default();
            // Fewer than before: the kernel forgot the entry, and made it anew.
            let more = count.count.checked_sub(before.count).unwrap_or(count.count);
            if more > 0 {
                self.by_process += more;
                news.floods.push((key.clone(), FloodCount { count: more, ..*count }));
            }
            let is_quiet = if more > 0 { 0 } else { before.quiet + 1 };
            if is_quiet >= QUIET {
                quiet.push(raw.clone());
            }
            known.insert(key.clone(), Known { count: count.count, quiet: is_quiet });
        }
        self.floods = known;
        if !self.begun {
            // What an earlier daemon told is not told again.
            self.begun = true;
            self.lost_told = reading.ring_full.saturating_sub(self.by_process);
            self.missed = Some(reading.missed);
            return (news, quiet);
        }
        // A program counts an event first, and its process then: what is missing for long is lost.
        let lost = reading.ring_full.saturating_sub(self.by_process + self.lost_told);
        let surely = lost.min(self.lost_before);
        self.lost_before = lost - surely;
        self.lost_told += surely;
        let missed = reading.missed.saturating_sub(self.missed.unwrap_or(0));
        self.missed = Some(reading.missed);
        news.lost = surely + missed;
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

    fn told(news: &RadarNews) -> u64 {
        news.floods.iter().map(|(_, count)| count.count).sum()
    }

    #[test]
    fn the_sum_of_what_is_told_is_what_the_kernel_counted_also_where_it_forgets() {
        let mut counts = RadarCounts::default();
        let (mut sum, mut lost) = (0, 0);
        counts.compare(&reading(0, &[]));
        for (ring_full, floods) in [
            (100, vec![(1, 60), (2, 40)]),
            // Process 2 was forgotten with 50 calls that nobody had read.
            (200, vec![(1, 110)]),
            (200, vec![(1, 110)]),
            // And is there again.
            (230, vec![(1, 120), (2, 20)]),
            (230, vec![(1, 120), (2, 20)]),
        ] {
            let (news, _) = counts.compare(&reading(ring_full, &floods));
            (sum, lost) = (sum + told(&news), lost + news.lost);
        }
        assert_eq!((sum, lost), (180, 50));
    }

    #[test]
    fn what_is_counted_and_not_yet_kept_is_not_lost() {
        let mut counts = RadarCounts::default();
        counts.compare(&reading(0, &[]));
        assert_eq!(counts.compare(&reading(10, &[(1, 9)])).0.lost, 0);
        assert_eq!(counts.compare(&reading(11, &[(1, 11)])).0.lost, 0);
    }

    #[test]
    fn a_flood_that_is_over_leaves_the_map_and_what_was_told_before_is_not_told_as_lost() {
        let mut counts = RadarCounts::default();
        let first = counts.compare(&reading(1000, &[(1, 10)]));
        assert_eq!((told(&first.0), first.0.lost), (10, 0));
        let ended = (0..QUIET).map(|_| counts.compare(&reading(1000, &[(1, 10)]))).last().unwrap();
        assert_eq!(ended.1, [1_u32.to_ne_bytes().to_vec()]);
        assert_eq!(ended.0.lost, 0);
        // Removed by then, and again.
        let (news, _) = counts.compare(&reading(1003, &[(1, 3)]));
        assert_eq!((told(&news), news.lost), (3, 0));
    }
}
