//! Figures about the agent itself, as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
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

/// Figures by label.
#[derive(Debug, Default)]
pub struct Counters(Mutex<BTreeMap<String, u64>>);

impl Counters {
    /// Adds.
    pub fn add(&self, label: &str, amount: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(label) {
            Some(count) => *count += amount,
            None => {
                all.insert(label.to_owned(), amount);
            }
        }
    }

    /// All, by label.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the agent counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Looks at an application.
    pub reconciles: Counter,
    /// Looks that failed, by reason.
    pub failures: Counters,
    /// Requests to the API server, by verb: `GET`, `LIST`, `WATCH`, `POST`, `PATCH`, `DELETE`.
    pub api_requests: Counters,
    /// Bytes of the bodies of requests.
    pub api_sent: Counter,
    /// Bytes of the bodies of answers.
    pub api_received: Counter,
    /// Answers of the API server that are errors, by status code; `0` where there was no answer.
    pub api_errors: Counters,
    /// Calls of the daemon, by method.
    pub daemon_calls: Counters,
    /// Times that a watch had to begin again after an error.
    pub watch_errors: Counters,
    /// State objects that were written.
    pub writes: Counter,
}

/// What is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Applications that are known.
    pub applications: u64,
    /// Applications that wait after a failure.
    pub failing: u64,
    /// Programs that are loaded for them.
    pub programs: u64,
    /// Links that are attached for them.
    pub links: u64,
    /// Whether the daemon answers.
    pub daemon_up: bool,
    /// Whether this agent may act, or another one does.
    pub leading: bool,
}

impl Metrics {
    /// As Prometheus reads it.
    #[must_use]
    pub fn text(&self, now: &Gauges) -> String {
        let mut text = String::new();
        let one = |text: &mut String, name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a String does not fail.
            let _infallible = write!(
                text,
                "# HELP bpfman_agent_{name} {help}\n# TYPE bpfman_agent_{name} {kind}\nbpfman_agent_{name} {value}\n"
            );
        };
        let many = |text: &mut String, name: &str, help: &str, label: &str, values: &Counters| {
            let _infallible =
                write!(text, "# HELP bpfman_agent_{name} {help}\n# TYPE bpfman_agent_{name} counter\n");
            for (key, value) in values.all() {
                let key = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
                let _infallible = writeln!(text, "bpfman_agent_{name}{{{label}=\"{key}\"}} {value}");
            }
        };
        let counter = "counter";
        one(&mut text, "reconciles_total", counter, "Looks at an application.", self.reconciles.get());
        many(&mut text, "failures_total", "Looks that failed.", "reason", &self.failures);
        many(&mut text, "api_requests_total", "Requests to the API server.", "verb", &self.api_requests);
        one(&mut text, "api_sent_bytes_total", counter, "Bodies of requests.", self.api_sent.get());
        one(&mut text, "api_received_bytes_total", counter, "Bodies of answers.", self.api_received.get());
        many(&mut text, "api_errors_total", "Errors of the API server.", "code", &self.api_errors);
        many(&mut text, "daemon_calls_total", "Calls of the daemon.", "method", &self.daemon_calls);
        many(&mut text, "watch_errors_total", "Watches that failed.", "source", &self.watch_errors);
        one(&mut text, "state_writes_total", counter, "State objects written.", self.writes.get());
        let gauge = "gauge";
        one(&mut text, "applications", gauge, "Applications known.", now.applications);
        one(&mut text, "applications_failing", gauge, "Applications that wait after a failure.", now.failing);
        one(&mut text, "programs", gauge, "Programs loaded for applications.", now.programs);
        one(&mut text, "links", gauge, "Links attached for applications.", now.links);
        one(&mut text, "daemon_up", gauge, "Whether the daemon answers.", now.daemon_up.into());
        one(&mut text, "leading", gauge, "Whether this is the node's acting agent.", now.leading.into());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_prometheus_wants_them() {
        let metrics = Metrics::default();
        metrics.reconciles.add(3);
        metrics.failures.add("kernel-refused", 2);
        metrics.failures.add("odd \"name\"\n", 1);
        let text = metrics.text(&Gauges { links: 7, daemon_up: true, ..Gauges::default() });
        for line in [
            "# TYPE bpfman_agent_reconciles_total counter",
            "bpfman_agent_reconciles_total 3",
            "bpfman_agent_failures_total{reason=\"kernel-refused\"} 2",
            "bpfman_agent_failures_total{reason=\"odd \\\"name\\\" \"} 1",
            "bpfman_agent_links 7",
            "bpfman_agent_daemon_up 1",
            "bpfman_agent_leading 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
