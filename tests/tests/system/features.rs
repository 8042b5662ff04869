//! Features of the kernel on the command line, with a sandboxed daemon.

use bpfman_tests::{Daemon, Launch, compile};
use serde_json::Value;

pub fn state<'a>(all: &'a Value, part: &str, name: &str) -> &'a Value {
    let features = all["features"].as_array().unwrap();
    let found = features.iter().find(|feature| feature["part"] == part && feature["name"] == name);
    found.unwrap_or_else(|| panic!("{part} {name} is not listed"))
}

#[test]
fn the_kernel_is_told_part_by_part() {
    let daemon = Daemon::start();
    let all = daemon.bpfman("features -o json").json();
    for (part, name) in [
        ("type", "xdp"),
        ("program_type", "sched_cls"),
        ("map_type", "ringbuf"),
        ("link_type", "xdp"),
        ("attach_type", "cgroup_inet_ingress"),
        ("command", "prog_load"),
        ("helper", "bpf_redirect"),
        ("setting", "compiler (JIT)"),
    ] {
        assert_eq!(state(&all, part, name)["state"], "yes", "{part} {name}");
    }
    let redirect = state(&all, "helper", "bpf_redirect")["program_types"].as_array().unwrap();
    assert!(redirect.contains(&"xdp".into()) && !redirect.contains(&"kprobe".into()), "{redirect:?}");
    let types = daemon.bpfman("features types -q").success();
    assert!(["tcx", "netfilter", "kprobe_multi"].iter().all(|name| types.lines().any(|line| line == *name)));
    let missing = daemon.bpfman("features --missing -o json").json();
    let listed = missing["features"].as_array().unwrap();
    let absent =
        all["features"].as_array().unwrap().iter().filter(|feature| feature["state"] == "no").count();
    assert_eq!(listed.len(), absent);
    let states = missing["features"].as_array().unwrap().iter().map(|feature| &feature["state"]);
    assert!(states.clone().all(|state| state == "no"), "{missing}");
    daemon.bpfman("features nothing").fails(2, &["program-types", "kfuncs"]);
}

/// Thousands of test programs are loaded only once per boot.
#[test]
fn probe_results_are_kept_for_this_boot() {
    let mut daemon = Daemon::start();
    let first = daemon.bpfman("features helpers -o json").json();
    let kept = daemon.path("run/features");
    let bytes = std::fs::read(&kept).unwrap();
    daemon.kill();
    // The file is trusted: a changed name in the answer shows that the next daemon did not probe again.
    let changed = bytes.windows(12).position(|name| name == b"bpf_redirect").unwrap();
    let mut told = bytes.clone();
    told[changed..changed + 12].copy_from_slice(b"bpf_REDIRECT");
    std::fs::write(&kept, told).unwrap();
    daemon.again(&Launch::default());
    let second = daemon.bpfman("features helpers -o json").json().to_string();
    assert_eq!(second.replace("bpf_REDIRECT", "bpf_redirect"), first.to_string());
    assert!(second.contains("bpf_REDIRECT"));
    daemon.kill();
    std::fs::write(&kept, [b"another".as_slice(), &bytes].concat()).unwrap();
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman("features helpers -o json").json(), first);
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
}

#[test]
fn disabled_feature_is_unused_and_reported() {
    let config = "[kernel]\nwithout = [\"uprobes\"]\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let all = daemon.bpfman("features -o json").json();
    assert_eq!(state(&all, "probe", "uprobes")["state"], "switched off");
    assert_eq!(state(&all, "type", "uprobe")["state"], "no");
    let object = compile::object("probes").display().to_string();
    let line = format!("load file -p {object} --programs uprobe:on_uprobe -q");
    let id = daemon.bpfman(&line).success();
    let attach = format!("attach {} uprobe -t libc -f strtold", id.trim());
    daemon.bpfman(&attach).fails(6, &["uprobes switched off", "CONFIG_UPROBE_EVENTS"]);
    assert!(daemon.bpfman("list links -q").success().is_empty());
}
