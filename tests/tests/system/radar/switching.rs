//! The radar is switched by the configuration or by root, with usable programs only.

use bpfman_tests::registry::Registry;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, compile};

use super::*;
use crate::images::trusting_daemon;

#[test]
fn signed_image_loads_and_survives_restarts_without_registry() {
    let mut registry = Registry::start();
    let (mut daemon, launch, key) = trusting_daemon(&registry);
    let name = registry.image("bpfman/radar:1");
    daemon.bpfman(&format!("image build -t {name} -b {}", object().display())).success();
    daemon.bpfman(&format!("image push {name}")).success();
    let start = format!("radar start --image {name}");
    daemon.bpfman(&start).fails(1, &["the radar is not switched", "signature", &name]);
    assert_eq!(status(&daemon)["source"], "off");
    assert!(programs(&daemon).is_empty());
    daemon.bpfman(&format!("image sign {name} --key {key}")).success();
    daemon.bpfman(&start).success();
    wait_until_on(&daemon);
    assert!(status(&daemon)["object"].as_str().unwrap().contains(&name), "{}", status(&daemon));
    let made = programs(&daemon);
    let first = Stranger::new(&["load"]);
    entry(&daemon, first.pid(), "SeenLoad");
    registry.stop();
    daemon.terminate();
    daemon.again(&launch);
    wait_until_on(&daemon);
    assert_eq!(programs(&daemon), made);
    let second = Stranger::new(&["load"]);
    entry(&daemon, second.pid(), "SeenLoad");
    daemon.bpfman("radar stop").success();
    assert!(programs(&daemon).is_empty());
}

#[test]
fn a_radar_whose_program_is_unloaded_comes_back() {
    let daemon = daemon();
    let first = programs(&daemon).into_iter().next().unwrap();
    daemon.bpfman(&format!("unload {first}")).success();
    until("it says so", || seen(&daemon).iter().any(|entry| entry["verb"] == "Lost"));
    wait_until_on(&daemon);
    assert!(!programs(&daemon).contains(&first));
    let stranger = Stranger::new(&["load"]);
    entry(&daemon, stranger.pid(), "SeenLoad");
}

#[test]
fn switching_by_call_works_and_unusable_programs_leave_nothing() {
    let mut daemon = Daemon::start();
    assert_eq!(status(&daemon)["source"], "off");
    daemon
        .bpfman("radar start --file /nowhere/radar.o")
        .fails(1, &["the radar is not switched", "/nowhere/radar.o"]);
    let other = compile::example("xdp-counter");
    daemon.bpfman(&format!("radar start --file {}", other.display())).fails(1, &["traced_ended"]);
    assert!(programs(&daemon).is_empty());
    daemon.bpfman(&format!("radar start --file {}", object().display())).success();
    assert_ne!(status(&daemon)["source"], "off");
    let made = programs(&daemon);
    assert!(made.len() >= 2);
    daemon.bpfman(&format!("radar start --file {}", object().display())).success();
    daemon.terminate();
    daemon.again(&Launch::default());
    wait_until_on(&daemon);
    assert_eq!(programs(&daemon), made);
    daemon.bpfman("radar stop").success();
    assert!(programs(&daemon).is_empty());
    assert_eq!(status(&daemon)["source"], "off");
    daemon.terminate();
    daemon.again(&launch());
    wait_until_on(&daemon);
    daemon.bpfman("radar stop").fails(7, &["[radar] of bpfman.toml"]);
    let (code, said) = Daemon::prepare()
        .refuses(&Launch { config: "[radar]\nfile = \"radar.o\"\n".to_owned(), ..Launch::default() });
    assert!(
        !code.success() && said.contains("radar.file: \"radar.o\" does not begin with a slash"),
        "{said}"
    );
}

#[test]
fn without_a_source_that_the_kernel_takes_lists_of_ids_are_read() {
    let config = format!("[radar]\nfile = \"{}\"\n", compile::example("xdp-counter").display());
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    until("it polls", || status(&daemon)["source"] == "polling");
    let why = status(&daemon)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("call_ended") && why.contains("traced_ended"), "{why}");
    let stranger = Stranger::new(&["load"]);
    let program = stranger.made("load");
    let mut found = None;
    until("the load is told", || {
        let is_it =
            |entry: &Value| entry["verb"] == "SeenLoad" && entry["programs"] == serde_json::json!([program]);
        found = seen(&daemon).into_iter().find(is_it);
        found.is_some()
    });
    assert_eq!(found.unwrap()["pid"], stranger.pid(), "who holds it is taken for who made it");
    const LOADS: u64 = 2_000;
    let before = counts(&seen(&daemon), "Lost");
    Stranger::new(&["flood", &LOADS.to_string()]);
    until("the flood is told", || counts(&seen(&daemon), "Lost") >= before + LOADS);
    assert!(status(&daemon)["lost"].as_u64().unwrap() >= LOADS);
}
