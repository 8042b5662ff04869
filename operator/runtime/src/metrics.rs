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

/// Figures that only grow, by the values of their labels: one value, or an array of them.
#[derive(Debug)]
pub struct Counters<L = String>(Mutex<BTreeMap<L, u64>>);

impl<L> Default for Counters<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Clone + Ord> Counters<L> {
    /// Adds.
    pub fn add(&self, label: impl Into<L>, amount: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(label.into()).or_default() += amount;
    }

    /// All, by label.
    #[must_use]
    pub fn all(&self) -> BTreeMap<L, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What Prometheus calls the type of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what is there now.
    Gauge,
}

/// The text format of Prometheus.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// A figure without labels.
    pub fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.many::<0, &str, _>(kind, name, help, [], [([], value)]);
    }

    /// One figure for each combination of its labels' values.
    pub fn many<const LABELS: usize, V: AsRef<str>, N: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        values: impl IntoIterator<Item = ([V; LABELS], N)>,
    ) {
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
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
