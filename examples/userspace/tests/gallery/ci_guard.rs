//! Reports of jobs: they include descendants of exited parents, and are never `clean` if something was lost.

mod members;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bpfman_tests::control_group::Group;
use bpfman_tests::{Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

const PROGRAMS: &str = "--programs tp_btf:follow_fork tp_btf:follow_exit tp_btf:see_exec tp_btf:see_connect \
                        tracepoint:see_open tracepoint:see_datagram cgroup_sock_addr:note_connect4 \
                        cgroup_sock_addr:note_connect6 cgroup_sock_addr:note_send4 cgroup_sock_addr:note_send6";

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
        for (program, call) in [(4, "openat"), (5, "connect"), (5, "sendto"), (5, "sendmsg")] {
            let (program, call) = (programs[program], format!("syscalls/sys_exit_{call}"));
            gallery.daemon.bpfman(&format!("attach {program} tracepoint --tracepoint {call}")).success();
        }
        for program in &programs[6..] {
            gallery.daemon.bpfman(&format!("attach {program} cgroup --path /")).success();
        }
        Self { gallery, program: programs[0] }
    }

    fn job(&self, policy: &str, script: &str) -> Outcome {
        let file = self.gallery.daemon.path("policy.yaml");
        fs::write(&file, policy).unwrap();
        Outcome::of(&mut self.side(&format!("--policy {}", file.display()), script))
    }

    fn side(&self, words: &str, script: &str) -> Command {
        let mut side = self.gallery.side_as(WATCHER, "ci-guard");
        side.args(["--program", &self.program.to_string(), "run"]).args(words.split_whitespace());
        side.args(["--", "sh", "-c", script]).current_dir("/");
        side
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
    assert_eq!(connects[0]["protocol"], "tcp");
}

#[test]
fn datagrams_are_connections_of_their_own_protocol() {
    let guard = Guard::new();
    let script = "exec python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                  s.sendto(b\"x\", (\"127.0.0.1\", 9)); s.connect((\"127.0.0.2\", 9))'";
    for (protocol, code) in [("tcp", 20), ("udp", 0)] {
        let policy = format!("connect: [{{to: 127.0.0.0/8, protocol: {protocol}}}]\nenforce: true\n");
        let outcome = guard.job(&policy, script);
        let report = report(&outcome);
        assert_eq!(outcome.code, code, "{report:#}");
        let told: Vec<_> = report["connect"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (&one["address"], &one["protocol"]))
            .collect();
        assert_eq!(told, [(&"127.0.0.1".into(), &"udp".into()), (&"127.0.0.2".into(), &"udp".into())]);
    }
}

#[test]
fn unexpected_action_has_its_own_exit_code() {
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
    // ci-guard is stopped meanwhile, so nothing reads the ring buffer.
    let script =
        "kill -STOP $PPID; n=0; while [ $n -lt 3000 ]; do : 2> /dev/null; n=$((n+1)); done; kill -CONT $PPID";
    let outcome = guard.job("enforce: true\n", script);
    let report = report(&outcome);
    assert!(report["lost"].as_u64().unwrap() > 0, "{}", report["lost"]);
    assert_eq!((outcome.code, &report["verdict"]), (21, &"incomplete".into()));
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
fn companion_reports_missing_settings_of_its_manifest() {
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

struct Delegated(Group);

impl Delegated {
    fn new(test: &str) -> Self {
        let group = Group::new(test);
        for file in ["", "cgroup.procs"] {
            chown(group.folder.join(file), Some(WATCHER), None).unwrap();
        }
        Self(group)
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0.folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }

    fn job(&self) -> PathBuf {
        wait::until("the job is in its group", || {
            self.groups().iter().any(|group| !processes_of(group).is_empty())
        });
        self.groups().remove(0)
    }
}

fn processes_of(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn whoever_is_moved_into_its_group_is_of_the_job() {
    let (guard, delegated) = (Guard::new(), Delegated::new("moved"));
    let go_on = guard.gallery.daemon.path("go-on");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; exit 3", go_on.display());
    let mut side = guard.side("--cgroup own", &script);
    let side = delegated.0.inside(|| side.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let group = delegated.job();
    let moved = format!(
        "mkdir {0}/below; echo $$ > {0}/below/cgroup.procs; /bin/echo moved; touch {1}; sleep 0.3; exec /bin/echo outlived",
        group.display(),
        go_on.display()
    );
    let mut moved = Command::new("bash").args(["-c", &moved]).stdout(Stdio::null()).spawn().unwrap();
    let ended = side.wait_with_output().unwrap();
    assert!(moved.wait().unwrap().success(), "it ended by itself");
    let report: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &report["verdict"]), (Some(3), &"clean".into()), "{report:#}");
    assert_eq!((&report["cgroup"], &report["no_cgroup"]), (&group.to_str().unwrap().into(), &Value::Null));
    let execs = report["exec"].as_array().unwrap();
    for word in ["moved", "outlived"] {
        let wanted = serde_json::json!(["/bin/echo", word]);
        assert!(execs.iter().any(|one| one["arguments"] == wanted), "{word}: {report:#}");
    }
    assert!(delegated.groups().is_empty(), "it goes with the job, and those below with it");
}

#[test]
fn a_side_that_is_killed_leaves_nothing_of_its_job() {
    let (guard, delegated) = (Guard::new(), Delegated::new("killed"));
    let script = "setsid sh -c 'trap : TERM HUP INT; while :; do sleep 1000; done' & sleep 1000";
    let mut side = guard.side("", script);
    let mut side = delegated.0.inside(|| side.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let group = delegated.job();
    wait::until("all of the job runs", || processes_of(&group).len() >= 3);
    let processes = processes_of(&group);
    side.kill().unwrap();
    side.wait().unwrap();
    wait::until("its group is gone", || delegated.groups().is_empty());
    for process in processes {
        assert!(!Path::new("/proc").join(process.to_string()).join("exe").exists(), "{process}");
    }
    // This cgroup was left by a ci-guard that was killed together with its keeper.
    let left = delegated.0.folder.join(format!("ci-guard-{}", u32::MAX));
    let (running, other) = (delegated.0.folder.join("ci-guard-1"), delegated.0.folder.join("other"));
    for folder in [&left, &running, &other] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(WATCHER), None).unwrap();
    }
    let next = delegated.0.inside(|| Outcome::of(&mut guard.side("", "exit 5")));
    assert_eq!((next.code, &report(&next)["verdict"]), (5, &"clean".into()));
    assert_eq!([&left, &running, &other].map(|folder| folder.exists()), [false, true, true]);
    for folder in [running, other] {
        fs::remove_dir(folder).unwrap();
    }
}

#[test]
fn report_explains_a_missing_cgroup_and_requested_one_is_needed() {
    let guard = Guard::new();
    let run = |words: &str| Outcome::of(&mut guard.side(words, "echo ran"));
    let outcome = run("");
    let said = report(&outcome);
    assert_eq!((outcome.code, &said["verdict"], &said["cgroup"]), (0, &"clean".into(), &Value::Null));
    assert!(said["no_cgroup"].as_str().unwrap().contains("cannot make the cgroup"), "{said:#}");
    assert_eq!(report(&run("--cgroup none"))["no_cgroup"], "the user wants none");
    for (words, code, says) in [
        ("--cgroup own", 1, "cannot make the cgroup"),
        ("--cgroup /proc", 6, "/proc is no cgroup of version 2"),
        ("--cgroup /no/such/group", 5, "cannot find /no/such/group"),
        ("--cgroup below/here", 2, "no absolute path"),
    ] {
        let refused = run(words);
        refused.fails(code, &[says]);
        assert_eq!(refused.stdout, "", "{words}");
    }
    // The user may create cgroups here, but not move processes into them: ci-guard itself runs in another.
    let delegated = Delegated::new("foreign");
    let words = format!("--cgroup {}", delegated.0.folder.display());
    let refused = run(&words);
    refused.fails(1, &["cannot move a process into the cgroup"]);
    assert_eq!((refused.stdout.as_str(), delegated.groups().len()), ("", 0));
}
