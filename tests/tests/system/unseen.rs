//! Files without access for the caller: the daemon, which has access, reveals nothing about them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::load;
use bpfman_tests::target::{self, Target};
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile};

use crate::equipment::Program;

/// Starts a daemon with a socket open to everyone.
fn daemon() -> Daemon {
    let daemon = Daemon::start_with(&Launch { policy: EVERYBODY_MAY.to_owned(), ..Launch::default() });
    daemon.open_to_users();
    daemon
}

/// Loads a user-space probe and a member of XDP chains as root.
fn programs(daemon: &Daemon) -> (Program, Program) {
    let wire = daemon.wire();
    let loaded = wire.load(load(&compile::object("probes"), &[("on_uprobe", Type::Uprobe)])).unwrap();
    (Program::of(&loaded.programs[0]), Program::member(&wire, "xdp_member", Type::Xdp, 1, 2))
}

/// Runs the client as a user with all permissions who is not root.
fn as_user(daemon: &Daemon, line: &str) -> Outcome {
    daemon.bpfman_as(65_532, line)
}

fn copy(path: &Path, mode: u32) {
    fs::copy(target::binary(), path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn targets_and_namespaces_in_a_folder_that_the_caller_cannot_enter_are_all_the_same() {
    let (daemon, network) = (daemon(), Network::new());
    let (probe, xdp) = programs(&daemon);
    let hidden = daemon.path("hidden");
    fs::create_dir(&hidden).unwrap();
    copy(&hidden.join("program"), 0o755);
    fs::write(hidden.join("text"), "no program").unwrap();
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).unwrap();
    let before = daemon.state();
    let says = |name: &str, line: &dyn Fn(&str) -> String| {
        let path = hidden.join(name).display().to_string();
        let outcome = as_user(&daemon, &line(&path));
        outcome.fails(4, &["user 65532 may not", &path]);
        outcome.stderr.replace(&path, "PATH")
    };
    let probed = |path: &str| format!("attach {} uprobe --target {path} --fn-name probed", probe.id);
    let netns = |path: &str| format!("attach {} xdp --iface {INTERFACE} --priority 1 --netns {path}", xdp.id);
    for line in [&probed as &dyn Fn(&str) -> String, &netns] {
        let answers = ["program", "text", "absent"].map(|name| says(name, line));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    }
    // The same through the root folder of a process on this machine.
    let process = Target::start();
    let path = hidden.join("program").display().to_string();
    let line = format!("{} --container-pid {}", probed(&path), process.pid());
    as_user(&daemon, &line).fails(4, &["is in no container"]);
    assert_eq!(daemon.state(), before);
    // A program's contents are available only with read permission.
    let roots = daemon.path("of-root");
    copy(&roots, 0o700);
    as_user(&daemon, &probed(&roots.display().to_string())).fails(4, &["may not read"]);
    assert_eq!(daemon.state(), before);
    // Files visible to the caller work, and so does the error about a missing one.
    let open = daemon.path("open");
    copy(&open, 0o755);
    as_user(&daemon, &probed(&open.display().to_string())).success();
    let absent = daemon.path("absent").display().to_string();
    as_user(&daemon, &probed(&absent)).fails(5, &[&absent]);
    as_user(&daemon, &netns(&network.far.path().display().to_string())).success();
}

#[test]
fn an_agent_names_networks_and_containers_that_are_not_its_own() {
    let (daemon, network) = (daemon(), Network::new());
    let (probe, xdp) = programs(&daemon);
    // A process of a pod: root's, in its own network and mount namespaces.
    let mut command = network.far.command("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(target::binary());
    let pod = Target::start_by(&mut command);
    let netns = format!("/proc/{}/ns/net", pod.pid());
    let line = format!("attach {} xdp --iface {INTERFACE} --priority 1 --netns {netns}", xdp.id);
    as_user(&daemon, &line).success();
    let binary = target::binary().display().to_string();
    let line = format!(
        "attach {} uprobe --target {binary} --fn-name probed --container-pid {}",
        probe.id,
        pod.pid()
    );
    as_user(&daemon, &line).success();
    // A missing namespace is reported as such, and not as forbidden.
    let gone = format!("attach {} xdp --iface {INTERFACE} --priority 2 --netns /proc/4194305/ns/net", xdp.id);
    as_user(&daemon, &gone).fails(6, &["/proc/4194305/ns/net is not a network namespace: No such file"]);
}
