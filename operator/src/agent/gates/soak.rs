//! What is kept of a soak while it goes on.

use std::collections::BTreeMap;
use std::time::Instant;

use bpfman_apply::report::ProgramReport;
use bpfman_proto::ext::v1::ProgramRuns;

use super::SlotFigures;

/// One soak.
#[derive(Clone, Debug)]
pub struct Soak {
    /// The revision whose gates are watched.
    pub revision: String,
    /// The figures at its beginning, by link.
    pub began: BTreeMap<u32, SlotFigures>,
    /// Of programs that are at no hook.
    pub events: EventFigures,
    /// When the figures were last checked.
    pub checked: Instant,
}

/// What all samples of a soak came to, by kernel id.
#[derive(Clone, Debug, Default)]
pub struct EventFigures(BTreeMap<u32, Sampled>);

/// What the samples of one program came to.
#[derive(Clone, Copy, Debug, Default)]
struct Sampled {
    runs: u64,
    nanoseconds: u64,
    /// Events that it had missed when it was first checked, and last.
    missed: (u64, u64),
}

impl EventFigures {
    /// Adds what one sample came to.
    pub fn add(&mut self, came: &ProgramRuns) {
        let first = Sampled { missed: (came.missed, came.missed), ..Sampled::default() };
        let sampled = self.0.entry(came.program_id).or_insert(first);
        sampled.runs += came.runs;
        sampled.nanoseconds += came.nanoseconds;
        sampled.missed.1 = came.missed;
    }

    /// The figures of a program, if it was sampled.
    #[must_use]
    pub fn slot(&self, program: &ProgramReport) -> Option<SlotFigures> {
        let sampled = self.0.get(&program.id?)?;
        Some(SlotFigures {
            program: program.name.clone(),
            hook: program.program_type.to_owned(),
            runs: Some(sampled.runs),
            nanoseconds: (sampled.runs > 0).then(|| sampled.nanoseconds as f64 / sampled.runs as f64),
            lost: sampled.missed.1.saturating_sub(sampled.missed.0),
            is_of_events: true,
            ..SlotFigures::default()
        })
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
        assert_eq!(events.slot(&program()), None);
        for (runs, nanoseconds, missed) in [(0, 0, 40), (10, 900, 40), (30, 5100, 43)] {
            events.add(&ProgramRuns { program_id: 7, runs, nanoseconds, missed });
        }
        let slot = events.slot(&program()).unwrap();
        assert_eq!((slot.runs, slot.nanoseconds, slot.lost), (Some(40), Some(150.0), 3));
    }

    #[test]
    fn what_never_ran_has_no_time() {
        let mut events = EventFigures::default();
        events.add(&ProgramRuns { program_id: 7, ..ProgramRuns::default() });
        assert_eq!(events.slot(&program()).unwrap().nanoseconds, None);
    }
}
