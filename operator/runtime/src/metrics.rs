//! Figures, and their text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A figure that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Figures that only grow, by the values of their labels.
#[derive(Debug)]
pub struct Counters<V = String, const LABELS: usize = 1>(Mutex<BTreeMap<[V; LABELS], u64>>);

impl<V, const LABELS: usize> Default for Counters<V, LABELS> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone + Ord> Counters<V> {
    /// Adds to the figure of a label's value.
    pub fn add(&self, label: impl Into<V>, amount: u64) {
        self.add_to([label.into()], amount);
    }
}

impl<V: Clone + Ord, const LABELS: usize> Counters<V, LABELS> {
    /// Adds to the figure of these values.
    pub fn add_to(&self, labels: [V; LABELS], amount: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default() += amount;
    }

    /// All, by the values of their labels.
    #[must_use]
    pub fn all(&self) -> BTreeMap<[V; LABELS], u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What Prometheus calls the type of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It is what is there now.
    Gauge,
}

/// The text format of Prometheus.
#[derive(Debug, Default)]
pub struct MetricsText(String);

impl MetricsText {
    /// A figure without labels that is what is there now.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.many::<0, &str, _>(MetricKind::Gauge, name, help, [], [([], value)]);
    }

    /// A figure without labels that only grows.
    pub fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.many::<0, &str, _>(MetricKind::Counter, name, help, [], [([], counter.get())]);
    }

    /// Figures that only grow, by the values of their labels.
    pub fn counters<const LABELS: usize, V: AsRef<str> + Clone + Ord>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        counters: &Counters<V, LABELS>,
    ) {
        self.many(MetricKind::Counter, name, help, labels, counters.all());
    }

    /// One figure for each combination of its labels' values.
    pub fn many<const LABELS: usize, V: AsRef<str>, N: Display>(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        values: impl IntoIterator<Item = ([V; LABELS], N)>,
    ) {
        let kind = if kind == MetricKind::Counter { "counter" } else { "gauge" };
        // Writing to a String does not fail, here and below.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (of_labels, value) in values {
            let pair = |(label, value): (&str, &V)| {
                let value = value.as_ref().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
                format!("{label}=\"{value}\"")
            };
            let pairs: Vec<String> = labels.into_iter().zip(&of_labels).map(pair).collect();
            _ = match pairs.as_slice() {
                [] => writeln!(self.0, "{name} {value}"),
                pairs => writeln!(self.0, "{name}{{{}}} {value}", pairs.join(",")),
            };
        }
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}
