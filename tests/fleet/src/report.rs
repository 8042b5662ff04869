//! Report: metrics as JSON lines, a table at the end, and violations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process;

#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(String, f64, Value)>,
    broken: Vec<String>,
    processes: BTreeMap<(String, u32), f64>,
}

impl Report {
    pub fn follow(&mut self, name: &str, process: u32) {
        self.processes
            .insert((name.to_owned(), process), process::processor_seconds(process).unwrap_or_default());
    }

    fn processor_seconds(&mut self) -> BTreeMap<String, f64> {
        let mut all: BTreeMap<String, f64> = BTreeMap::new();
        for ((name, process), before) in &mut self.processes {
            // A process that has ended is not counted any more.
            let now = process::processor_seconds(*process).unwrap_or(*before);
            *all.entry(name.clone()).or_default() += now - *before;
            *before = now;
        }
        all.values_mut().for_each(|seconds| *seconds = (*seconds * 10.0).round() / 10.0);
        all
    }

    pub fn figures(&mut self, scenario: &str, took: Duration, figures: Value) {
        let seconds = (took.as_secs_f64() * 100.0).round() / 100.0;
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let processor = self.processor_seconds();
        println!(
            "{}",
            json!({ "scenario": scenario, "seconds": seconds, "load": load, "processor_seconds": processor, "figures": figures })
        );
        self.rows.push((scenario.to_owned(), seconds, figures));
    }

    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            println!("{}", json!({ "broken": what }));
            self.broken.push(what);
        }
    }

    #[must_use]
    pub fn end(&self) -> bool {
        println!(
            "\n| scenario | seconds | requests per node | writes per node | bytes per node, sent + received |"
        );
        println!("| --- | ---: | ---: | ---: | ---: |");
        let about_nodes = |row: &&(String, f64, Value)| row.2["requests_per_node"].is_number();
        for (scenario, seconds, figures) in self.rows.iter().filter(about_nodes) {
            let of = |name: &str| figures[name].as_f64().map_or_else(String::new, |value| value.to_string());
            println!(
                "| {scenario} | {seconds} | {} | {} | {} + {} |",
                of("requests_per_node"),
                of("writes_per_node"),
                of("sent_bytes_per_node"),
                of("received_bytes_per_node"),
            );
        }
        for broken in &self.broken {
            println!("\nBROKEN: {broken}");
        }
        self.broken.is_empty()
    }
}
