//! Help to run third-party loaders in sessions: commands that the radar proposes, and drop-ins for services.

use std::fs;
use std::process::Command;

use bpfman_tests::{Outcome, compile};

use super::{ADA, sessions};
use crate::radar::Stranger;

#[test]
fn radar_proposes_the_command_that_a_session_runs() {
    let daemon = sessions();
    let stranger = Stranger::new(&["load"]);
    let program = stranger.made("load");
    let survey = daemon.bpfman("radar -o json").json();
    assert!(survey["programs"].as_array().unwrap().iter().any(|one| one["id"] == program), "{survey}");
    let binary = compile::executable("radar_stranger");
    let proposed = survey["run_as"].as_array().unwrap().iter().filter_map(|line| line.as_str());
    let line = format!("bpfman run-as -- {}", binary.display());
    assert!(proposed.clone().any(|one| one.replace('\'', "") == line), "{:?}", proposed.collect::<Vec<_>>());
    assert!(daemon.bpfman("radar").success().contains("these would run as:"));
    let copy = daemon.readable(&binary).display().to_string();
    let loaded = daemon.session(ADA, &[&copy, "load"]).success();
    assert!(loaded.starts_with("load "), "{loaded}");
    stranger.end();
}

#[test]
fn drop_in_of_a_service_runs_its_command_in_a_session() {
    let daemon = sessions();
    let unit = daemon.path("agent.service");
    let parts = daemon.path("agent.service.d");
    fs::create_dir(&parts).unwrap();
    fs::write(&unit, "[Service]\nExecStart=/nowhere\nAmbientCapabilities=CAP_BPF\nUser=root\n").unwrap();
    let command = "[Service]\nExecStart=\nExecStart=+/usr/sbin/bpftool prog show\nPrivateTmp=yes\n";
    fs::write(parts.join("10-command.conf"), command).unwrap();
    let print = || {
        let mut command = Command::new(daemon.path("client"));
        Outcome::of(command.args(["run-as", "--unit"]).arg(&unit))
    };
    let text = print().success();
    let settings: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        settings,
        [
            "[Service]",
            "ExecStart=",
            "ExecStart=/usr/bin/bpfman run-as -- /usr/sbin/bpftool prog show",
            "CapabilityBoundingSet=",
            "AmbientCapabilities=",
            "User=agent",
            "SupplementaryGroups=bpfman",
            "PrivateTmp=no",
        ]
    );
    assert!(text.contains("units = [\"agent.service\"]"), "{text}");
    let line = settings[2].strip_prefix("ExecStart=/usr/bin/bpfman run-as -- ").unwrap();
    daemon.session(ADA, &line.split(' ').collect::<Vec<_>>()).success();
    // The drop-in of an earlier run is ignored.
    fs::write(parts.join("50-bpfman-run-as.conf"), &text).unwrap();
    assert_eq!(print().success(), text);
    fs::write(&unit, "[Service]\nType=forking\nExecStart=/usr/bin/agent\n").unwrap();
    print().fails(6, &["Type=forking"]);
    let mut missing = Command::new(daemon.path("client"));
    Outcome::of(missing.args(["run-as", "--unit", "no-such-unit"]))
        .fails(6, &["no unit no-such-unit.service"]);
}
