use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};

use bpfman_tests::Outcome;
use serde_json::{Value, json};

use super::{Guard, report};

fn start(guard: &Guard, script: &str) -> (Child, BufReader<ChildStdout>, String) {
    let mut side = guard.side("--cgroup none", script);
    let mut side = side.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(side.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    (side, out, line.trim().to_owned())
}

fn started(report: &Value, arguments: &Value) -> bool {
    report["exec"].as_array().unwrap().iter().any(|one| one["arguments"] == *arguments)
}

/// A reader of one process after the other can miss a child that is created meanwhile, and then its parent.
#[test]
fn descendants_that_take_turns_are_followed_to_the_last() {
    let guard = Guard::new();
    let crowd =
        "exec 3<&0; n=0; while [ $n -lt 100 ]; do { read x <&3; } & n=$((n+1)); done; echo here; read x <&3";
    let (crowd, _out, _here) = start(&guard, crowd);
    let script = "exec python3 -c 'import os\nfor _ in range(1000):\n if os.fork(): os._exit(0)\n\
                  os.execv(\"/bin/echo\", [\"/bin/echo\", \"last\"])'";
    let outcome = Outcome::of(&mut guard.side("--cgroup none", script));
    let told = report(&outcome);
    assert_eq!((outcome.code, &told["verdict"], &told["lost"]), (0, &"clean".into(), &0.into()), "{told:#}");
    assert!(started(&told, &json!(["/bin/echo", "last"])), "{told:#}");
    let ended = crowd.wait_with_output().unwrap();
    let told: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((&told["verdict"], &told["lost"]), (&"clean".into(), &0.into()), "{told:#}");
}

#[test]
fn a_job_within_a_job_ends_and_so_does_the_one_around_it() {
    let guard = Guard::new();
    let inner = format!(
        "{} --program {} run --cgroup none --report /dev/null -- /bin/echo inner",
        guard.gallery.daemon.path("side-ci-guard").display(),
        guard.program
    );
    let outcome = Outcome::of(&mut guard.side("--cgroup none", &format!("{inner} && exec /bin/echo outer")));
    let told = report(&outcome);
    assert_eq!((outcome.code, &told["verdict"]), (0, &"clean".into()), "{told:#}");
    assert_eq!(outcome.stdout, "inner\nouter\n");
    assert!(started(&told, &json!(["/bin/echo", "outer"])), "{told:#}");
    assert!(!started(&told, &json!(["/bin/echo", "inner"])), "that is the inner one's: {told:#}");
}

#[test]
fn whoever_a_killed_job_has_left_is_not_of_the_next() {
    let guard = Guard::new();
    let (folder, go_on) = (guard.gallery.daemon.path(""), guard.gallery.daemon.path("go-on"));
    let until = format!("until [ -e {} ] || [ ! -d {} ]; do", go_on.display(), folder.display());
    let script = format!("setsid sh -c 'echo $$; {until} sleep 0.03; done' & {until} sleep 0.03; done");
    let (mut side, _out, left) = start(&guard, &script);
    side.kill().unwrap();
    side.wait().unwrap();
    let script =
        format!("echo here; while [ -e /proc/{left}/exe ]; do sleep 0.02; done; exec /bin/echo mine");
    let (side, mut out, here) = start(&guard, &script);
    assert_eq!(here, "here");
    fs::write(&go_on, "").unwrap();
    let ended = side.wait_with_output().unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "mine\n");
    let told: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &told["verdict"]), (Some(0), &"clean".into()), "{told:#}");
    assert!(started(&told, &json!(["/bin/echo", "mine"])), "{told:#}");
    assert!(!started(&told, &json!(["sleep", "0.03"])), "{told:#}");
}
