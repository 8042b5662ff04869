/// OpenMetrics type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Value that only grows while the process lives.
    Counter,
    /// Current value.
    Gauge,
    /// Distribution of values, by upper bounds.
    Histogram,
}

/// Unit of a metric, at the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    Bytes,
    Seconds,
}

/// Metric. The name has neither the unit nor `_total`: [`Metric::series`] adds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    /// Unit, if the name ends in one.
    pub unit: Option<MetricUnit>,
    /// Type of the metric.
    pub kind: MetricKind,
    /// Names of labels, in the order of their values in samples.
    pub labels: &'static [&'static str],
    /// Help text, one line.
    pub help: &'static str,
}

impl MetricKind {
    /// Returns the name in `# TYPE`.
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
    /// Returns the suffix of metric names with this unit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        }
    }
}

impl Metric {
    /// Creates a metric that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind: MetricKind::Counter, labels, help }
    }

    /// Creates a metric of a current value.
    #[must_use]
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: None, kind: MetricKind::Gauge, labels, help }
    }

    /// Creates a metric of durations.
    #[must_use]
    pub const fn durations(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, unit: Some(MetricUnit::Seconds), kind: MetricKind::Histogram, labels, help }
    }

    /// Sets the unit.
    #[must_use]
    pub const fn of(self, unit: MetricUnit) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Returns the name with its unit, as in `# TYPE`.
    #[must_use]
    pub fn family(&self) -> String {
        match self.unit {
            Some(unit) => format!("{}_{}", self.name, unit.name()),
            None => self.name.to_owned(),
        }
    }

    /// Returns the name of the series, as in queries; those of a histogram end in `_bucket`, `_sum` and `_count`.
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
