//! Metrics of the agent in Prometheus format.

pub mod catalogue;

use std::sync::Arc;

use bpfman_metrics::{Exposition, add_process};
use bpfman_runtime::metrics::{Counter, Counters, add_counters};
use bpfman_runtime::requests::Requests;

use catalogue::{
    API_ERRORS, API_RECEIVED, API_REQUESTS, API_SENT, APPLICATIONS, APPLICATIONS_FAILING, BUILD,
    DAEMON_CALLS, DAEMON_UP, FAILURES, LEADING, LINKS, PROGRAMS, RECONCILES, STATE_WRITES, WATCH_ERRORS,
};

/// Counters of the agent.
#[derive(Debug, Default)]
pub struct AgentMetrics {
    pub reconciles: Counter,
    /// Failed reconciliations, by reason.
    pub failures: Counters,
    /// Requests to the API server.
    pub requests: Arc<Requests>,
    pub daemon_calls: Counters,
    /// Watches that restarted after an error.
    pub watch_errors: Counters,
    pub writes: Counter,
}

/// Current values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentGauges {
    pub applications: u64,
    /// Applications that wait after a failure.
    pub failing: u64,
    pub programs: u64,
    pub links: u64,
    /// True if the daemon answers.
    pub daemon_up: bool,
    /// True if this agent is the acting one of the node.
    pub leading: bool,
}

impl AgentMetrics {
    /// Returns the metrics in Prometheus format.
    #[must_use]
    pub fn text(&self, now: &AgentGauges) -> String {
        let (mut samples, requests) = (Exposition::default(), &self.requests);
        samples.add(&BUILD, [env!("CARGO_PKG_VERSION")], 1);
        for (metric, counter) in [
            (&RECONCILES, &self.reconciles),
            (&API_SENT, &requests.sent_bytes),
            (&API_RECEIVED, &requests.received_bytes),
            (&STATE_WRITES, &self.writes),
        ] {
            samples.add(metric, [], counter.get());
        }
        for (metric, value) in [
            (&APPLICATIONS, now.applications),
            (&APPLICATIONS_FAILING, now.failing),
            (&PROGRAMS, now.programs),
            (&LINKS, now.links),
            (&DAEMON_UP, now.daemon_up.into()),
            (&LEADING, now.leading.into()),
        ] {
            samples.add(metric, [], value);
        }
        for (metric, counters) in [
            (&FAILURES, &self.failures),
            (&API_REQUESTS, &requests.sent),
            (&API_ERRORS, &requests.errors),
            (&DAEMON_CALLS, &self.daemon_calls),
            (&WATCH_ERRORS, &self.watch_errors),
        ] {
            add_counters(&mut samples, metric, counters);
        }
        add_process(&mut samples);
        samples.text()
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
            "# TYPE bpfman_agent_reconciles counter",
            "bpfman_agent_reconciles_total 3",
            "bpfman_agent_failures_total{reason=\"kernel-refused\"} 2",
            "bpfman_agent_failures_total{reason=\"odd \\\"name\\\"\\n\"} 1",
            "bpfman_agent_links 7",
            "bpfman_agent_daemon_up 1",
            "bpfman_agent_leading 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
