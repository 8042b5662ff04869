//! The node agent: its user has rights only in a pod of the daemon's namespace, and none if that is unknown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::{Daemon, Launch, Outcome, compile};

use crate::equipment::test_name;
use crate::forged_names::Group;

const AGENT: u32 = 60_750;

fn uid(number: u32) -> String {
    format!("0a1b2c3d-4e5f-6071-{number:04x}-{:012x}", std::process::id())
}

fn daemon(logs: &Path) -> Daemon {
    let environment = [
        ("POD_NAMESPACE", "bpfman".to_owned()),
        ("POD_NAME", "bpfman-daemon".to_owned()),
        ("POD_UID", uid(0)),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let config = format!("[kubernetes]\npod_logs_dir = \"{}\"\n", logs.display());
    let flags = vec![format!("--node-agent-user={AGENT}")];
    let policy = format!("[files]\nusers = [0, {AGENT}]\n");
    let daemon = Daemon::start_with(&Launch { environment, config, policy, flags, ..Launch::default() });
    daemon.open_to_users();
    daemon
}

fn pod(number: u32) -> Group {
    let pod = format!("kubepods-pod{}.slice", uid(number).replace('-', "_"));
    Group::new(&naming_hierarchy(), &format!("kubepods.slice/{pod}/cri-containerd-{number}.scope"))
}

fn load_as_agent(daemon: &Daemon, wrapper: &[String]) -> Outcome {
    let object = daemon.path("own.o");
    if !object.exists() {
        fs::copy(compile::object("chain"), &object).unwrap();
        std::os::unix::fs::chown(&object, Some(AGENT), Some(AGENT)).unwrap();
    }
    let user = AGENT.to_string();
    let words =
        [wrapper, &["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"].map(str::to_owned)];
    let words = words.concat();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--inh-caps=-all", "--"]).arg(daemon.path("client"));
    command.args(["load", "file", "-p"]).arg(&object).args(["--programs", "xdp:xdp_member"]);
    command.args(["-m", "bpfman.io/ProgramNamespace=shop", "-m", "bpfman.io/ProgramName=filter"]);
    Outcome::of(command.env("BPFMAN_SOCKET_PATH", daemon.socket()).env("HOME", daemon.path("")))
}

fn within(group: &Group) -> Vec<String> {
    let script = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", group.folder().display());
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

fn make_folder(logs: &Path, namespace: &str, name: &str, number: u32) -> PathBuf {
    let folder = logs.join(format!("{namespace}_{name}_{}", uid(number)));
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn agents_user_counts_in_a_pod_of_the_daemons_namespace_alone() {
    if let Err(error) = fs::metadata("/proc/1/root/") {
        eprintln!("SKIPPED(access to the root of process 1: {error}): {}", test_name());
        return;
    }
    let logs = tempfile::tempdir().unwrap();
    make_folder(logs.path(), "bpfman", "bpfman-daemon", 0);
    make_folder(logs.path(), "bpfman", "bpfman-agent", 1);
    make_folder(logs.path(), "shop", "bpfman-agent", 2);
    let daemon = daemon(logs.path());
    let before = daemon.state();
    let (other, unknown) = (pod(2), pod(3));
    for wrapper in [within(&other), within(&unknown), Vec::new()] {
        load_as_agent(&daemon, &wrapper).fails(4, &["user 60750 may not load"]);
    }
    assert_eq!(daemon.state(), before);
    let loaded = load_as_agent(&daemon, &within(&pod(1)));
    // On Linux 5.10, tenants may not compare pointers into packets: the load gets as far as the verifier.
    if loaded.code == 8 && is_older_than((6, 1), "programs of tenants that read packets", &test_name()) {
        return;
    }
    loaded.success();
    assert_ne!(daemon.state(), before);
}

#[test]
fn agent_is_refused_where_pods_cannot_be_compared() {
    let (logs, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_folder(elsewhere.path(), "bpfman", "bpfman-agent", 1);
    let daemon = daemon(logs.path());
    let before = daemon.state();
    let refused = load_as_agent(&daemon, &within(&pod(1)));
    let folder = logs.path().display().to_string();
    refused.fails(4, &["grant \"node-agent\" does not count", &folder, "hint: ", "kubernetes.pod_logs_dir"]);
    assert_eq!(daemon.state(), before);
}
