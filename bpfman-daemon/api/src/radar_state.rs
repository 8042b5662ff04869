//! State of the radar, and the trait that switches it on and off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_model::BytecodeSource;
use bpfmand_journal::ThirdPartyActor;

const MAX_MAKERS: usize = 4096;
const MAX_TOUCHED: usize = 16;

/// Source of the radar's observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RadarSource {
    /// No source: the radar is off.
    #[default]
    Off,
    /// Programs at functions of the kernel.
    Trampolines,
    /// Programs at tracepoints of the system call.
    Tracepoints,
    /// Lists of ids, every second.
    Polling,
}

impl RadarSource {
    /// Returns the name of the source on the wire.
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

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RadarReport {
    pub source: RadarSource,
    /// Object of the radar, as in `file /usr/lib/bpfman/radar.o`; empty while it is off.
    pub object: String,
    /// Reason why the radar has no better source.
    pub why: String,
    /// Actions that the radar cannot observe, each with the reason.
    pub unseen: Vec<String>,
    /// Start of the observation, RFC 3339.
    pub since: String,
    /// Number of events since then.
    pub events: u64,
    /// Number of events that this daemon caused.
    pub own: u64,
    /// Number of events that came while the ring was full, and were counted by process.
    pub aggregated: u64,
    /// Number of events of which nothing else is known.
    pub lost: u64,
    /// Third-party changes of this daemon's hooks, the newest last.
    pub touched: Vec<String>,
    /// Number of these changes, including those no longer listed.
    pub touches: u64,
    /// Processes that loaded programs, by program id.
    pub loaders: BTreeMap<u32, ThirdPartyActor>,
    /// Processes that made links, by link id.
    pub makers: BTreeMap<u32, ThirdPartyActor>,
}

impl RadarReport {
    /// Returns whether an entry has to be removed before another one can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.loaders.len() >= MAX_MAKERS || self.makers.len() >= MAX_MAKERS
    }

    /// Removes the makers of programs and links that no longer exist; if most still exist, also the oldest eighth.
    pub fn make_room(&mut self, programs: &BTreeSet<u32>, links: &BTreeSet<u32>) {
        for (of, there) in [(&mut self.loaders, programs), (&mut self.makers, links)] {
            of.retain(|id, _| there.contains(id));
            // Remove an eighth at once, so that the kernel is not queried for each of the next entries.
            while of.len() > MAX_MAKERS - MAX_MAKERS / 8 {
                of.pop_first();
            }
        }
    }

    pub fn remember(&mut self, who: &ThirdPartyActor, programs: &[u32], links: &[u32]) {
        for (of, ids) in [(&mut self.loaders, programs), (&mut self.makers, links)] {
            for id in ids {
                // The oldest have the lowest ids.
                while of.len() >= MAX_MAKERS {
                    of.pop_first();
                }
                of.insert(*id, who.clone());
            }
        }
    }

    /// Remembers a third-party change of a hook.
    pub fn touch(&mut self, what: String) {
        self.touches += 1;
        self.touched.push(what);
        if self.touched.len() > MAX_TOUCHED {
            self.touched.remove(0);
        }
    }
}

#[derive(Debug, Default)]
pub struct RadarState(Mutex<RadarReport>);

impl RadarState {
    #[must_use]
    pub fn report(&self) -> RadarReport {
        self.lock().clone()
    }

    /// Returns whether the radar is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock().source != RadarSource::Off
    }

    /// Locks the state, to change it.
    pub fn lock(&self) -> MutexGuard<'_, RadarReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reason why the radar is not switched.
#[derive(Debug, thiserror::Error)]
pub enum RadarRefusal {
    #[error("[radar] of bpfman.toml sets its object: {0}")]
    Configured(String),
    #[error("{0}")]
    Failed(String),
}

/// Control that starts and stops the radar.
pub trait RadarControl: Send + Sync {
    /// Starts the radar with this object, and waits until it observes events. The caller is inside the gate.
    /// Fails if the configuration names another object, or this object cannot be read or loaded.
    fn start(&self, object: BytecodeSource) -> Result<(), RadarRefusal>;

    /// Unloads the radar's programs. Fails if the configuration requires the radar, or its programs cannot be unloaded.
    fn stop(&self) -> Result<(), RadarRefusal>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_gone_programs_keeps_makers_of_present_ones() {
        let mut report = RadarReport::default();
        let who = |pid| ThirdPartyActor { pid, ..ThirdPartyActor::default() };
        report.remember(&who(5), &[1], &[1]);
        for id in 2..20_000 {
            if report.is_full() {
                report.make_room(&BTreeSet::from([1, id]), &BTreeSet::from([1]));
            }
            report.remember(&who(7), &[id], &[]);
        }
        assert_eq!((report.loaders[&1].pid, report.makers[&1].pid), (5, 5));
        assert!(report.loaders.len() <= MAX_MAKERS && report.loaders.contains_key(&19_999));
        let mut report = RadarReport::default();
        (1..=MAX_MAKERS as u32).for_each(|id| report.remember(&who(7), &[id], &[]));
        assert!(report.is_full());
        report.make_room(&report.loaders.keys().copied().collect(), &BTreeSet::new());
        assert!(!report.is_full() && report.loaders.contains_key(&(MAX_MAKERS as u32)));
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let mut report = RadarReport::default();
        let who = ThirdPartyActor { pid: 7, ..ThirdPartyActor::default() };
        for id in 1..10_000 {
            report.remember(&who, &[id], &[]);
            report.touch(id.to_string());
        }
        assert_eq!((report.loaders.len(), report.makers.len(), report.touched.len()), (MAX_MAKERS, 0, 16));
        assert!(report.loaders.contains_key(&9999) && report.touched.contains(&"9999".to_owned()));
    }
}
