//! Figures about the agent itself, as text for Prometheus.

use std::sync::Arc;

use bpfman_runtime::metrics::{Counter, Counters, MetricsText};
use bpfman_runtime::requests::Requests;

/// What the agent counts.
#[derive(Debug, Default)]
pub struct AgentMetrics {
    /// Reconciles of an application.
    pub reconciles: Counter,
    /// Reconciles that failed, by reason.
    pub failures: Counters,
    /// Requests to the API server.
    pub requests: Arc<Requests>,
    /// Calls of the daemon, by method.
    pub daemon_calls: Counters,
    /// Times that a watch had to begin again after an error.
    pub watch_errors: Counters,
    /// State objects that were written.
    pub writes: Counter,
}

/// What is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentGauges {
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

impl AgentMetrics {
    /// As Prometheus reads it.
    #[must_use]
    pub fn text(&self, now: &AgentGauges) -> String {
        let (mut text, requests) = (MetricsText::default(), &self.requests);
        for (name, help, counter) in [
            ("bpfman_agent_reconciles_total", "Looks at an application.", &self.reconciles),
            ("bpfman_agent_api_sent_bytes_total", "Bodies of requests.", &requests.sent_bytes),
            ("bpfman_agent_api_received_bytes_total", "Bodies of answers.", &requests.received_bytes),
            ("bpfman_agent_state_writes_total", "State objects written.", &self.writes),
        ] {
            text.counter(name, help, counter);
        }
        let failing = "Applications that wait after a failure.";
        for (name, help, value) in [
            ("bpfman_agent_applications", "Applications known.", now.applications),
            ("bpfman_agent_applications_failing", failing, now.failing),
            ("bpfman_agent_programs", "Programs loaded for applications.", now.programs),
            ("bpfman_agent_links", "Links attached for applications.", now.links),
            ("bpfman_agent_daemon_up", "Whether the daemon answers.", now.daemon_up.into()),
            ("bpfman_agent_leading", "Whether this is the node's acting agent.", now.leading.into()),
        ] {
            text.gauge(name, help, value);
        }
        for (name, help, label, counters) in [
            ("bpfman_agent_failures_total", "Looks that failed.", "reason", &self.failures),
            ("bpfman_agent_api_requests_total", "Requests to the API server.", "verb", &requests.sent),
            ("bpfman_agent_api_errors_total", "Errors of the API server.", "code", &requests.errors),
            ("bpfman_agent_daemon_calls_total", "Calls of the daemon.", "method", &self.daemon_calls),
            ("bpfman_agent_watch_errors_total", "Watches that failed.", "source", &self.watch_errors),
        ] {
            text.counters(name, help, [label], counters);
        }
        text.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_prometheus_wants_them() {
        let metrics = AgentMetrics::default();
        metrics.reconciles.add(3);
        metrics.failures.add("kernel-refused", 2);
        metrics.failures.add("odd \"name\"\n", 1);
        let text = metrics.text(&AgentGauges { links: 7, daemon_up: true, ..AgentGauges::default() });
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
