//! What the controller counts, as Prometheus reads it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bpfman_application::summary::Summary;
use bpfman_runtime::metrics::{Counters, Kind, Text};
use bpfman_runtime::troubles::Troubles;

/// Figures of one controller.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By kind of object and what came out.
    writes: Counters<[&'static str; 2]>,
    /// Lists from the beginning, by what is listed.
    pub lists: Counters<&'static str>,
    /// Watches that failed, by what is watched.
    pub watch_failures: Counters<&'static str>,
    /// Why watches fail now.
    pub troubles: Troubles<&'static str>,
    /// By kind, namespace and name.
    applications: Mutex<BTreeMap<[String; 3], Summary>>,
    gauges: Mutex<Gauges>,
}

/// What there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Whether this controller acts.
    pub leader: bool,
    /// Whether everything was listed once.
    pub complete: bool,
    /// State objects known.
    pub states: usize,
    /// Nodes known.
    pub nodes: usize,
    /// Different texts held.
    pub texts: usize,
    /// Nodes with our taint.
    pub tainted: usize,
    /// Seconds that the last sum over one application took.
    pub summing_seconds: f64,
}

impl Metrics {
    /// A write to the API server is over.
    pub fn wrote(&self, kind: &'static str, result: &'static str) {
        self.writes.add([kind, result], 1);
    }

    /// An application was summed up; absent: it is gone.
    pub fn application(&self, kind: &str, namespace: &str, name: &str, summary: Option<&Summary>) {
        let key = [kind, namespace, name].map(str::to_owned);
        let mut applications = self.applications.lock().unwrap_or_else(PoisonError::into_inner);
        match summary {
            Some(summary) => _ = applications.insert(key, summary.clone()),
            None => _ = applications.remove(&key),
        }
    }

    /// What there is now.
    pub fn now(&self, change: impl FnOnce(&mut Gauges)) {
        change(&mut self.gauges.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is not listed yet, and which watches fail, for people; absent once everything was listed.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let complete = self.gauges.lock().unwrap_or_else(PoisonError::into_inner).complete;
        let troubles = self.troubles.all().into_iter().map(|(kind, why)| format!("\n{kind}: {why}"));
        (!complete).then(|| ["still listing".to_owned()].into_iter().chain(troubles).collect())
    }

    /// The figures in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Text::default();
        let gauges = *self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let resident = resident_bytes().map(|bytes| bytes as f64);
        for (name, help, value) in [
            (
                "bpfman_controller_leader",
                "1 if this controller acts.",
                Some(f64::from(u8::from(gauges.leader))),
            ),
            ("bpfman_controller_states", "State objects known.", Some(gauges.states as f64)),
            ("bpfman_controller_nodes", "Nodes known.", Some(gauges.nodes as f64)),
            ("bpfman_controller_texts", "Different texts held.", Some(gauges.texts as f64)),
            ("bpfman_controller_tainted_nodes", "Nodes kept free of pods.", Some(gauges.tainted as f64)),
            (
                "bpfman_controller_summing_seconds",
                "The last sum over one application.",
                Some(gauges.summing_seconds),
            ),
            ("process_resident_memory_bytes", "Resident memory.", resident),
        ] {
            value.into_iter().for_each(|value| text.one(Kind::Gauge, name, help, value));
        }
        text.many(
            Kind::Counter,
            "bpfman_controller_writes_total",
            "Writes to the API server.",
            ["kind", "result"],
            self.writes.all(),
        );
        for (name, help, counters) in [
            ("bpfman_controller_lists_total", "Lists from the beginning.", &self.lists),
            (
                "bpfman_controller_watch_failures_total",
                "Watches that ended with an error.",
                &self.watch_failures,
            ),
        ] {
            let values = counters.all().into_iter().map(|(kind, count)| ([kind], count));
            text.many(Kind::Counter, name, help, ["kind"], values);
        }
        let applications = self.applications.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = applications.iter().flat_map(|([kind, namespace, name], summary)| {
            let Summary { wanted, updated, healthy, failed, .. } = summary;
            [("wanted", wanted), ("updated", updated), ("healthy", healthy), ("failed", failed)]
                .map(|(state, count)| ([kind.as_str(), namespace, name, state], count))
        });
        text.many(
            Kind::Gauge,
            "bpfman_application_nodes",
            "Nodes of an application by how they are doing.",
            ["kind", "namespace", "name", "state"],
            nodes,
        );
        text.finish()
    }
}

/// Resident memory of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_has_a_line_for_each_state_until_it_is_gone() {
        let metrics = Metrics::default();
        let summary = Summary { wanted: 5, healthy: 3, ..Summary::default() };
        metrics.application("BpfApplication", "shop", "guard", Some(&summary));
        let line = "bpfman_application_nodes{kind=\"BpfApplication\",namespace=\"shop\",name=\"guard\",state=\"healthy\"} 3";
        assert!(metrics.text().contains(line), "{}", metrics.text());
        metrics.application("BpfApplication", "shop", "guard", None);
        assert!(!metrics.text().contains("guard"));
    }

    #[test]
    fn writes_are_counted_by_what_came_out() {
        let metrics = Metrics::default();
        metrics.wrote("status", "ok");
        metrics.wrote("status", "ok");
        metrics.wrote("status", "conflict");
        let text = metrics.text();
        assert!(text.contains("writes_total{kind=\"status\",result=\"ok\"} 2"), "{text}");
        assert!(text.contains("writes_total{kind=\"status\",result=\"conflict\"} 1"), "{text}");
    }
}
