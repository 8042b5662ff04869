//! Guards of grants with `scope = "cgroup"`: programs run for the cgroup of the caller who attaches them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use bpfman_proto::v1;
use bpfman_tests::container::Container;
use bpfman_tests::control_group::unified_hierarchy;
use bpfman_tests::skip::{is_older_than, lacks, lacks_kprobes};
use bpfman_tests::target::{self, Target};
use bpfman_tests::wait::until;
use bpfman_tests::wire::Wire;
use bpfman_tests::{Daemon, Launch, MountNamespace, Outcome, compile, kernel, perf, requests};

use crate::equipment::test_name;
use crate::grants::daemon;
use crate::rights::as_user::as_user;

const ADA: u32 = 64_211;
const BOB: u32 = 64_212;

fn policy(more: &str) -> String {
    format!(
        "[files]\nusers = [0, {ADA}]\n[[grants]]\nname = \"tracing\"\nusers = [{ADA}]\n\
         allow = [\"load\", \"attach\"]\nscope = \"cgroup\"\n{more}"
    )
}

struct Team {
    daemon: Daemon,
    ours: Target,
    other: Target,
    group: Container,
}

impl Team {
    fn new(more: &str) -> Self {
        let daemon = daemon(policy(more));
        let path = binary(&daemon);
        let team = Self { ours: of_ada(&path), other: of_ada(&path), group: Container::empty(1), daemon };
        team.group.take(team.ours.pid());
        team
    }

    fn run(&self, line: &str) -> Outcome {
        let client = self.daemon.path("client");
        let script = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", self.group.path().display());
        let user = ADA.to_string();
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", "setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["--inh-caps=-all", "--"]).arg(client).args(line.split_whitespace());
        Outcome::of(command.env("BPFMAN_SOCKET_PATH", self.daemon.socket()).env("HOME", self.daemon.path("")))
    }

    fn load(&self, object: &str, program: &str) -> Outcome {
        let path = self.daemon.path(format!("{object}.o"));
        fs::copy(compile::object(object), &path).unwrap();
        chown(&path, Some(ADA), Some(ADA)).unwrap();
        self.run(&format!("load file -p {} --programs {program} -o json", path.display()))
    }

    fn probe(&self, program: &str) -> u64 {
        let loaded = self.load("probes", program).json();
        loaded["programs"][0]["program_id"].as_u64().unwrap_or_else(|| panic!("{loaded}"))
    }

    fn fired(&self, program: u64, place: u32) -> u64 {
        let shown = self.daemon.bpfman(&format!("get program {program} -o json")).json();
        let ids = shown["kernel"]["map_ids"].as_array().unwrap();
        let ids: Vec<u32> = ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
        kernel::array_value(kernel::map_named(&ids, "fired"), place)
    }

    fn assert_sees_its_group(&mut self, program: &str, place: u32, line: &str, act: fn(&mut Target)) {
        let id = self.probe(program);
        self.run(&format!("attach {id} {line}")).success();
        let before = self.fired(id, place);
        (0..3).for_each(|_| act(&mut self.other));
        assert_eq!(self.fired(id, place), before, "{program}: another's");
        act(&mut self.ours);
        assert_eq!(self.fired(id, place), before + 1, "{program}: its own");
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let _gone = Command::new("kill").args(["-9", &self.ours.pid().to_string()]).status();
    }
}

fn of_ada(path: &str) -> Target {
    target_as(&["--reuid", &ADA.to_string(), "--regid", &ADA.to_string(), "--clear-groups"], path)
}

fn target_as(rights: &[&str], path: &str) -> Target {
    // setpriv keeps capabilities until it executes a program: `env` has none and reads only what the user may.
    Target::start_by(Command::new("setpriv").args(rights).args(["--", "env", path]))
}

fn binary(daemon: &Daemon) -> String {
    let path = daemon.path("target");
    // The file of a running program cannot be written.
    if !path.exists() {
        fs::copy(target::binary(), &path).unwrap();
    }
    path.display().to_string()
}

#[test]
fn a_grants_uprobe_sees_the_callers_control_group_alone() {
    let mut team = Team::new("");
    let path = binary(&team.daemon);
    let line = format!("uprobe --target {path} --fn-name probed");
    team.assert_sees_its_group("uprobe:on_uprobe", 3, &line, Target::call);
    if !is_older_than((6, 13), "return probes that leave other processes alone", &test_name()) {
        let line = format!("{line} --pid {}", team.ours.pid());
        team.assert_sees_its_group("uretprobe:on_uretprobe", 4, &line, Target::call);
    }
    team.daemon.kill();
    team.daemon.again(&Launch { policy: policy(""), ..Launch::default() });
    team.daemon.open_to_users();
    team.assert_sees_its_group("uprobe:on_uprobe", 3, &line, Target::call);
}

#[test]
fn scope_needs_a_cgroup_hierarchy_of_version_2() {
    let namespace = MountNamespace::new();
    let gone = namespace.command("umount").arg("-l").arg(unified_hierarchy()).status();
    assert!(gone.unwrap().success());
    let mut team = Team::new("");
    let id = team.probe("uprobe:on_uprobe");
    let attach = format!("attach {id} uprobe --target {} --fn-name probed", binary(&team.daemon));
    team.daemon.kill();
    let flags = vec!["--allow-private-mounts".to_owned()];
    team.daemon.again(&Launch {
        policy: policy(""),
        wrapper: namespace.wrapper(),
        flags,
        ..Launch::default()
    });
    team.daemon.open_to_users();
    let refused = team.run(&attach);
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("is in none of its own in the hierarchy of version 2"),
        "{}",
        refused.stderr
    );
    assert!(team.daemon.bpfman("list links -o json").json()["links"].as_array().unwrap().is_empty());
}

#[test]
fn probe_that_others_pay_for_is_detached() {
    let mut team = Team::new("");
    team.daemon.kill();
    let config =
        "[limits]\ncpu_window_seconds = 0.3\nprobe_share = \"1%\"\nprobe_trap_ns = 1000000\n".to_owned();
    team.daemon.again(&Launch { policy: policy(""), config, ..Launch::default() });
    team.daemon.open_to_users();
    let id = team.probe("uprobe:on_uprobe");
    let path = binary(&team.daemon);
    team.run(&format!("attach {id} uprobe --target {path} --fn-name probed")).success();
    let links =
        |team: &Team| team.daemon.bpfman("list links -o json").json()["links"].as_array().unwrap().len();
    assert_eq!(links(&team), 1);
    until("the probe is detached", || {
        (0..20).for_each(|_| team.other.call());
        links(&team) == 0
    });
    assert_eq!(team.fired(id, 3), 0);
    let state = team.daemon.bpfman(&format!("get program {id} -o json")).json()["state"].to_string();
    assert!(
        state.contains("detached: its breakpoints took") && state.contains("limits.probe_share is 1%"),
        "{state}"
    );
    let attach = format!("attach {id} uprobe --target {path} --fn-name probed");
    team.run(&attach).fails(6, &["limits.probe_share", "can be attached again in", "root may attach"]);
    assert_eq!(links(&team), 0);
    let is_act = |entry: &serde_json::Value| entry["verb"] == "Detach" && entry["daemon"] == "limits";
    until("the history has it", || {
        let history = team.daemon.bpfman("history -o json").json();
        history["entries"].as_array().unwrap().iter().any(is_act)
    });
}

#[test]
fn grant_with_a_scope_counts_for_open_connections() {
    // The connection is made by a thread with another user than its process.
    if is_older_than((6, 5), "the process behind a connection", &test_name()) {
        return;
    }
    let mut team = Team::new("");
    let id = team.probe("tracepoint:on_tracepoint");
    let put = |policy: &str| fs::write(team.daemon.path("policy.toml"), policy).unwrap();
    put("");
    // This process connects as the user, from inside the cgroup, while the policy has no grant.
    let (outside, inside) = (team.group.path().parent().unwrap(), team.group.path());
    let enter = |group: &Path| fs::write(group.join("cgroup.procs"), "0").unwrap();
    enter(inside);
    let socket = team.daemon.socket();
    let wire = as_user(ADA, || {
        let wire = Wire::new(&socket);
        wire.list(v1::ListRequest::default()).unwrap();
        wire
    });
    enter(outside);
    let attach =
        requests::attach(u32::try_from(id).unwrap(), requests::tracepoint("syscalls/sys_enter_getpriority"));
    let refused = wire.attach(attach.clone()).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
    put(&policy(""));
    wire.attach(attach).unwrap();
    team.other.get_priority();
    assert_eq!(team.fired(id, 0), 0, "another's");
    team.ours.get_priority();
    assert_eq!(team.fired(id, 0), 1, "its own");
}

#[test]
fn a_grants_return_probe_is_of_a_process_of_its_group() {
    if is_older_than((6, 13), "return probes that leave other processes alone", &test_name()) {
        return;
    }
    let mut team = Team::new("");
    let path = binary(&team.daemon);
    let id = team.probe("uretprobe:on_uretprobe");
    let line = format!("attach {id} uprobe --target {path} --fn-name probed");
    team.run(&line).fails(6, &["names no process", "--pid", "uprobe"]);
    team.run(&format!("{line} --pid {}", team.other.pid())).fails(4, &["is not among the processes"]);
    team.other.call();
    assert!(team.other.returned_into_main());
    team.run(&format!("{line} --pid {}", team.ours.pid())).success();
    team.ours.call();
    team.other.call();
    assert_eq!(team.fired(id, 4), 1);
    assert!(team.other.returned_into_main() && !team.ours.returned_into_main());
}

/// Users share cgroups: in a service that serves several, or in a session that runs a set-user-id program.
#[test]
fn a_grants_program_runs_for_no_other_user_of_its_group() {
    let mut team = Team::new("");
    let (ada, bob) = (ADA.to_string(), BOB.to_string());
    let path = binary(&team.daemon);
    let protected = team.daemon.path("protected");
    fs::copy(&path, &protected).unwrap();
    // The kernel protects the memory of a process whose program its user may not read.
    fs::set_permissions(&protected, fs::Permissions::from_mode(0o711)).unwrap();
    let protected = protected.display().to_string();
    let id = team.probe("tracepoint:on_tracepoint");
    team.run(&format!("attach {id} tracepoint --tracepoint syscalls/sys_enter_getpriority")).success();
    for (rights, path) in [
        (&["--reuid", "0"][..], &path),
        // A set-user-id program of root, and a process that gave up root's rights.
        (&["--ruid", &ada, "--euid", "0"], &path),
        (&["--ruid", "0", "--euid", &ada], &path),
        (&["--reuid", &bob, "--clear-groups"], &path),
        (&["--reuid", &ada, "--clear-groups"], &protected),
    ] {
        let mut other = target_as(rights, path);
        team.group.take(other.pid());
        let before = team.fired(id, 0);
        other.get_priority();
        assert_eq!(team.fired(id, 0), before, "{rights:?} {path}");
        team.ours.get_priority();
        assert_eq!(team.fired(id, 0), before + 1);
        drop(other);
    }
}

#[test]
fn group_with_processes_of_another_user_is_refused() {
    let team = Team::new("");
    let id = team.probe("tracepoint:on_tracepoint");
    let line = format!("attach {id} tracepoint --tracepoint syscalls/sys_enter_getpriority");
    let path = binary(&team.daemon);
    let bobs = target_as(&["--reuid", &BOB.to_string(), "--clear-groups"], &path);
    team.group.take(bobs.pid());
    let before = team.daemon.state();
    team.run(&line).fails(6, &[&format!("processes of user {BOB} are in it"), "systemd-run --user"]);
    assert_eq!(team.daemon.state(), before);
    drop(bobs);
    // Root's processes are in the session of each login.
    let roots = Target::start();
    team.group.take(roots.pid());
    team.run(&line).success();
    drop(roots);
}

#[test]
fn probes_at_data_are_refused_and_change_nothing() {
    let policy = format!(
        "[files]\nusers = [0, {ADA}]\n[[grants]]\nname = \"everywhere\"\nusers = [{ADA}]\nallow = [\"load\", \"attach\"]\n"
    );
    let daemon = daemon(policy);
    let path = binary(&daemon);
    let mut target = Target::start_by(&mut Command::new(&path));
    let object = daemon.path("probes.o");
    fs::copy(compile::object("probes"), &object).unwrap();
    chown(&object, Some(ADA), Some(ADA)).unwrap();
    let data = target::file_offset(Path::new(&path), "marker");
    for user in [ADA, 0] {
        let load = format!("load file -p {} --programs uprobe:on_uprobe -o json", object.display());
        let loaded = daemon.bpfman_as(user, &load).json();
        let id = loaded["programs"][0]["program_id"].as_u64().unwrap_or_else(|| panic!("{loaded}"));
        let line = format!("attach {id} uprobe --target {path} --offset {data}");
        let answer = daemon.bpfman_as(user, &line);
        assert_eq!(target.marker(), "unchanged", "user {user}");
        answer.fails(5, &["is no code"]);
    }
}

#[test]
fn a_grants_trace_point_sees_the_callers_control_group_alone() {
    let mut team = Team::new("");
    let line = "tracepoint --tracepoint syscalls/sys_enter_getpriority";
    team.assert_sees_its_group("tracepoint:on_tracepoint", 0, line, Target::get_priority);
}

#[test]
fn a_grants_kernel_probe_sees_the_callers_control_group_alone() {
    if lacks_kprobes(&test_name()) {
        return;
    }
    let mut team = Team::new("");
    let line = &format!("kprobe --fn-name {}", kernel::entry_of("getpriority"));
    team.assert_sees_its_group("kprobe:on_kprobe", 1, line, Target::get_priority);
    team.assert_sees_its_group("kretprobe:on_kretprobe", 2, line, Target::get_priority);
}

#[test]
fn a_grants_trampolines_see_the_callers_control_group_alone() {
    let cookies = "cookies of trampolines";
    if lacks("fentry", "sample_fentry", &test_name()) || is_older_than((6, 0), cookies, &test_name()) {
        return;
    }
    let mut team = Team::new("types = [\"fentry\", \"fexit\"]");
    let of = kernel::entry_of("getpriority");
    team.assert_sees_its_group(&format!("fentry:on_fentry:{of}"), 5, "fentry", Target::get_priority);
    team.assert_sees_its_group(&format!("fexit:on_fexit:{of}"), 6, "fexit", Target::get_priority);
}

#[test]
fn a_grants_lsm_program_sees_the_callers_control_group_alone() {
    let cookies = "cookies of trampolines";
    if lacks("lsm", "sample_lsm", &test_name()) || is_older_than((6, 0), cookies, &test_name()) {
        return;
    }
    let mut team = Team::new("types = [\"lsm\"]");
    team.assert_sees_its_group("lsm:on_lsm:file_open", 7, "lsm", Target::open);
}

/// The default return value of `task_prctl` is not 0: if the guard returned 0, prctl would not set the name.
#[test]
fn guarded_lsm_program_answers_no_hook_in_place_of_the_kernel() {
    let cookies = "cookies of trampolines";
    if lacks("lsm", "sample_lsm", &test_name()) || is_older_than((6, 0), cookies, &test_name()) {
        return;
    }
    let mut team = Team::new("types = [\"lsm\"]");
    let id = team.probe("lsm:on_lsm:task_prctl");
    team.run(&format!("attach {id} lsm")).success();
    let name = || fs::read_to_string("/proc/thread-self/comm").unwrap();
    let former = name();
    rustix::thread::set_name(c"renamed").unwrap();
    assert_eq!(name(), "renamed\n", "it was {former}");
    team.ours.call();
}

#[test]
fn grant_excludes_types_that_reach_the_kernel_unless_named() {
    let team = Team::new("");
    let refused = team.load("probes", &format!("fentry:on_fentry:{}", kernel::entry_of("getpriority")));
    refused.fails(4, &["grant \"tracing\" does not cover type fentry by its \"types\""]);
}

#[test]
fn a_grant_allows_the_helpers_that_it_names() {
    let team = Team::new("");
    let says = ["may not use helper bpf_probe_read_kernel", "helpers = [\"bpf_probe_read_kernel\"]"];
    team.load("tenants", "uprobe:reads_kernel").fails(4, &says);
    drop(team);
    let team = Team::new("helpers = [\"bpf_probe_read_kernel\"]");
    team.load("tenants", "uprobe:reads_kernel").success();
    team.load("tenants", "uprobe:signals").fails(4, &["may not use helper bpf_send_signal"]);
    let whoami = team.run("whoami").success();
    for line in ["scope = \"cgroup\"", "helpers = [\"bpf_probe_read_kernel\"]"] {
        assert!(whoami.contains(line), "{whoami}");
    }
}

#[test]
fn a_caller_in_no_group_of_its_own_is_refused() {
    let team = Team::new("");
    let path = binary(&team.daemon);
    let id = team.probe("uprobe:on_uprobe");
    let line = format!("attach {id} uprobe --target {path} --fn-name probed");
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(cgroup.lines().any(|line| line == "0::/") && Path::new(&path).exists(), "{cgroup}");
    team.daemon.bpfman_as(ADA, &line).fails(6, &["the caller is in none of its own"]);
    team.daemon.bpfman(&line).fails(6, &["the caller is in none of its own"]);
}

/// A program of a tracepoint that returns 0 hides the event from perf, which a tenant must not do. No other
/// test has a program at this tracepoint: root's programs return 0 for all tasks.
#[test]
fn tenants_program_hides_no_task_from_perf() {
    let mut team = Team::new("");
    let id = team.probe("tracepoint:on_tracepoint");
    team.run(&format!("attach {id} tracepoint --tracepoint syscalls/sys_enter_getsid")).success();
    let mut event = perf::tracepoint_of("syscalls/sys_enter_getsid", team.ours.pid());
    let (before, counted) = (team.fired(id, 0), event.count());
    (0..5).for_each(|_| team.ours.get_session());
    assert_eq!(team.fired(id, 0), before + 5, "the program runs");
    assert_eq!(event.count(), counted + 5, "and perf counts");
}
