use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use bpfman_tests::binaries;
use serde_json::{Value, json};

use crate::contender::{Contender, Measured, measure};
use crate::plot;

pub struct Report {
    entry: String,
    rounds: usize,
    machine: Value,
    file: File,
}

impl Report {
    pub fn new(entry: &str, rounds: usize) -> Self {
        let path = folder().join(format!("gallery-{entry}.json"));
        let mut file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let machine = machine();
        writeln!(file, "{}", json!({ "machine": machine })).expect("results can be written");
        println!("== {entry}\n{machine:#}");
        Self { entry: entry.to_owned(), rounds, machine, file }
    }

    pub fn measure(
        &mut self,
        group: &str,
        title: &str,
        unit: &str,
        contenders: Vec<Contender<'_>>,
    ) -> Vec<Measured> {
        self.measure_often(group, title, unit, 1, contenders)
    }

    pub fn measure_often(
        &mut self,
        group: &str,
        title: &str,
        unit: &str,
        times: usize,
        contenders: Vec<Contender<'_>>,
    ) -> Vec<Measured> {
        let rounds = self.rounds * times;
        let measured = measure(contenders, rounds);
        println!("-- {title}");
        for one in &measured {
            let round = |value: f64| (value * 100.0).round() / 100.0;
            let line = json!({
                "group": group, "contender": one.name, "at": one.at, "unit": unit, "n": one.samples.len(),
                "min": round(one.min()), "median": round(one.median()), "max": round(one.max()),
            });
            writeln!(self.file, "{line}").expect("results can be written");
            let at = one.at.map(|at| at.to_string()).unwrap_or_default();
            println!(
                "{:<36} {at:>8} {:>12.1} {:>12.1} {:>12.1} {unit}",
                one.name,
                one.min(),
                one.median(),
                one.max()
            );
        }
        let text = |key: &str| self.machine[key].as_str().unwrap_or_default().to_owned();
        let caption = format!("{}, Linux {}; median of {rounds} rounds", text("cpu"), text("kernel"));
        let drawn = plot::draw(&format!("{title}, {unit}"), &caption, &measured);
        let path = folder().join(format!("gallery-{}-{group}.svg", self.entry));
        fs::write(&path, drawn).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        measured
    }

    pub fn derived(&mut self, group: &str, name: &str, unit: &str, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        let line = json!({ "group": group, "derived": name, "unit": unit, "value": rounded });
        writeln!(self.file, "{line}").expect("results can be written");
        println!("{name:<60} {value:>12.3} {unit}");
    }
}

fn folder() -> PathBuf {
    let build = binaries::build_folder();
    let folder = build.parent().expect("a profile lies in a target folder").join("bench");
    fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    // Run statistics read the clock twice for each program that runs, but once for a whole chain.
    let are_runs_counted = read("/proc/sys/kernel/bpf_stats_enabled") == "1";
    assert!(!are_runs_counted, "before a measurement: sysctl -w kernel.bpf_stats_enabled=0");
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let mitigations: serde_json::Map<String, Value> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| (name.clone(), read(&format!("{folder}/{name}"))))
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| (name, state.into()))
        .collect();
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cpus": cpus.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "jit": read("/proc/sys/net/core/bpf_jit_enable"),
        "mitigations": mitigations,
        "load": read("/proc/loadavg"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    })
}
