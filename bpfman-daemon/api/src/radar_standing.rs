//! How the radar stands, for those who ask; and who switches it on and off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfmand_core::BytecodeSource;
use bpfmand_journal::StrangerActor;

/// Processes that are remembered for what they made.
const MOST_MAKERS: usize = 4096;
/// Touches of hooks that are remembered.
const MOST_TOUCHED: usize = 16;

/// By what the radar sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RadarSource {
    /// By nothing.
    #[default]
    Off,
    /// Programs at functions of the kernel.
    Trampolines,
    /// Programs at trace points of the system call.
    Tracepoints,
    /// Lists of ids, each second.
    Polling,
}

impl RadarSource {
    /// As answers have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Trampolines => "trampolines",
            Self::Tracepoints => "tracepoints",
            Self::Polling => "polling",
        }
    }
}

/// How the radar stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RadarReport {
    /// By what it sees.
    pub source: RadarSource,
    /// Its object, as in `file /usr/lib/bpfman/radar.o`; empty while it is off.
    pub object: String,
    /// What keeps it from a better source.
    pub why: String,
    /// What it cannot see, each with the reason.
    pub unseen: Vec<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Events since then.
    pub events: u64,
    /// Those of this daemon.
    pub own: u64,
    /// Those that came while the ring was full, and were counted by process.
    pub aggregated: u64,
    /// Those of which nothing but their number is known.
    pub lost: u64,
    /// Touches of hooks of this daemon, the newest last.
    pub touched: Vec<String>,
    /// How many there were.
    pub touches: u64,
    /// Who loaded programs.
    pub loaders: BTreeMap<u32, StrangerActor>,
    /// Who made links.
    pub makers: BTreeMap<u32, StrangerActor>,
}

impl RadarReport {
    /// Returns whether an entry has to be removed before another one can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.loaders.len() >= MOST_MAKERS || self.makers.len() >= MOST_MAKERS
    }

    /// Removes the makers of programs and links that no longer exist; if most still exist, also the oldest eighth.
    pub fn make_room(&mut self, programs: &BTreeSet<u32>, links: &BTreeSet<u32>) {
        for (of, there) in [(&mut self.loaders, programs), (&mut self.makers, links)] {
            of.retain(|id, _| there.contains(id));
            // An eighth at once: the kernel is not queried for each of the next entries.
            while of.len() > MOST_MAKERS - MOST_MAKERS / 8 {
                of.pop_first();
            }
        }
    }

    /// Remembers who made what.
    pub fn remember(&mut self, who: &StrangerActor, programs: &[u32], links: &[u32]) {
        for (of, ids) in [(&mut self.loaders, programs), (&mut self.makers, links)] {
            for id in ids {
                // The oldest have the lowest ids.
                while of.len() >= MOST_MAKERS {
                    of.pop_first();
                }
                of.insert(*id, who.clone());
            }
        }
    }

    /// Remembers that a hook was touched.
    pub fn touch(&mut self, what: String) {
        self.touches += 1;
        self.touched.push(what);
        if self.touched.len() > MOST_TOUCHED {
            self.touched.remove(0);
        }
    }
}

/// The same, shared.
#[derive(Debug, Default)]
pub struct RadarStanding(Mutex<RadarReport>);

impl RadarStanding {
    /// As it is now.
    #[must_use]
    pub fn report(&self) -> RadarReport {
        self.lock().clone()
    }

    /// True unless it is off.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock().source != RadarSource::Off
    }

    /// To be changed.
    pub fn lock(&self) -> MutexGuard<'_, RadarReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the radar is not switched.
#[derive(Debug, thiserror::Error)]
pub enum RadarRefusal {
    /// Root's configuration decides about it.
    #[error("[radar] of bpfman.toml says which object it has: {0}")]
    Configured(String),
    /// It cannot be done.
    #[error("{0}")]
    Failed(String),
}

/// Who switches the radar.
pub trait RadarControl: Send + Sync {
    /// Has it use this object. Returns when it sees, or cannot; the caller is inside the gate of changes.
    ///
    /// # Errors
    /// The configuration names another object; it cannot be had; or the kernel takes none of its programs, which leaves it off.
    fn start(&self, object: BytecodeSource) -> Result<(), RadarRefusal>;

    /// Unloads its programs.
    ///
    /// # Errors
    /// The configuration wants it, or they cannot be unloaded.
    fn stop(&self) -> Result<(), RadarRefusal>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_gone_programs_keeps_makers_of_present_ones() {
        let mut report = RadarReport::default();
        let who = |pid| StrangerActor { pid, ..StrangerActor::default() };
        report.remember(&who(5), &[1], &[1]);
        for id in 2..20_000 {
            if report.is_full() {
                report.make_room(&BTreeSet::from([1, id]), &BTreeSet::from([1]));
            }
            report.remember(&who(7), &[id], &[]);
        }
        assert_eq!((report.loaders[&1].pid, report.makers[&1].pid), (5, 5));
        assert!(report.loaders.len() <= MOST_MAKERS && report.loaders.contains_key(&19_999));
        // Where all of them are there, the oldest give way.
        let mut report = RadarReport::default();
        (1..=MOST_MAKERS as u32).for_each(|id| report.remember(&who(7), &[id], &[]));
        assert!(report.is_full());
        report.make_room(&report.loaders.keys().copied().collect(), &BTreeSet::new());
        assert!(!report.is_full() && report.loaders.contains_key(&(MOST_MAKERS as u32)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_newest_stays() {
        let mut report = RadarReport::default();
        let who = StrangerActor { pid: 7, ..StrangerActor::default() };
        for id in 1..10_000 {
            report.remember(&who, &[id], &[]);
            report.touch(id.to_string());
        }
        assert_eq!((report.loaders.len(), report.makers.len(), report.touched.len()), (MOST_MAKERS, 0, 16));
        assert!(report.loaders.contains_key(&9999) && report.touched.contains(&"9999".to_owned()));
    }
}
