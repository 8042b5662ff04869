//! All metrics of the controller. `docs/metrics.md` is generated from this table.

use bpfman_metrics::{Metric, MetricUnit, metrics};

metrics! {
    CONTROLLER_METRICS:
    BUILD = Metric::gauge("bpfman_controller_build_info", &["version"], "1, with the version of the controller.");
    LEADER = Metric::gauge("bpfman_controller_leader", &[], "1 if this controller acts.");
    STATES = Metric::gauge("bpfman_controller_states", &[], "State objects known.");
    NODES = Metric::gauge("bpfman_controller_nodes", &[], "Nodes known.");
    TEXTS = Metric::gauge("bpfman_controller_texts", &[], "Different texts held.");
    TAINTED = Metric::gauge("bpfman_controller_tainted_nodes", &[], "Nodes kept free of pods.");
    SUMMING = Metric::gauge("bpfman_controller_summing", &[], "Time of the last sum over one application.").of(MetricUnit::Seconds);
    WRITES = Metric::counter("bpfman_controller_writes", &["kind", "result"], "Writes to the API server.");
    LISTS = Metric::counter("bpfman_controller_lists", &["kind"], "Lists from the beginning.");
    WATCH_FAILURES = Metric::counter("bpfman_controller_watch_failures", &["kind"], "Watches that ended with an error.");
    APPLICATION_NODES = Metric::gauge("bpfman_application_nodes", &["kind", "namespace", "name", "state"], "Nodes of an application: `wanted`, and of these `updated`, `healthy`, `failed`.");
}

#[cfg(test)]
mod tests {
    use bpfman_metrics::{PROCESS_METRICS, metrics_table, section_difference};

    use super::*;

    #[test]
    fn the_page_has_the_table() {
        let page = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
        let table = metrics_table(CONTROLLER_METRICS.iter().chain(&PROCESS_METRICS).copied());
        let difference = section_difference(page, "controller", &table);
        assert_eq!(difference.ok(), Some(None));
    }
}
