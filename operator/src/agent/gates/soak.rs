use std::collections::BTreeMap;
use std::time::Instant;

use bpfman_apply::report::ProgramReport;
use bpfman_proto::ext::v1::{Hook, ProgramRuns};

use super::SlotFigures;

/// Soak of one revision.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Revision that soaks.
    pub revision: String,
    /// Hooks with statistics enabled for the soak.
    pub hooks: Vec<Hook>,
    /// Statistics at the start, by link.
    pub began: BTreeMap<u32, SlotFigures>,
    /// Statistics of programs that are at no packet hook.
    pub events: EventFigures,
    /// Time of the last check.
    pub checked: Instant,
}

impl Soak {
    #[must_use]
    pub fn of(revision: &str) -> Self {
        Self {
            revision: revision.to_owned(),
            hooks: Vec::new(),
            began: BTreeMap::new(),
            events: EventFigures::default(),
            checked: Instant::now(),
        }
    }
}

/// Sum of all samples of a soak, by kernel id.
#[derive(Clone, Debug, Default)]
pub struct EventFigures(BTreeMap<u32, Sampled>);

#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    runs: u64,
    nanoseconds: u64,
    missed: (u64, u64),
}

impl EventFigures {
    pub fn add(&mut self, came: &ProgramRuns) {
        let first = Sampled { missed: (came.missed, came.missed), ..Sampled::default() };
        let sampled = self.0.entry(came.program_id).or_insert(first);
        sampled.runs += came.runs;
        sampled.nanoseconds += came.nanoseconds;
        sampled.missed.1 = came.missed;
    }

    /// Returns the statistics of a program; without runs if it was not sampled.
    #[must_use]
    pub fn slot(&self, program: &ProgramReport) -> SlotFigures {
        let slot = SlotFigures {
            program: program.name.clone(),
            hook: program.program_type.to_owned(),
            is_of_events: true,
            ..SlotFigures::default()
        };
        let Some(sampled) = program.id.and_then(|id| self.0.get(&id)) else { return slot };
        SlotFigures {
            runs: Some(sampled.runs),
            nanoseconds: (sampled.runs > 0).then(|| sampled.nanoseconds as f64 / sampled.runs as f64),
            is_timed: true,
            lost: sampled.missed.1.saturating_sub(sampled.missed.0),
            ..slot
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> ProgramReport {
        ProgramReport {
            name: "snoop".to_owned(),
            program_type: "TracePoint",
            id: Some(7),
            ..ProgramReport::default()
        }
    }

    #[test]
    fn samples_add_up_and_misses_of_before_do_not_count() {
        let mut events = EventFigures::default();
        assert_eq!(events.slot(&program()).runs, None);
        for (runs, nanoseconds, missed) in [(0, 0, 40), (10, 900, 40), (30, 5100, 43)] {
            events.add(&ProgramRuns { program_id: 7, runs, nanoseconds, missed });
        }
        let slot = events.slot(&program());
        assert_eq!((slot.runs, slot.nanoseconds, slot.lost), (Some(40), Some(150.0), 3));
    }

    #[test]
    fn program_without_runs_has_no_time() {
        let mut events = EventFigures::default();
        events.add(&ProgramRuns { program_id: 7, ..ProgramRuns::default() });
        let slot = events.slot(&program());
        assert_eq!((slot.runs, slot.nanoseconds, slot.is_timed), (Some(0), None, true));
    }
}
