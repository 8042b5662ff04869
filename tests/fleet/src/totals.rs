//! Requests of agents to the API server, from the agents' own counters.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};

use bpfman_operator::agent::metrics::AgentMetrics;
use bpfman_runtime::metrics::Counters;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub requests: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub bytes: (u64, u64),
    pub writes: u64,
}

impl Totals {
    #[must_use]
    pub fn of(metrics: &AgentMetrics) -> Self {
        Self {
            requests: by_label(&metrics.requests.sent),
            errors: by_label(&metrics.requests.errors),
            bytes: (metrics.requests.sent_bytes.get(), metrics.requests.received_bytes.get()),
            writes: metrics.writes.get(),
        }
    }

    #[must_use]
    pub fn all(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Returns the number of requests that are no watches, which has a limit on a steady fleet.
    #[must_use]
    pub fn besides_watches(&self) -> u64 {
        self.all() - self.requests.get("WATCH").copied().unwrap_or_default()
    }

    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.errors.get("0").copied().unwrap_or_default()
    }

    #[must_use]
    pub fn figures(&self, nodes: usize) -> Value {
        let each = |value: u64| (value as f64 / nodes.max(1) as f64 * 100.0).round() / 100.0;
        json!({
            "requests": self.requests, "errors": self.errors, "writes": self.writes,
            "requests_per_node": each(self.all()), "writes_per_node": each(self.writes),
            "sent_bytes_per_node": each(self.bytes.0), "received_bytes_per_node": each(self.bytes.1),
        })
    }
}

impl AddAssign<&Totals> for Totals {
    fn add_assign(&mut self, other: &Self) {
        let add = |to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
            from.iter().for_each(|(key, value)| *to.entry(key.clone()).or_default() += value);
        };
        add(&mut self.requests, &other.requests);
        add(&mut self.errors, &other.errors);
        self.bytes = (self.bytes.0 + other.bytes.0, self.bytes.1 + other.bytes.1);
        self.writes += other.writes;
    }
}

impl Sub<&Totals> for Totals {
    type Output = Self;

    fn sub(self, before: &Self) -> Self {
        let less = |from: BTreeMap<String, u64>, what: &BTreeMap<String, u64>| {
            from.into_iter()
                .map(|(key, value)| {
                    let left = value - what.get(&key).copied().unwrap_or_default();
                    (key, left)
                })
                .filter(|(_, left)| *left > 0)
                .collect()
        };
        Self {
            requests: less(self.requests, &before.requests),
            errors: less(self.errors, &before.errors),
            bytes: (self.bytes.0 - before.bytes.0, self.bytes.1 - before.bytes.1),
            writes: self.writes - before.writes,
        }
    }
}

fn by_label(counters: &Counters) -> BTreeMap<String, u64> {
    counters.all().into_iter().map(|([label], count)| (label, count)).collect()
}
