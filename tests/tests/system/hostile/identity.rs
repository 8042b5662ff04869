//! Attacks on who a caller or a container is.

use std::fs;
use std::process::Command;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use bpfman_proto::v1::{BpfmanProgramType as Type, UnloadRequest};
use bpfman_tests::container::Container;
use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::target::Target;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network, Outcome, kernel};
use tonic::{Code, Request};

use super::connected;
use crate::equipment::Program;
use crate::forged_names::{Group, USER, client, pod, policy, unit};
use crate::grants::{daemon, load_as};
use crate::rights::as_user::as_user;

fn roots(daemon: &Daemon) -> Program {
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2)
}

/// The kernel writes a process's cgroups as `NUMBER:CONTROLLERS:PATH`, one a line.
#[test]
fn colons_and_odd_bytes_in_a_groups_name_make_no_unit_or_pod() {
    let daemon = daemon(policy());
    let roots = roots(&daemon);
    let (test, unit, pod) = (std::process::id(), unit(), pod());
    for inner in [
        format!("x:name=systemd:/system.slice/{unit}"),
        format!("0::/system.slice/{unit}"),
        format!("1:name=systemd:system.slice:{unit}"),
        format!("{unit} (deleted)"),
        format!("$(printf '\\377')/system.slice/{unit}"),
        format!("0::/kubepods/pod{pod}"),
        format!("kubepods:pod{pod}"),
    ] {
        let own = Group::delegated(&naming_hierarchy(), &format!("odd-{test}"));
        let seen = client(own.run_inside(&inner), &daemon, "whoami -o json").json();
        assert_eq!(seen["grants"], serde_json::json!([]), "{inner}: {seen}");
        client(own.run_inside(&inner), &daemon, &format!("unload {}", roots.id)).fails(4, &["may not"]);
        assert!(kernel::has_program(roots.id), "{inner}");
    }
}

/// Root of a container without a user namespace is uid 0, and so are the cgroups that it makes.
#[test]
fn groups_in_a_container_name_no_other_container() {
    let daemon = Daemon::start();
    let (victim, evil) = (Container::empty(1), Container::empty(2));
    let (own, other) = (Target::start(), Target::start());
    victim.take(own.pid());
    let posing = evil.path().join(format!("cri-containerd-{}.scope", victim.digits));
    fs::create_dir(&posing).unwrap();
    fs::write(posing.join("cgroup.procs"), other.pid().to_string()).unwrap();
    let container_ids = vec![victim.id.clone(), evil.id.clone()];
    let found = daemon.wire().find_containers(ext::FindContainersRequest { container_ids }).unwrap();
    let pids: Vec<_> = found.containers.into_iter().map(|one| (one.container_id, one.pids)).collect();
    let of =
        |container: &Container, target: &Target| (container.id.clone(), vec![target.pid().cast_signed()]);
    assert_eq!(found.ambiguous, []);
    assert_eq!(pids, [of(&victim, &own), of(&evil, &other)]);
    drop((own, other));
    until("the group is empty", || fs::remove_dir(&posing).is_ok());
}

#[test]
fn groups_in_a_pod_name_no_other_pod() {
    let daemon = daemon(policy());
    let own = format!("99999999-4e5f-6071-8293-{:012x}", std::process::id());
    let container = "c".repeat(64);
    for inner in
        [format!("kubepods/pod{}", pod()), format!("pod{}", pod()), format!("system.slice/{}", unit())]
    {
        let path = format!("kubepods/pod{own}/{container}/{inner}");
        let group = Group::delegated(&naming_hierarchy(), &path);
        let seen = client(group.run_inside(""), &daemon, "whoami -o json").json();
        assert_eq!((&seen["pod"], &seen["grants"]), (&own.clone().into(), &serde_json::json!([])), "{inner}");
    }
}

#[test]
fn root_of_a_user_namespace_is_no_root() {
    let daemon = daemon(String::new());
    let roots = roots(&daemon);
    let as_its_root = |line: &str| {
        let user = USER.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        command.args(["unshare", "-Ur", "sh", "-c", "test $(id -u) = 0 && exec \"$@\"", "sh"]);
        client(command, &daemon, line)
    };
    assert_eq!(as_its_root("whoami -o json").json()["uid"], USER);
    as_its_root(&format!("unload {}", roots.id)).fails(4, &["may not"]);
    as_its_root("image prune").fails(4, &["may not"]);
    assert!(kernel::has_program(roots.id));
}

#[test]
fn headers_of_a_request_name_nobody() {
    let daemon = daemon(String::new());
    let (roots, socket) = (roots(&daemon), daemon.socket());
    let refused = as_user(USER, || {
        connected(&socket, |channel| async move {
            let mut request = Request::new(UnloadRequest { id: roots.id });
            for (name, value) in [
                ("x-forwarded-user", "root"),
                ("x-remote-user", "root"),
                ("x-remote-group", "system:masters"),
                ("impersonate-user", "root"),
                ("uid", "0"),
                ("authorization", "Basic cm9vdDo="),
            ] {
                request.metadata_mut().insert(name, value.parse().unwrap());
            }
            BpfmanClient::new(channel).unload(request).await.unwrap_err()
        })
    });
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    assert!(kernel::has_program(roots.id));
}

/// The daemon's own namespace is no caller's, by whatever path the caller names it.
#[test]
fn files_of_processes_are_no_callers_own_network_namespace() {
    let policy = format!(
        "[files]\nusers = [0, {USER}]\n[[grants]]\nname = \"own\"\nusers = [{USER}]\nallow = [\"all\"]\nnetns = [\"own\"]\n"
    );
    let (daemon, network) = (daemon(policy), Network::new());
    let program = load_as(&daemon, USER);
    let near = network.near.path();
    let near = near.file_name().unwrap().to_str().unwrap();
    let before = daemon.state();
    for netns in [
        String::new(),
        "-n /proc/self/ns/net".to_owned(),
        "-n /proc/thread-self/ns/net".to_owned(),
        format!("-n /proc/{}/ns/net", daemon.pid()),
        format!("-n /run/netns/../../proc/{}/ns/net", daemon.pid()),
        format!("-n /run/netns/{near}/../../../proc/self/ns/net"),
    ] {
        let user = USER.to_string();
        let mut command = network.near.command("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
        let attached: Outcome =
            client(command, &daemon, &format!("attach {program} xdp -i lo -p 10 {netns}"));
        assert_ne!(attached.code, 0, "{netns}: {attached:?}");
        assert_eq!(daemon.state(), before, "{netns}");
    }
}

#[test]
fn text_that_is_no_id_finds_no_container() {
    let daemon = Daemon::start();
    let container = Container::empty(3);
    let process = Target::start();
    container.take(process.pid());
    let digits = &container.digits;
    for id in [
        format!("containerd://{}", &digits[..11]),
        format!("containerd://{}", &digits[1..]),
        format!("containerd://{digits}0"),
        format!("containerd://{}*", &digits[..63]),
        format!("containerd://../cri-containerd-{digits}"),
        format!("containerd://{digits}.scope"),
        format!("containerd://{digits}\0"),
        String::new(),
    ] {
        let asked = ext::FindContainersRequest { container_ids: vec![id.clone()] };
        let found = daemon.wire().find_containers(asked).map_or(0, |found| found.containers.len());
        assert_eq!(found, 0, "{id:?}");
    }
    drop(process);
}
