//! Attacks on who a caller or a container is.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command};

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::bpfman_client::BpfmanClient;
use bpfman_proto::v1::{BpfmanProgramType as Type, UnloadRequest};
use bpfman_tests::container::Container;
use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::target::Target;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network, Outcome, kernel};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Request};

use super::connected;
use crate::equipment::{Program, test_name};
use crate::forged_names::{Group, USER, client, pod, policy, unit};
use crate::grants::{daemon, load_as};
use crate::rights::as_user::as_user;

fn roots(daemon: &Daemon) -> Program {
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2)
}

/// The kernel writes a process's cgroups as `NUMBER:CONTROLLERS:PATH`, one per line.
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

/// Root of a container without a user namespace is uid 0, and so is the owner of the cgroups that it makes.
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

/// The daemon's namespace is never the caller's own, by whatever path the caller names it.
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

struct Idle(Child);

impl Idle {
    fn with_number(pid: u32) -> Option<Self> {
        for _ in 0..100 {
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let idle = Self(Command::new("sleep").arg("1000").spawn().unwrap());
            if idle.0.id() == pid {
                return Some(idle);
            }
        }
        None
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn lead_to(listener: UnixListener, daemon: UnixStream) {
    let copy = |mut from: UnixStream, mut to: UnixStream| {
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut part)
                && to.write_all(&part[..length]).is_ok()
            {}
            let _gone = to.shutdown(Shutdown::Write);
        })
    };
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        copy(client.try_clone().unwrap(), daemon.try_clone().unwrap());
        copy(daemon, client);
    });
}

#[test]
fn process_of_a_unit_gets_the_number_of_a_caller_that_ended() {
    if is_older_than((6, 5), "processes of sockets", &test_name()) {
        return;
    }
    let daemon = daemon(policy());
    let roots = roots(&daemon);
    let group = Group::new(&naming_hierarchy(), &format!("system.slice/{}", unit()));
    let daemons = Pid::from_raw(daemon.pid().cast_signed()).unwrap();
    kill_process(daemons, Signal::STOP).unwrap();
    let own: OwnedFd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let user = USER.to_string();
    let mut caller = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "perl", "-MSocket", "-e"])
        .args(["connect(STDIN, sockaddr_un($ARGV[0])) or die $!", &daemon.socket().display().to_string()])
        .stdin(own.try_clone().unwrap())
        .spawn()
        .unwrap();
    let pid = caller.id();
    let connected = caller.wait().unwrap().success();
    let other = Idle::with_number(pid);
    let moved =
        other.as_ref().map(|one| fs::write(group.folder().join("cgroup.procs"), one.0.id().to_string()));
    kill_process(daemons, Signal::CONT).unwrap();
    assert!(connected);
    let Some(_other) = other else {
        eprintln!(
            "SKIPPED(/proc/sys/kernel/ns_last_pid: no number of a process can be chosen): {}",
            test_name()
        );
        return;
    };
    moved.unwrap().unwrap();
    let way = daemon.path("way");
    lead_to(UnixListener::bind(&way).unwrap(), own.into());
    let client = |line: &str| {
        let mut command = Command::new(daemon.path("client"));
        Outcome::of(command.args(line.split_whitespace()).env("BPFMAN_SOCKET_PATH", &way))
    };
    client(&format!("unload {}", roots.id)).fails(4, &["may not"]);
    assert!(kernel::has_program(roots.id));
}
