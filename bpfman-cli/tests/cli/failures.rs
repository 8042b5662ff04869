//! Tests of failures: exit code, `error:`, `hint:`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::fake::{FakeDaemon, Script, run};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

fn failure(code: Code, reason: Option<&str>, hint: Option<&str>) -> Script {
    let mut status = Status::new(code, "it did not work");
    if let Some(reason) = reason {
        status.metadata_mut().insert(REASON_TRAILER, reason.parse().unwrap());
    }
    if let Some(hint) = hint {
        status.metadata_mut().insert_bin(HINT_TRAILER, MetadataValue::from_bytes(hint.as_bytes()));
    }
    Script { failure: Some(status), ..Script::default() }
}

#[test]
fn each_reason_has_its_exit_code() {
    for (reason, code) in [
        ("denied", 4),
        ("not-found", 5),
        ("invalid", 6),
        ("unsupported", 6),
        ("too-large", 6),
        ("conflict", 7),
        ("kernel-refused", 8),
        ("registry", 9),
        ("signature", 9),
        ("busy", 1),
        ("internal", 1),
    ] {
        let daemon = FakeDaemon::start(failure(Code::Internal, Some(reason), None));
        let outcome = daemon.run("get program 7");
        assert_eq!((outcome.code, outcome.stderr.as_str()), (code, "error: it did not work\n"), "{reason}");
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn control_characters_of_daemon_are_escaped() {
    let mut script = failure(Code::NotFound, Some("not-found"), Some("look\x1b[2J"));
    script.failure = script.failure.map(|status| {
        let metadata = status.metadata().clone();
        Status::with_metadata(status.code(), "no \x1b]0;owned\x07 here", metadata)
    });
    let outcome = FakeDaemon::start(script).run("get program 7");
    assert_eq!(outcome.stderr, "error: no \\u{1b}]0;owned\\u{7} here\nhint: look\\u{1b}[2J\n");
}

#[test]
fn all_objects_are_tried_and_failures_reported() {
    let daemon = FakeDaemon::start(failure(Code::NotFound, Some("not-found"), None));
    for (line, one, all) in [
        ("unload 7 8", "program", "2 of 2 programs could not be unloaded"),
        ("detach 7 8", "link", "2 of 2 links could not be detached"),
        ("detach match 7 8", "match", "2 of 2 matches could not be detached"),
    ] {
        let outcome = daemon.run(line);
        let expected =
            format!("error: {one} 7: it did not work\nerror: {one} 8: it did not work\nerror: {all}\n");
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr), (5, "", expected), "{line}");
        let outcome = daemon.run(&format!("{line} --ignore-missing"));
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (0, "", ""), "{line}");
    }
    for line in ["unload 7 7", "detach 7 8 7", "unload 7 x:y"] {
        let outcome = FakeDaemon::start(Script::default()).run(line);
        assert_eq!(outcome.code, 2, "{line}: {outcome:?}");
    }
    let busy = FakeDaemon::start(failure(Code::FailedPrecondition, Some("conflict"), None));
    assert_eq!(busy.run("unload 7 --ignore-missing").code, 7);
}

#[test]
fn every_command_that_calls_reports_failure_the_same_way() {
    let daemon =
        FakeDaemon::start(failure(Code::NotFound, Some("not-found"), Some("look at the list\nor ask")));
    for line in [
        "load file -p x.o --programs xdp:pass",
        "load file -p x.o --programs xdp:pass --verifier-log",
        "load image -i r.io/x:1 --programs xdp:pass",
        "unload 7",
        "attach 7 xdp -i eth0 -p 1",
        "detach 7",
        "list programs",
        "list links",
        "get program 7",
        "get link 7",
        "image pull -i r.io/x:1",
        "chain show xdp:eth0",
        "chain list",
        "chain verify xdp:eth0",
        "chain trace xdp:eth0 --packet 000102030405060708090a0b0800",
        "chain counters xdp:eth0 on",
        "chain timing xdp:eth0 on",
        "chain keep xdp:eth0 on",
        "explain xdp:eth0",
        "debug hold xdp:eth0",
        "debug release xdp:eth0",
        "debug subprograms xdp:eth0 off",
        "attach 7 xdp -i eth0 -p 1 --role wall",
        "attach 7 xdp --iface-match * -p 1",
        "update link 7 -p 1",
        "replace 7 file -p x.o",
        "replace 7 --rollback",
        "adopt 12 -p 1",
        "list matches",
        "detach match 4",
        "doctor",
        "version",
        "-o json list programs",
    ] {
        let outcome = daemon.run(line);
        assert_eq!(outcome.code, 5, "{line}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{line}");
        assert_eq!(
            outcome.stderr, "error: it did not work\nhint: look at the list\nhint: or ask\n",
            "{line}"
        );
    }
}

#[test]
fn a_daemon_without_reasons_is_judged_by_its_codes() {
    for (code, exit) in [(Code::NotFound, 5), (Code::Aborted, 1), (Code::PermissionDenied, 4)] {
        let daemon = FakeDaemon::start(failure(code, None, None));
        assert_eq!(daemon.run("unload 7").code, exit, "{code:?}");
    }
}

#[test]
fn daemon_without_event_stream_is_reported_as_older() {
    // The fake has no node service.
    let daemon = FakeDaemon::start(Script::default());
    let outcome = daemon.run("events --follow");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (6, ""));
    let said = "error: this daemon streams no events: it is older than this client\n\
                hint: `bpfman history` shows the newest entries\n";
    assert_eq!(outcome.stderr, said);
    // The client fails at once, and does not wait until the timeout.
    assert_eq!(daemon.run("wait link 7 --for attached --timeout 300s").code, 6);
}

#[test]
fn missing_daemon_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    for leave_a_file in [false, true] {
        if leave_a_file {
            // A killed daemon leaves a socket without a listener.
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        }
        let outcome = run(Command::new(env!("CARGO_BIN_EXE_bpfman"))
            .arg("--socket-path")
            .arg(&socket)
            .args(["list", "programs"]));
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let start = format!("error: cannot reach bpfmand at {}: ", socket.display());
        assert!(outcome.stderr.starts_with(&start), "{outcome:?}");
        assert!(outcome.stderr.contains("\nhint: start the daemon: "), "{outcome:?}");
        assert!(outcome.stderr.contains("\nhint: if it listens elsewhere"), "{outcome:?}");
    }
}

#[test]
fn without_a_daemon_the_client_still_knows_its_version() {
    let outcome =
        run(Command::new(env!("CARGO_BIN_EXE_bpfman")).args(["--socket-path", "/nowhere", "version"]));
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout.ends_with("bpfmand: not reachable\n"), "{outcome:?}");
}

#[test]
fn the_socket_is_not_for_everybody() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to become another user");
        return;
    }
    let daemon = FakeDaemon::start(Script::default());
    let folder = daemon.folder.path();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o660)).unwrap();
    // The build folder may be inaccessible to other users. Copy in another process: a file that this process has open
    // for writing is inherited by children of other tests, and cannot be executed while they run.
    let copy = folder.join("bpfman");
    assert_eq!(run(Command::new("cp").arg(env!("CARGO_BIN_EXE_bpfman")).arg(&copy)).code, 0);
    let outcome = run(Command::new(&copy)
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .env("BPFMAN_SOCKET_PATH", &daemon.socket)
        .args(["list", "programs"]));
    assert_eq!(outcome.code, 4, "{outcome:?}");
    let socket = daemon.socket.display();
    assert!(
        outcome.stderr.starts_with(&format!("error: this user may not connect to {socket}: ")),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("\nhint: run as root, or as a member of the group"), "{outcome:?}");
}

#[test]
fn a_verifier_log_of_any_length_comes_with_its_failure() {
    let log: String = (0..400_000).map(|at| format!("{at}: (b7) r0 = 2\n")).collect();
    let failure = ext::Failure {
        code: Code::Aborted as i32,
        message: "the verifier refused pass".into(),
        hint: "read the last lines\n`--verifier-log` shows the whole log".into(),
        reason: "kernel-refused".into(),
    };
    let script = Script { log: log.clone(), load_failure: Some(failure), ..Script::default() };
    let daemon = FakeDaemon::start(script);
    let outcome = daemon.run("load file -p x.o --programs xdp:pass --verifier-log");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (8, ""));
    assert!(outcome.stderr.starts_with(&log), "the whole log comes first");
    let rest = &outcome.stderr[log.len()..];
    assert_eq!(rest, "error: the verifier refused pass\nhint: read the last lines\n");
}

#[test]
fn wrong_command_lines_exit_with_2_without_a_call() {
    let daemon = FakeDaemon::start(Script::default());
    for line in [
        "load",
        "load file",
        "attach 7",
        "list programs -p nonsense",
        "chain show eth0",
        "unload -1",
        "replace 7",
        "replace 7 --rollback file -p x.o",
        "update link 7",
    ] {
        let outcome = daemon.run(line);
        assert_eq!(outcome.code, 2, "{line}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{line}: {outcome:?}");
    }
    assert_eq!(daemon.asked(), "");
}
