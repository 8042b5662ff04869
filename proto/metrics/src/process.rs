//! Metrics of the process, under the names of Prometheus' own libraries.

use std::fs;

use crate::{Exposition, Metric, MetricUnit};

static CPU: Metric = Metric::counter("process_cpu", &[], "CPU time of the process.").of(MetricUnit::Seconds);
static RESIDENT: Metric =
    Metric::gauge("process_resident_memory", &[], "Resident memory.").of(MetricUnit::Bytes);
static VIRTUAL: Metric =
    Metric::gauge("process_virtual_memory", &[], "Virtual memory.").of(MetricUnit::Bytes);
static STARTED: Metric =
    Metric::gauge("process_start_time", &[], "When it was started, since 1970.").of(MetricUnit::Seconds);
static OPEN_FILES: Metric = Metric::gauge("process_open_fds", &[], "Open file descriptors.");
static MAX_FILES: Metric = Metric::gauge("process_max_fds", &[], "Most file descriptors that it may open.");
static THREADS: Metric = Metric::gauge("process_threads", &[], "Threads.");

/// Metrics that [`add_process`] adds.
pub static PROCESS_METRICS: [&Metric; 7] =
    [&CPU, &RESIDENT, &VIRTUAL, &STARTED, &OPEN_FILES, &MAX_FILES, &THREADS];

/// Adds the kernel's statistics of this process; unavailable ones are omitted.
pub fn add_process(samples: &mut Exposition) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(ProcessStat::parse) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        samples.add(&CPU, [], stat.cpu_ticks as f64 / ticks);
        samples.add(&VIRTUAL, [], stat.virtual_bytes);
        samples.add(&RESIDENT, [], stat.resident_pages.saturating_mul(rustix::param::page_size() as u64));
        samples.add(&THREADS, [], stat.threads);
        if let Some(boot) = boot_seconds() {
            samples.add(&STARTED, [], boot as f64 + stat.start_ticks as f64 / ticks);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of the descriptors is the folder itself.
        samples.add(&OPEN_FILES, [], (open.count() as u64).saturating_sub(1));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(most) = limit {
        samples.add(&MAX_FILES, [], most);
    }
}

/// Fields of `/proc/PID/stat`, proc(5).
#[derive(Debug, PartialEq, Eq)]
struct ProcessStat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl ProcessStat {
    fn parse(text: &str) -> Option<Self> {
        // The name, in brackets, may contain anything; the state is the third field.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 5 0 1234 8192 11 1844";
        let stat = ProcessStat {
            cpu_ticks: 300,
            threads: 5,
            start_ticks: 1234,
            virtual_bytes: 8192,
            resident_pages: 11,
        };
        assert_eq!(ProcessStat::parse(text), Some(stat));
        assert_eq!(ProcessStat::parse("7 (a"), None);
    }

    #[test]
    fn every_process_has_all_of_them() {
        let mut samples = Exposition::default();
        add_process(&mut samples);
        let text = samples.text();
        for metric in PROCESS_METRICS {
            assert!(text.contains(&format!("\n{} ", metric.series())), "{} in\n{text}", metric.name);
        }
    }
}
