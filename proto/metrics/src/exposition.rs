use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::{Metric, MetricKind, MetricUnit};

/// Maximum number of series of one metric in one answer. Prometheus keeps each series for weeks.
pub const MAX_SERIES: usize = 2000;

/// Maximum length of a label's value: users choose names, and may choose long ones.
const MAX_LABEL_BYTES: usize = 200;

/// Number of series that [`MAX_SERIES`] left out.
pub const SERIES_LEFT_OUT: Metric = Metric::gauge(
    "bpfman_metrics_series_left_out",
    &["metric"],
    "Series that this answer does not have, since there are too many of this metric.",
);

/// Value of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// Whole number.
    Whole(u64),
    /// Floating point number.
    Number(f64),
    /// Counts by upper bounds of buckets (the last is infinite), and the sum of all values.
    Buckets(Vec<(f64, u64)>, f64),
}

impl From<u64> for MetricValue {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for MetricValue {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<bool> for MetricValue {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

type Series = BTreeMap<Vec<String>, MetricValue>;

/// Samples of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, (&'static Metric, Series)>,
    left_out: BTreeMap<&'static str, (&'static Metric, u64)>,
}

impl Exposition {
    /// Adds a value to the sample with these label values, which are in the order of the metric's labels.
    pub fn add<const LABELS: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [&str; LABELS],
        value: impl Into<MetricValue>,
    ) {
        debug_assert_eq!(metric.labels.len(), LABELS, "{} has other labels", metric.name);
        let key: Vec<String> = labels.iter().map(|value| label(value)).collect();
        let (_, series) = self.families.entry(metric.name).or_insert((metric, Series::new()));
        if let Some(known) = series.get_mut(&key) {
            known.add(value.into());
        } else if series.len() < MAX_SERIES {
            series.insert(key, value.into());
        } else {
            self.left_out.entry(metric.name).or_insert((metric, 0)).1 += 1;
        }
    }

    /// Returns all samples as OpenMetrics. Metrics without a sample are omitted.
    #[must_use]
    pub fn text(mut self) -> String {
        for (metric, count) in std::mem::take(&mut self.left_out).into_values() {
            self.add(&SERIES_LEFT_OUT, [&metric.series()], count);
        }
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String does not fail.
        _ = text::encode(&mut text, &registry);
        text
    }
}

/// Limits the length, and escapes control characters and text direction. The format itself escapes line ends.
fn label(value: &str) -> String {
    let hides = |character: char| {
        let turns = matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        turns || character.is_control() && character != '\n'
    };
    let mut shown = String::with_capacity(value.len().min(MAX_LABEL_BYTES));
    for character in value.chars() {
        let before = shown.len();
        if hides(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() > MAX_LABEL_BYTES {
            shown.truncate(before);
            break;
        }
    }
    shown
}

impl MetricValue {
    fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::Whole(sum), Self::Whole(more)) => *sum = sum.saturating_add(more),
            (Self::Number(sum), Self::Number(more)) => *sum += more,
            (known, other) => *known = other,
        }
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, series) in self.families.values() {
            let unit = metric.unit.map(|unit| match unit {
                MetricUnit::Bytes => Unit::Bytes,
                MetricUnit::Seconds => Unit::Seconds,
            });
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for (values, value) in series {
                let labels: Vec<(&str, &str)> =
                    metric.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                if labels.is_empty() {
                    encode(&mut family, metric.kind, value)?;
                } else {
                    encode(&mut family.encode_family(&labels)?, metric.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, kind: MetricKind, value: &MetricValue) -> fmt::Result {
    match (kind, value) {
        (MetricKind::Counter, MetricValue::Whole(count)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
        }
        (MetricKind::Counter, MetricValue::Number(count)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(count, None)
        }
        (_, MetricValue::Whole(now)) => encoder.encode_gauge(now),
        (_, MetricValue::Number(now)) => encoder.encode_gauge(now),
        (_, MetricValue::Buckets(buckets, sum)) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUNS: Metric = Metric::counter("runs", &["program", "owner"], "How often it ran.");
    static TOOK: Metric = Metric::durations("took", &[], "How long it took.");
    static HELD: Metric = Metric::gauge("held", &[], "What is held.").of(MetricUnit::Bytes);

    #[test]
    fn the_text_is_openmetrics() {
        let mut samples = Exposition::default();
        samples.add(&RUNS, ["pass", "root"], 2);
        samples.add(&RUNS, ["pass", "root"], 3);
        samples.add(&TOOK, [], MetricValue::Buckets(vec![(0.5, 1), (f64::INFINITY, 2)], 4.5));
        samples.add(&HELD, [], 7);
        let text = "\
# HELP held_bytes What is held.\n# TYPE held_bytes gauge\n# UNIT held_bytes bytes\nheld_bytes 7\n\
# HELP runs How often it ran.\n# TYPE runs counter\nruns_total{program=\"pass\",owner=\"root\"} 5\n\
# HELP took_seconds How long it took.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
took_seconds_sum 4.5\ntook_seconds_count 3\ntook_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 3\n\
# EOF\n";
        assert_eq!(samples.text(), text);
    }

    #[test]
    fn label_values_are_escaped_and_shortened() {
        let mut samples = Exposition::default();
        samples.add(&RUNS, ["a\"b\\c\nd", "} 1\n"], 1);
        let text = samples.text();
        assert!(text.contains("runs_total{program=\"a\\\"b\\\\c\\nd\",owner=\"} 1\\n\"} 1\n"), "{text}");
        let mut samples = Exposition::default();
        samples.add(&RUNS, ["a\u{1b}[2Jb\rc\0d\u{9b}e\u{202e}f", "\n"], 1);
        let text = samples.text();
        let line = "program=\"a\\\\u{1b}[2Jb\\\\rc\\\\u{0}d\\\\u{9b}e\\\\u{202e}f\",owner=\"\\n\"";
        assert!(text.contains(line), "{text}");
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        let mut samples = Exposition::default();
        samples.add(&RUNS, [&"é".repeat(500), ""], 1);
        assert!(samples.text().contains(&format!("program=\"{}\"", "é".repeat(100))));
    }

    #[test]
    fn too_many_series_are_counted_and_left_out() {
        let mut samples = Exposition::default();
        for number in 0..MAX_SERIES + 5 {
            samples.add(&RUNS, [&number.to_string(), ""], 1);
        }
        let text = samples.text();
        assert_eq!(text.lines().filter(|line| line.starts_with("runs_total")).count(), MAX_SERIES);
        assert!(text.contains("bpfman_metrics_series_left_out{metric=\"runs_total\"} 5\n"));
    }
}
