//! Grants decide about each call of a command.

use bpfman_tests::compile;

use super::{ADA, BOB, EVE, sessions};

#[test]
fn command_does_not_start_without_a_grant() {
    let daemon = sessions();
    let needed = format!("bpfman policy allow {EVE} raw");
    let refused = daemon.session(EVE, &["touch", "/tmp/bpfman-run-as-started"]);
    refused.fails(4, &[&format!("user {EVE} may not raw"), &needed]);
    assert!(!std::path::Path::new("/tmp/bpfman-run-as-started").exists());
    let mut command = daemon.cli_command_as(ADA, ADA);
    command.args(["run-as", "--grant", "narrow", "--", "true"]);
    bpfman_tests::Outcome::of(&mut command).fails(4, &["no grant \"narrow\" is for user"]);
    daemon.bpfman("run-as -- true").fails(6, &["root needs no session"]);
}

#[test]
fn narrow_grant_allows_its_type_alone() {
    let daemon = sessions();
    let chain = daemon.readable(&compile::object("page_count"));
    let xdp = daemon.readable(&compile::object("drop"));
    let load = |object: &std::path::Path| {
        daemon.session(BOB, &["bpftool", "prog", "load", &object.display().to_string(), "/sys/fs/bpf/p"])
    };
    load(&xdp).success();
    let refused = load(&chain);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("bpfman: refused: user"), "{refused:?}");
    assert!(refused.stderr.contains("grant \"narrow\" does not cover type"), "{refused:?}");
    // An attachment to a cgroup is outside of a grant for XDP.
    let perf = daemon.session(BOB, &["bpftool", "cgroup", "attach", "/sys/fs/cgroup", "egress", "id", "1"]);
    assert_ne!(perf.code, 0);
    let denied = daemon.bpfman("history -o json").json().to_string();
    assert!(denied.contains("RunAs") && denied.contains("PROG_LOAD in session"), "{denied}");
}

#[test]
fn grant_that_is_taken_away_ends_further_calls() {
    let daemon = sessions();
    let object = daemon.readable(&compile::object("drop")).display().to_string();
    let go = daemon.path("go").display().to_string();
    let script = format!(
        "bpftool prog load {object} /sys/fs/bpf/a && echo first && while [ ! -e {go} ]; do sleep 0.05; done; \
         bpftool prog load {object} /sys/fs/bpf/b"
    );
    let mut command = daemon.session_command(BOB, &["sh", "-c", &script]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "first\n");
    std::fs::write(daemon.path("policy.toml"), "").unwrap();
    bpfman_tests::wait::until("the policy is read again", || {
        daemon.session(BOB, &["true"]).stderr.contains("may not raw")
    });
    std::fs::write(&go, "").unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("may not raw"), "{said}");
}
