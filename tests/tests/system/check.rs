//! `bpfman check`: requirements of an object, compared with this host.

use std::path::Path;

use bpfman_tests::{Daemon, compile};

fn check(daemon: &Daemon, object: &Path, flags: &str) -> bpfman_tests::Outcome {
    daemon.bpfman(&format!("check {} {flags}", object.display()))
}

#[test]
fn an_object_that_this_host_takes_is_tried_and_leaves_nothing() {
    let daemon = Daemon::start();
    let checked = check(&daemon, &compile::object("chain"), "-o json").json();
    assert_eq!(checked["kernels"][0]["lacks"], serde_json::json!([]));
    assert_eq!(checked["tried"]["accepted"], true, "{checked}");
    let needs = checked["needs"].as_array().unwrap();
    assert!(needs.iter().any(|need| need["kind"] == "program type" && need["name"] == "xdp"), "{checked}");
    assert!(needs.iter().all(|need| need["wanted_by"].as_array().is_some_and(|by| !by.is_empty())));
    assert_eq!(daemon.state().programs.len(), 0);
    let table = check(&daemon, &compile::object("chain"), "").success();
    assert!(table.contains("Lowest kernel: Linux ") && table.contains("accepted"), "{table}");
}

#[test]
fn without_a_daemon_the_object_and_the_kernel_still_tell() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let table = check(&daemon, &compile::object("chain"), "").success();
    assert!(table.contains("Note: dry run failed: cannot reach bpfmand"), "{table}");
    let quiet = check(&daemon, &compile::object("chain"), "--no-try").success();
    assert!(
        !quiet.contains("Note:") && quiet.contains("Has everything that can be known beforehand"),
        "{quiet}"
    );
}

#[test]
fn dry_run_finds_refusal_of_the_verifier() {
    let daemon = Daemon::start();
    let refused = check(&daemon, &compile::object("broken"), "");
    assert!(refused.code != 0 && refused.stdout.contains("REFUSED"), "{refused:?}");
    assert_eq!(daemon.state().programs.len(), 0);
}

/// A kprobe loads on every kernel, but attaches only if the kernel has probes, which the daemon tests.
#[test]
fn type_that_cannot_be_attached_here_is_lacking() {
    let daemon = Daemon::start();
    let features = daemon.bpfman("features types -o json").json();
    let kprobe = features["features"].as_array().unwrap().iter().find(|one| one["name"] == "kprobe").unwrap();
    let is_missing = kprobe["state"] == "no";
    let checked = check(&daemon, &compile::object("probes"), "-o json");
    let text = checked.stdout.contains("programs of type kprobe");
    assert_eq!(text, is_missing, "{kprobe}: {checked:?}");
    assert!(!is_missing || checked.code != 0, "{checked:?}");
}

#[test]
fn invalid_object_and_kernel_types_are_named() {
    let daemon = Daemon::start();
    let (chain, text) = (compile::object("chain"), daemon.path("text"));
    std::fs::write(&text, "no object").unwrap();
    check(&daemon, &daemon.path("nothing"), "").fails(5, &["nothing", "No such file"]);
    check(&daemon, &text, "").fails(6, &["text"]);
    let flags = format!("--kernel-btf {}", text.display());
    check(&daemon, &chain, &flags).fails(6, &["text", "raw BTF"]);
    let cut = daemon.path("cut.o");
    let bytes = std::fs::read(&chain).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    check(&daemon, &cut, "").fails(6, &["cut.o"]);
}
