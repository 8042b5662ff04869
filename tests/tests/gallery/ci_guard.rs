//! A job and what its report says: also of descendants whose parents have ended, and never `clean` when something was lost.

use std::fs;
use std::net::TcpListener;

use bpfman_tests::Outcome;
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

const PROGRAMS: &str = "--programs tp_btf:follow_fork tp_btf:follow_exit tp_btf:see_exec tp_btf:see_connect \
                        tracepoint:see_open";

struct Guard {
    gallery: Gallery,
    program: u64,
}

impl Guard {
    fn new() -> Self {
        let gallery = Gallery::open();
        let programs = gallery.load("ci-guard", PROGRAMS);
        for program in &programs[..4] {
            gallery.daemon.bpfman(&format!("attach {program} tp-btf")).success();
        }
        let open = programs[4];
        gallery
            .daemon
            .bpfman(&format!("attach {open} tracepoint --tracepoint syscalls/sys_exit_openat"))
            .success();
        Self { gallery, program: programs[0] }
    }

    /// Runs a shell's words as a job; its outcome, whose standard error is the report.
    fn job(&self, policy: &str, script: &str) -> Outcome {
        let file = self.gallery.daemon.path("policy.yaml");
        fs::write(&file, policy).unwrap();
        let mut side = self.gallery.side_as(WATCHER, "ci-guard");
        side.args(["--program", &self.program.to_string(), "run", "--policy"]).arg(file);
        Outcome::of(side.args(["--", "sh", "-c", script]).current_dir("/"))
    }
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stderr).unwrap_or_else(|error| panic!("{error}: {}", outcome.stderr))
}

#[test]
fn a_report_has_what_all_descendants_did() {
    let guard = Guard::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // The last one's parents have ended before it starts anything.
    let script = format!(
        "/bin/echo one two; bash -c ': > /dev/tcp/127.0.0.1/{port}'; (setsid sh -c 'sleep 0.2; exec /bin/echo late' &) ; exit 7"
    );
    let outcome = guard.job("{}", &script);
    let report = report(&outcome);
    assert_eq!(outcome.code, 7, "{report:#}");
    assert_eq!(
        (&report["verdict"], &report["lost"], &report["exit_code"]),
        (&"clean".into(), &0.into(), &7.into())
    );
    let arguments: Vec<&Value> =
        report["exec"].as_array().unwrap().iter().map(|one| &one["arguments"]).collect();
    assert!(arguments.contains(&&serde_json::json!(["/bin/echo", "one", "two"])), "{report:#}");
    assert!(arguments.contains(&&serde_json::json!(["/bin/echo", "late"])), "{report:#}");
    let connects = report["connect"].as_array().unwrap();
    assert_eq!(connects.len(), 1, "{report:#}");
    assert_eq!((&connects[0]["address"], &connects[0]["port"]), (&"127.0.0.1".into(), &port.into()));
}

#[test]
fn what_a_policy_does_not_expect_has_an_exit_code_of_its_own() {
    let guard = Guard::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec bash -c ': > /dev/tcp/127.0.0.1/{port}'");
    let nowhere = "connect: []\nenforce: true\n";
    let outcome = guard.job(nowhere, &connect);
    assert_eq!((outcome.code, &report(&outcome)["verdict"]), (20, &"unexpected".into()));
    let outcome = guard.job("connect: []\n", &connect);
    assert_eq!((outcome.code, &report(&outcome)["unexpected"]), (0, &1.into()), "not enforced");
    let here = format!("connect: [{{to: 127.0.0.0/8, port: {port}}}]\nenforce: true\n");
    let outcome = guard.job(&here, &connect);
    assert_eq!((outcome.code, &report(&outcome)["verdict"]), (0, &"clean".into()), "{}", outcome.stderr);
    let outcome = guard.job("exec: [/no/such/]\nenforce: true\n", "true");
    assert_eq!(outcome.code, 20, "{}", outcome.stderr);
    guard.job("exec: [bin]\n", "true").fails(6, &["policy.yaml, line 1", "\"bin\"", "was not started"]);
}

#[test]
fn a_job_of_which_something_was_lost_is_never_clean() {
    let guard = Guard::new();
    // The side is stopped meanwhile, so that nobody reads the ring.
    let script =
        "kill -STOP $PPID; n=0; while [ $n -lt 3000 ]; do : 2> /dev/null; n=$((n+1)); done; kill -CONT $PPID";
    let outcome = guard.job("enforce: true\n", script);
    let report = report(&outcome);
    assert!(report["lost"].as_u64().unwrap() > 0, "{}", report["lost"]);
    assert_eq!((outcome.code, &report["verdict"]), (21, &"incomplete".into()));
    // The next one has its place, and a ring that is empty.
    let next = guard.job("enforce: true\n", "true");
    assert_eq!(next.code, 0, "{}", next.stderr);
}

#[test]
fn programs_that_are_not_attached_make_no_clean_report() {
    let gallery = Gallery::open();
    let program = gallery.load("ci-guard", PROGRAMS)[0];
    let guard = Guard { gallery, program };
    let outcome = guard.job("enforce: true\n", "true");
    assert_eq!((outcome.code, &report(&outcome)["verdict"]), (21, &"incomplete".into()));
}

#[test]
fn its_manifest_is_applied_and_the_side_says_what_is_wrong() {
    let mut gallery = Gallery::open();
    let manifest = gallery.manifest("ci-guard");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    for program in ["follow_fork", "follow_exit", "see_exec", "see_connect", "see_open"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let outcome = gallery.side("ci-guard", "--app ci-guard run -- /bin/true");
    assert_eq!((outcome.code, &report(&outcome)["verdict"]), (0, &"clean".into()));
    assert_eq!(gallery.side("ci-guard", "--app ci-guard run -- /no/such/program").code, 127);
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    let program = gallery.load("ci-guard", PROGRAMS)[0];
    refusals(&mut gallery, "ci-guard", program, "run -- true");
}
