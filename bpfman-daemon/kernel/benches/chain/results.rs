use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

pub struct Case {
    pub group: String,
    pub design: String,
    pub members: usize,
    /// Nanoseconds per packet, one sample per round.
    pub samples: Vec<f64>,
}

impl Case {
    /// The smallest sample, since noise only adds.
    pub fn minimum(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// Subtracts the group's case without members.
pub fn net(cases: &[Case], case: &Case) -> f64 {
    let nothing = cases.iter().find(|other| other.group == case.group && other.members == 0);
    case.minimum() - nothing.map_or(0.0, Case::minimum)
}

pub fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let folder = target.join("bench");
    fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

pub fn machine() -> serde_json::Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    // Run statistics read the clock twice per program, and a whole chain is one program.
    let are_runs_counted = read("/proc/sys/kernel/bpf_stats_enabled") == "1";
    assert!(!are_runs_counted, "before a measurement: sysctl -w kernel.bpf_stats_enabled=0");
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let mut mitigations = serde_json::Map::new();
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let state = read(&format!("{folder}/{name}"));
        if state != "Not affected" {
            mitigations.insert(name, state.into());
        }
    }
    serde_json::json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cpus": cpus.lines().filter(|line| line.starts_with("processor")).count(),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "jit": read("/proc/sys/net/core/bpf_jit_enable"),
        "mitigations": mitigations,
        "load": read("/proc/loadavg"),
    })
}

pub fn write(machine: &serde_json::Value, cases: &[Case]) {
    let mut file = File::create(folder().join("chain.json")).expect("the results can be written");
    let mut line = |value: serde_json::Value| writeln!(file, "{value}").expect("the results can be written");
    line(serde_json::json!({ "machine": machine }));
    println!("{machine:#}");
    let round = |value: f64| (value * 100.0).round() / 100.0;
    for case in cases {
        let net = net(cases, case);
        line(serde_json::json!({
            "group": case.group, "design": case.design, "members": case.members, "unit": "ns",
            "n": case.samples.len(), "min": round(case.minimum()), "median": round(case.median()),
            "net": round(net),
        }));
        println!(
            "{:<22} {:<44} {:>3} {:>9.2} {:>9.2} net {:>8.2}",
            case.group,
            case.design,
            case.members,
            case.minimum(),
            case.median(),
            net
        );
    }
}
