//! Metrics of the controller in Prometheus format.

pub mod catalogue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_application::summary::Summary;
use bpfman_metrics::{Exposition, add_process};
use bpfman_runtime::metrics::{Counters, add_counters};
use bpfman_runtime::watch_failures::WatchFailures;

use catalogue::{
    APPLICATION_NODES, BUILD, LEADER, LISTS, NODES, STATES, SUMMING, TAINTED, TEXTS, WATCH_FAILURES, WRITES,
};

type Summaries = BTreeMap<[String; 3], (Arc<str>, Summary)>;

#[derive(Debug, Default)]
pub struct ControllerMetrics {
    writes: Counters<&'static str, 2>,
    /// Full lists, by kind of object.
    pub lists: Counters<&'static str>,
    /// Failed watches, by kind of object.
    pub watch_failures: Counters<&'static str>,
    /// Current failures of watches.
    pub troubles: WatchFailures<&'static str>,
    applications: Mutex<Summaries>,
    gauges: Mutex<ControllerGauges>,
}

/// Current values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ControllerGauges {
    /// True if this controller is the leader.
    pub leader: bool,
    /// True if everything was listed once.
    pub complete: bool,
    pub states: usize,
    pub nodes: usize,
    pub texts: usize,
    /// Number of nodes with the `not-ready` taint.
    pub tainted: usize,
    /// Duration of the last summary of one application, in seconds.
    pub summing_seconds: f64,
}

impl ControllerMetrics {
    /// Counts a write to the API server.
    pub fn wrote(&self, kind: &'static str, result: &'static str) {
        self.writes.add_to([kind, result], 1);
    }

    /// Stores the summary of an application, by its uid. `name` is its kind, namespace and name.
    pub fn application(&self, uid: &Arc<str>, name: [&str; 3], summary: &Summary) {
        self.applications().insert(name.map(str::to_owned), (uid.clone(), summary.clone()));
    }

    /// Removes a deleted application by its uid, since another one of the same name may exist.
    pub fn forget(&self, uid: &Arc<str>) {
        self.applications().retain(|_, (of, _)| of != uid);
    }

    fn applications(&self) -> MutexGuard<'_, Summaries> {
        self.applications.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the current values.
    pub fn now(&self, change: impl FnOnce(&mut ControllerGauges)) {
        change(&mut self.gauges.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Returns a message about incomplete lists and failing watches, or `None` once everything was listed.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let complete = self.gauges.lock().unwrap_or_else(PoisonError::into_inner).complete;
        let troubles = self.troubles.all().into_iter().map(|(kind, why)| format!("\n{kind}: {why}"));
        (!complete).then(|| ["still listing".to_owned()].into_iter().chain(troubles).collect())
    }

    /// Returns the metrics in Prometheus format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut samples = Exposition::default();
        let now = *self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        samples.add(&BUILD, [env!("CARGO_PKG_VERSION")], 1);
        samples.add(&LEADER, [], now.leader);
        for (metric, count) in
            [(&STATES, now.states), (&NODES, now.nodes), (&TEXTS, now.texts), (&TAINTED, now.tainted)]
        {
            samples.add(metric, [], count as u64);
        }
        samples.add(&SUMMING, [], now.summing_seconds);
        add_counters(&mut samples, &WRITES, &self.writes);
        add_counters(&mut samples, &LISTS, &self.lists);
        add_counters(&mut samples, &WATCH_FAILURES, &self.watch_failures);
        for ([kind, namespace, name], (_, summary)) in self.applications().iter() {
            let Summary { wanted, updated, healthy, failed, .. } = summary;
            for (state, count) in
                [("wanted", wanted), ("updated", updated), ("healthy", healthy), ("failed", failed)]
            {
                samples.add(
                    &APPLICATION_NODES,
                    [kind, namespace, name, state],
                    u64::try_from(*count).unwrap_or(0),
                );
            }
        }
        add_process(&mut samples);
        samples.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_a_line_for_each_state_until_it_is_gone() {
        let metrics = ControllerMetrics::default();
        let summary = Summary { wanted: 5, healthy: 3, ..Summary::default() };
        let uid = "u-1".into();
        metrics.application(&uid, ["BpfApplication", "shop", "guard"], &summary);
        let line = "bpfman_application_nodes{kind=\"BpfApplication\",namespace=\"shop\",name=\"guard\",state=\"healthy\"} 3";
        assert!(metrics.text().contains(line), "{}", metrics.text());
        metrics.forget(&"u-2".into());
        assert!(metrics.text().contains("guard"));
        metrics.forget(&uid);
        assert!(!metrics.text().contains("guard"));
    }

    #[test]
    fn writes_are_counted_by_what_came_out() {
        let metrics = ControllerMetrics::default();
        metrics.wrote("status", "ok");
        metrics.wrote("status", "ok");
        metrics.wrote("status", "conflict");
        let text = metrics.text();
        assert!(text.contains("writes_total{kind=\"status\",result=\"ok\"} 2"), "{text}");
        assert!(text.contains("writes_total{kind=\"status\",result=\"conflict\"} 1"), "{text}");
    }
}
