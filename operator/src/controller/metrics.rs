//! What the controller counts, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

use bpfman_application::summary::Summary;

/// Figures of one controller.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Figures>);

#[derive(Debug, Default)]
struct Figures {
    /// By kind of object and what came out.
    writes: BTreeMap<(&'static str, &'static str), u64>,
    lists: BTreeMap<&'static str, u64>,
    watch_failures: BTreeMap<&'static str, u64>,
    /// Why watches fail now.
    troubles: BTreeMap<&'static str, String>,
    /// By kind, namespace and name.
    applications: BTreeMap<(&'static str, String, String), Summary>,
    gauges: Gauges,
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
        self.with(|figures| *figures.writes.entry((kind, result)).or_default() += 1);
    }

    /// A kind is listed from its beginning.
    pub fn listed(&self, kind: &'static str) {
        self.with(|figures| *figures.lists.entry(kind).or_default() += 1);
    }

    /// A watch failed.
    pub fn watch_failed(&self, kind: &'static str, why: String) {
        self.with(|figures| {
            *figures.watch_failures.entry(kind).or_default() += 1;
            figures.troubles.insert(kind, why);
        });
    }

    /// A watch goes on.
    pub fn watch_goes_on(&self, kind: &'static str) {
        self.with(|figures| figures.troubles.remove(kind));
    }

    /// Which watches fail, and why, for people.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.with(|figures| figures.troubles.iter().map(|(kind, why)| format!("{kind}: {why}")).collect())
    }

    /// An application was summed up; absent: it is gone.
    pub fn application(&self, kind: &'static str, namespace: &str, name: &str, summary: Option<&Summary>) {
        let key = (kind, namespace.to_owned(), name.to_owned());
        self.with(|figures| match summary {
            Some(summary) => _ = figures.applications.insert(key, summary.clone()),
            None => _ = figures.applications.remove(&key),
        });
    }

    /// What there is now.
    pub fn now(&self, change: impl FnOnce(&mut Gauges)) {
        self.with(|figures| change(&mut figures.gauges));
    }

    /// Whether everything was listed once.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.with(|figures| figures.gauges.complete)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Figures) -> T) -> T {
        // Figures are whole after each line of a panicking writer too.
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The figures in the text format of Prometheus.
    #[must_use]
    pub fn text(&self) -> String {
        self.with(|figures| figures.text())
    }
}

impl Figures {
    fn text(&self) -> String {
        let mut text = String::new();
        let gauges = &self.gauges;
        let mut gauge = |name: &str, help: &str, value: f64| {
            _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        };
        gauge("bpfman_controller_leader", "1 if this controller acts.", f64::from(u8::from(gauges.leader)));
        gauge("bpfman_controller_states", "State objects known.", gauges.states as f64);
        gauge("bpfman_controller_nodes", "Nodes known.", gauges.nodes as f64);
        gauge("bpfman_controller_texts", "Different texts held.", gauges.texts as f64);
        gauge("bpfman_controller_tainted_nodes", "Nodes kept free of pods.", gauges.tainted as f64);
        gauge(
            "bpfman_controller_summing_seconds",
            "The last sum over one application.",
            gauges.summing_seconds,
        );
        if let Some(bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory.", bytes as f64);
        }
        head(&mut text, "bpfman_controller_writes_total", "counter", "Writes to the API server.");
        for ((kind, result), count) in &self.writes {
            _ = writeln!(
                text,
                "bpfman_controller_writes_total{{kind=\"{kind}\",result=\"{result}\"}} {count}"
            );
        }
        head(&mut text, "bpfman_controller_lists_total", "counter", "Lists from the beginning.");
        for (kind, count) in &self.lists {
            _ = writeln!(text, "bpfman_controller_lists_total{{kind=\"{kind}\"}} {count}");
        }
        head(
            &mut text,
            "bpfman_controller_watch_failures_total",
            "counter",
            "Watches that ended with an error.",
        );
        for (kind, count) in &self.watch_failures {
            _ = writeln!(text, "bpfman_controller_watch_failures_total{{kind=\"{kind}\"}} {count}");
        }
        head(
            &mut text,
            "bpfman_application_nodes",
            "gauge",
            "Nodes of an application by how they are doing.",
        );
        for ((kind, namespace, name), summary) in &self.applications {
            for (state, count) in [
                ("wanted", summary.wanted),
                ("updated", summary.updated),
                ("healthy", summary.healthy),
                ("failed", summary.failed),
            ] {
                // Names of Kubernetes objects hold nothing that would have to be escaped.
                _ = writeln!(
                    text,
                    "bpfman_application_nodes{{kind=\"{kind}\",namespace=\"{namespace}\",name=\"{name}\",state=\"{state}\"}} {count}"
                );
            }
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
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
