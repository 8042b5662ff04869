//! Perf events that programs run at: the counted event, the sampling rate and the scope.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Counted event, by perf's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PerfEvent {
    index: usize,
}

/// Source of an event (`enum perf_type_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfSource {
    /// Kernel: such events exist on every machine.
    Software,
    /// CPU, if it has such a counter and its hypervisor allows the use.
    Hardware,
}

struct Event {
    name: &'static str,
    /// Other name of the event in perf.
    alias: &'static str,
    source: PerfSource,
    /// `enum perf_sw_ids` or `enum perf_hw_id`.
    number: u64,
}

const fn software(name: &'static str, alias: &'static str, number: u64) -> Event {
    Event { name, alias, source: PerfSource::Software, number }
}

const fn hardware(name: &'static str, alias: &'static str, number: u64) -> Event {
    Event { name, alias, source: PerfSource::Hardware, number }
}

static EVENTS: [Event; 20] = [
    software("cpu-clock", "", 0),
    software("task-clock", "", 1),
    software("page-faults", "faults", 2),
    software("context-switches", "cs", 3),
    software("cpu-migrations", "migrations", 4),
    software("minor-faults", "", 5),
    software("major-faults", "", 6),
    software("alignment-faults", "", 7),
    software("emulation-faults", "", 8),
    software("cgroup-switches", "", 11),
    hardware("cycles", "cpu-cycles", 0),
    hardware("instructions", "", 1),
    hardware("cache-references", "", 2),
    hardware("cache-misses", "", 3),
    hardware("branches", "branch-instructions", 4),
    hardware("branch-misses", "", 5),
    hardware("bus-cycles", "", 6),
    hardware("stalled-cycles-frontend", "", 7),
    hardware("stalled-cycles-backend", "", 8),
    hardware("ref-cycles", "", 9),
];

/// Rate at which events run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleRate {
    /// Runs per second, approximately, while there are events; the kernel adapts the period.
    Frequency(u64),
    /// Number of events between two runs; for clocks, nanoseconds.
    Period(u64),
}

/// Perf event, its rate and its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerfEventPlace {
    /// Counted event.
    pub event: PerfEvent,
    /// Rate at which the program runs.
    pub rate: SampleRate,
    /// Only CPU that is counted. `None`, without a `pid`: all CPUs, with a link for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Only thread that is counted, with threads and processes that it creates later (host id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// Invalid perf event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPerfEvent {
    /// Unknown event.
    #[error("perf event \"{0}\" is none of {names}", names = names())]
    Unknown(String),
    /// Neither a frequency nor a period, or both.
    #[error("a perf event takes either a frequency or a period")]
    Rate,
    /// Frequency or period of 0.
    #[error("a perf event's {0} is at least 1")]
    Never(&'static str),
    /// Period above the kernel's maximum.
    #[error("a perf event's period is at most {most}", most = i64::MAX)]
    Period,
}

fn names() -> String {
    EVENTS.each_ref().map(|event| event.name).join(", ")
}

impl PerfEvent {
    fn event(self) -> &'static Event {
        &EVENTS[self.index]
    }

    /// Returns the name of the event.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.event().name
    }

    /// Returns the source of the event.
    #[must_use]
    pub fn source(self) -> PerfSource {
        self.event().source
    }

    /// Returns the number of the event among those of its source.
    #[must_use]
    pub fn number(self) -> u64 {
        self.event().number
    }
}

impl FromStr for PerfEvent {
    type Err = BadPerfEvent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let is = |event: &Event| event.name == name || (!name.is_empty() && event.alias == name);
        let found = EVENTS.iter().position(is).map(|index| Self { index });
        found.ok_or_else(|| BadPerfEvent::Unknown(name.chars().take(64).collect()))
    }
}

impl TryFrom<String> for PerfEvent {
    type Error = BadPerfEvent;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<PerfEvent> for String {
    fn from(event: PerfEvent) -> Self {
        event.name().to_owned()
    }
}

impl SampleRate {
    /// Creates a rate from a frequency or a period, of which exactly one is given.
    ///
    /// # Errors
    /// Neither or both are given; the value is 0; the period is above the kernel's maximum.
    pub fn new(frequency: Option<u64>, period: Option<u64>) -> Result<Self, BadPerfEvent> {
        match (frequency, period) {
            (Some(0), None) => Err(BadPerfEvent::Never("frequency")),
            (None, Some(0)) => Err(BadPerfEvent::Never("period")),
            (Some(frequency), None) => Ok(Self::Frequency(frequency)),
            (None, Some(period)) if i64::try_from(period).is_err() => Err(BadPerfEvent::Period),
            (None, Some(period)) => Ok(Self::Period(period)),
            (None, None) | (Some(_), Some(_)) => Err(BadPerfEvent::Rate),
        }
    }
}

impl PerfEventPlace {
    /// Returns whether each CPU needs a link: a perf event can count all threads on one CPU only.
    #[must_use]
    pub const fn is_per_cpu(&self) -> bool {
        self.cpu.is_none() && self.pid.is_none()
    }
}

impl fmt::Display for PerfEventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            SampleRate::Frequency(frequency) => write!(f, "{} {frequency} Hz", self.event.name())?,
            SampleRate::Period(period) => write!(f, "{} every {period}", self.event.name())?,
        }
        self.cpu.map_or(Ok(()), |cpu| write!(f, " on CPU {cpu}"))?;
        self.pid.map_or(Ok(()), |pid| write!(f, " of {pid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_perfs_names_and_the_kernels_numbers() {
        let event = |name: &str| name.parse::<PerfEvent>().map(|event| (event.source(), event.number()));
        assert_eq!(event("cpu-clock"), Ok((PerfSource::Software, 0)));
        assert_eq!(event("cs"), event("context-switches"));
        assert_eq!(event("cpu-cycles"), Ok((PerfSource::Hardware, 0)));
        assert_eq!(event("ref-cycles"), Ok((PerfSource::Hardware, 9)));
        for bad in ["", "CPU-CLOCK", "cpu_clock", "r1a8"] {
            let error = event(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{bad}\" is none of cpu-clock, task-clock")), "{error}");
        }
    }

    #[test]
    fn a_rate_is_one_of_two_and_never_nothing() {
        assert_eq!(SampleRate::new(Some(99), None), Ok(SampleRate::Frequency(99)));
        assert_eq!(SampleRate::new(None, Some(1)), Ok(SampleRate::Period(1)));
        assert_eq!(SampleRate::new(None, None), Err(BadPerfEvent::Rate));
        assert_eq!(SampleRate::new(Some(1), Some(1)), Err(BadPerfEvent::Rate));
        assert_eq!(SampleRate::new(Some(0), None), Err(BadPerfEvent::Never("frequency")));
        assert_eq!(SampleRate::new(None, Some(0)), Err(BadPerfEvent::Never("period")));
        assert_eq!(SampleRate::new(None, Some(1 << 63)), Err(BadPerfEvent::Period));
    }

    #[test]
    fn places_are_described_in_words() {
        let event = "page-faults".parse().unwrap();
        let all = PerfEventPlace { event, rate: SampleRate::Frequency(99), cpu: None, pid: None };
        assert_eq!((all.to_string().as_str(), all.is_per_cpu()), ("page-faults 99 Hz", true));
        let one = PerfEventPlace { rate: SampleRate::Period(5), cpu: Some(1), pid: Some(7), ..all };
        assert_eq!(
            (one.to_string().as_str(), one.is_per_cpu()),
            ("page-faults every 5 on CPU 1 of 7", false)
        );
    }
}
