//! All metrics of the agent. `docs/metrics.md` is generated from this table.

use bpfman_metrics::{Metric, MetricUnit, metrics};

metrics! {
    AGENT_METRICS:
    BUILD = Metric::gauge("bpfman_agent_build_info", &["version"], "1, with the version of the agent.");
    RECONCILES = Metric::counter("bpfman_agent_reconciles", &[], "Reconciles of an application.");
    FAILURES = Metric::counter("bpfman_agent_failures", &["reason"], "Reconciles that failed.");
    STATE_WRITES = Metric::counter("bpfman_agent_state_writes", &[], "State objects written.");
    API_REQUESTS = Metric::counter("bpfman_agent_api_requests", &["verb"], "Requests to the API server.");
    API_ERRORS = Metric::counter("bpfman_agent_api_errors", &["code"], "Errors of the API server; code 0 where it did not answer.");
    API_SENT = Metric::counter("bpfman_agent_api_sent", &[], "Bodies of requests.").of(MetricUnit::Bytes);
    API_RECEIVED = Metric::counter("bpfman_agent_api_received", &[], "Bodies of answers.").of(MetricUnit::Bytes);
    DAEMON_CALLS = Metric::counter("bpfman_agent_daemon_calls", &["method"], "Calls of the daemon.");
    WATCH_ERRORS = Metric::counter("bpfman_agent_watch_errors", &["source"], "Watches that began again after an error.");
    APPLICATIONS = Metric::gauge("bpfman_agent_applications", &[], "Applications known.");
    APPLICATIONS_FAILING = Metric::gauge("bpfman_agent_applications_failing", &[], "Applications that wait after a failure.");
    PROGRAMS = Metric::gauge("bpfman_agent_programs", &[], "Programs loaded for applications.");
    LINKS = Metric::gauge("bpfman_agent_links", &[], "Links attached for applications.");
    DAEMON_UP = Metric::gauge("bpfman_agent_daemon_up", &[], "1 if the daemon answers.");
    LEADING = Metric::gauge("bpfman_agent_leading", &[], "1 if this is the node's acting agent.");
}

#[cfg(test)]
mod tests {
    use bpfman_metrics::{PROCESS_METRICS, metrics_table, section_difference};

    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let page = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
        let table = metrics_table(AGENT_METRICS.iter().chain(&PROCESS_METRICS).copied());
        let difference = section_difference(page, "agent", &table);
        assert_eq!(difference.ok(), Some(None));
    }
}
