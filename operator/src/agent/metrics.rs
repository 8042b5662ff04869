//! Figures about the agent itself, as text for Prometheus.

use std::sync::Arc;

use bpfman_runtime::metrics::Kind::{Counter, Gauge};
use bpfman_runtime::metrics::{self, Counters, Text};
use bpfman_runtime::requests::Requests;

/// What the agent counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Looks at an application.
    pub reconciles: metrics::Counter,
    /// Looks that failed, by reason.
    pub failures: Counters,
    /// Requests to the API server.
    pub requests: Arc<Requests>,
    /// Calls of the daemon, by method.
    pub daemon_calls: Counters,
    /// Times that a watch had to begin again after an error.
    pub watch_errors: Counters,
    /// State objects that were written.
    pub writes: metrics::Counter,
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
        let (mut text, requests) = (Text::default(), &self.requests);
        let mut one = |kind, name: &str, help: &str, value: u64| {
            text.one(kind, &format!("bpfman_agent_{name}"), help, value);
        };
        one(Counter, "reconciles_total", "Looks at an application.", self.reconciles.get());
        one(Counter, "api_sent_bytes_total", "Bodies of requests.", requests.sent_bytes.get());
        one(Counter, "api_received_bytes_total", "Bodies of answers.", requests.received_bytes.get());
        one(Counter, "state_writes_total", "State objects written.", self.writes.get());
        one(Gauge, "applications", "Applications known.", now.applications);
        one(Gauge, "applications_failing", "Applications that wait after a failure.", now.failing);
        one(Gauge, "programs", "Programs loaded for applications.", now.programs);
        one(Gauge, "links", "Links attached for applications.", now.links);
        one(Gauge, "daemon_up", "Whether the daemon answers.", now.daemon_up.into());
        one(Gauge, "leading", "Whether this is the node's acting agent.", now.leading.into());
        for (name, help, label, counters) in [
            ("failures_total", "Looks that failed.", "reason", &self.failures),
            ("api_requests_total", "Requests to the API server.", "verb", &requests.sent),
            ("api_errors_total", "Errors of the API server.", "code", &requests.errors),
            ("daemon_calls_total", "Calls of the daemon.", "method", &self.daemon_calls),
            ("watch_errors_total", "Watches that failed.", "source", &self.watch_errors),
        ] {
            let values = counters.all().into_iter().map(|(value, count)| ([value], count));
            text.many(Counter, &format!("bpfman_agent_{name}"), help, [label], values);
        }
        text.finish()
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
