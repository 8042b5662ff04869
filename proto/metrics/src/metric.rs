//! What a metric is called, what it means, and what its labels are.

/// The type of a metric, as OpenMetrics has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows while the process lives.
    Counter,
    /// What is there now.
    Gauge,
    /// How many of what size, by upper bounds.
    Histogram,
}

/// The unit of a metric, which is the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// A metric. Its name here has neither the unit nor `_total`: [`Metric::series`] adds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Without unit and without `_total`.
    pub name: &'static str,
    /// The unit, if it has one that the name ends in.
    pub unit: Option<MetricUnit>,
    /// The type.
    pub kind: MetricKind,
    /// Names of labels, in the order in which samples give their values.
    pub labels: &'static [&'static str],
    /// One line of text, without line breaks.
    pub help: &'static str,
}

impl MetricKind {
    /// As `# TYPE` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl MetricUnit {
    /// As names end.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

impl Metric {
    /// A metric that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind: MetricKind::Counter, labels, help }
    }

    /// A metric of what is there now.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind: MetricKind::Gauge, labels, help }
    }

    /// A metric of how long things took.
    #[must_use]
    pub const fn durations(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: Some(MetricUnit::Seconds), kind: MetricKind::Histogram, labels, help }
    }

    /// The same in a unit.
    #[must_use]
    pub const fn of(self, unit: MetricUnit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// The name with its unit: what `# TYPE` names.
    #[must_use]
    pub fn family(&self) -> String {
        match self.unit {
            Some(unit) => format!("{}_{}", self.name, unit.name()),
            None => self.name.to_owned(),
        }
    }

    /// The name of its series, as queries have it. The series of a histogram end in `_bucket`, `_sum` and `_count` beside.
    #[must_use]
    pub fn series(&self) -> String {
        match self.kind {
            MetricKind::Counter => format!("{}_total", self.family()),
            MetricKind::Gauge | MetricKind::Histogram => self.family(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_in_its_unit_and_a_counters_in_total() {
        let runs = Metric::counter("bpfman_program_runs", &[], "");
        let time = Metric::counter("bpfman_program_run", &[], "").of(MetricUnit::Seconds);
        let memory = Metric::gauge("bpfman_program_memory", &[], "").of(MetricUnit::Bytes);
        assert_eq!(runs.series(), "bpfman_program_runs_total");
        assert_eq!(
            (time.family(), time.series()),
            ("bpfman_program_run_seconds".to_owned(), "bpfman_program_run_seconds_total".to_owned())
        );
        assert_eq!(memory.series(), "bpfman_program_memory_bytes");
    }
}
