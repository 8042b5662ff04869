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

/// Keys of the map `counts`: all events, those that found the ring full, and those that could not be kept.
const SEEN: u32 = 0;
const RING_FULL: u32 = 1;
const MISSED: u32 = 2;
/// What a daemon notes there for the one that takes the maps over: what it told of the two numbers before.
const TOLD_FULL: u32 = 3;
const TOLD_MISSED: u32 = 4;

/// What was read last.
#[derive(Debug, Default)]
pub struct CallCounts {
    floods: BTreeMap<FloodKey, Known>,
    /// Events that found the ring full, by their kinds and processes.
    by_process: u64,
    /// Those that the kernel counted, and no process is kept of: told, and found by the reading before.
    lost_told: u64,
    lost_before: u64,
    missed: u64,
    /// What the map has as told; none: that was not read yet.
    noted: Option<ToldCounts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    count: u64,
    quiet: u32,
}

/// What was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ToldCounts {
    /// Events that found the ring full, without those that `floods` has.
    ring_full: u64,
    missed: u64,
}

/// What is new since the reading before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallNews {
    /// Calls that have no event.
    pub floods: Vec<(FloodKey, FloodCount)>,
    /// Calls of which nothing is known.
    pub lost: u64,
    /// All events so far.
    pub events: u64,
}

/// A flood that is over: what it is, and its key in the map.
type QuietFlood = (FloodKey, Vec<u8>);

/// What the kernel says.
#[derive(Clone, Debug, Default)]
struct Reading {
    seen: u64,
    ring_full: u64,
    missed: u64,
    floods: Vec<(FloodKey, FloodCount, Vec<u8>)>,
}

impl CallCounts {
    /// Reads the maps.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn read(
        &mut self,
        kernel: &LinuxKernel,
        counts: &OwnedFd,
        floods: &OwnedFd,
    ) -> Result<CallNews, KernelError> {
        let each = |key| {
            let values = kernel.read_per_cpu(counts, key)?;
            let number = |value: &Vec<u8>| value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            Ok::<Vec<u64>, KernelError>(values.iter().map(number).collect())
        };
        let sum = |key| each(key).map(|numbers| numbers.iter().sum::<u64>());
        if self.noted.is_none() {
            // The map of an older object has no room for it. Then all is told, which may be twice.
            let noted = |key| each(key).ok().and_then(|numbers| numbers.first().copied()).unwrap_or_default();
            self.go_on(ToldCounts { ring_full: noted(TOLD_FULL), missed: noted(TOLD_MISSED) });
        }
        // The floods last: what is counted in one is in the other by then.
        let mut reading = Reading {
            seen: sum(SEEN)?,
            ring_full: sum(RING_FULL)?,
            missed: sum(MISSED)?,
            floods: Vec::new(),
        };
        for entry in kernel.map_entries(floods, MOST_FLOODS)? {
            reading.floods.extend(flood(&entry).map(|(key, count)| (key, count, entry.key)));
        }
        let (news, quiet) = self.compare(&reading);
        for (over, key) in quiet {
            match kernel.remove_entry(floods, &key) {
                Ok(_was_there) => {
                    self.floods.remove(&over);
                }
                // The news are told all the same.
                Err(error) => tracing::warn!(%error, "a flood that is over stays in the map"),
            }
        }
        Ok(news)
    }

    /// Notes in the map what is told by now: a daemon that takes it over does not tell it again. To be called
    /// behind the telling, so that what a daemon that is killed did not tell is told by the next one.
    pub fn note_told(&mut self, kernel: &LinuxKernel, counts: &OwnedFd) {
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

    /// Goes on where an earlier daemon ended.
    fn go_on(&mut self, noted: ToldCounts) {
        (self.lost_told, self.missed) = (noted.ring_full, noted.missed);
        self.noted = Some(noted);
    }

    /// What is told. What `floods` has is not in it: who takes the maps over tells that by process, once
    /// more.
    fn told(&self) -> ToldCounts {
        let in_floods: u64 = self.floods.values().map(|known| known.count).sum();
        let ring_full = (self.by_process + self.lost_told).saturating_sub(in_floods);
        ToldCounts { ring_full, missed: self.missed }
    }

    /// What is new, and the floods that are over.
    fn compare(&mut self, reading: &Reading) -> (CallNews, Vec<QuietFlood>) {
        let mut news = CallNews { events: reading.seen, ..CallNews::default() };
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
                quiet.push((key.clone(), raw.clone()));
            }
            known.insert(key.clone(), Known { count: count.count, quiet: is_quiet });
        }
        self.floods = known;
        // A program counts an event first, and its process then: what is missing for long is lost.
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

    fn told(news: &CallNews) -> u64 {
        news.floods.iter().map(|(_, count)| count.count).sum()
    }

    #[test]
    fn the_sum_of_what_is_told_is_what_the_kernel_counted_also_where_it_forgets() {
        let mut counts = CallCounts::default();
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
        let mut counts = CallCounts::default();
        counts.compare(&reading(0, &[]));
        assert_eq!(counts.compare(&reading(10, &[(1, 9)])).0.lost, 0);
        assert_eq!(counts.compare(&reading(11, &[(1, 11)])).0.lost, 0);
    }

    #[test]
    fn a_flood_that_is_over_leaves_the_map_and_is_counted_anew_if_it_comes_back() {
        let mut counts = CallCounts::default();
        let first = counts.compare(&reading(10, &[(1, 10)]));
        assert_eq!((told(&first.0), first.0.lost), (10, 0));
        let ended = (0..QUIET).map(|_| counts.compare(&reading(10, &[(1, 10)]))).last().unwrap();
        let keys: Vec<Vec<u8>> = ended.1.iter().map(|(_, key)| key.clone()).collect();
        assert_eq!((keys, ended.0.lost), (vec![1_u32.to_ne_bytes().to_vec()], 0));
        for (flood, _) in &ended.1 {
            counts.floods.remove(flood);
        }
        // More than before in an entry that is a new one.
        let (news, _) = counts.compare(&reading(25, &[(1, 15)]));
        assert_eq!((told(&news), news.lost), (15, 0));
    }

    /// What is told by process, and lost, at two readings of the same numbers by a daemon that goes on from
    /// there.
    fn told_from(noted: ToldCounts, reading: &Reading) -> (u64, u64, ToldCounts) {
        let mut counts = CallCounts::default();
        counts.go_on(noted);
        let news = [(); 2].map(|()| counts.compare(reading).0);
        (news.iter().map(told).sum(), news.iter().map(|news| news.lost).sum(), counts.told())
    }

    #[test]
    fn who_takes_maps_over_tells_what_nobody_told_and_floods_that_are_still_there_again() {
        // 50 calls by process, 10 of which the kernel kept no process, and 4 that were missed.
        let before = Reading { missed: 4, ..reading(60, &[(1, 50)]) };
        let (by_process, lost, noted) = told_from(ToldCounts::default(), &before);
        assert_eq!((by_process, lost, noted), (50, 14, ToldCounts { ring_full: 10, missed: 4 }));
        // Meanwhile there were 7 more, 3 and 2.
        let after = Reading { missed: 6, ..reading(70, &[(1, 57)]) };
        let (by_process, lost, noted) = told_from(noted, &after);
        assert_eq!((by_process, lost, noted), (57, 5, ToldCounts { ring_full: 13, missed: 6 }));
        // Nothing of what comes before the first reading is taken for told where nobody noted it.
        assert_eq!(told_from(ToldCounts::default(), &after).1, 13 + 6);
        // A flood that was told, and forgotten by the kernel since, is told as lost rather than not at all.
        assert_eq!(told_from(noted, &reading(70, &[])).1, 57);
    }
}
