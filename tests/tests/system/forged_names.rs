//! Names chosen by a caller: cgroups, applications and interfaces named like those of others give no permissions.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_proto::ext::v1 as ext;
use bpfman_tests::container::Container;
use bpfman_tests::control_group::{naming_hierarchy, unified_hierarchy};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::target::{self, Target};
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Outcome};

use crate::equipment::test_name;
use crate::grants::{daemon, load_as};

pub const USER: u32 = 4711;

pub fn unit() -> String {
    format!("netops-of-test-{}.service", std::process::id())
}

pub fn pod() -> String {
    format!("0a1b2c3d-4e5f-6071-8293-{:012x}", std::process::id())
}

pub fn policy() -> String {
    let (pod, unit) = (pod(), unit());
    format!(
        "[files]\nusers = [0, {USER}]\n\
         [[grants]]\nname = \"pod\"\npods = [\"{pod}\"]\nallow = [\"all\"]\nover = \"all\"\n\
         [[grants]]\nname = \"unit\"\nunits = [\"{unit}\"]\nallow = [\"all\"]\nover = \"all\"\n"
    )
}

/// Cgroup of a test. On drop it is removed, with the groups inside and above that the test created.
pub struct Group {
    folder: PathBuf,
    top: PathBuf,
}

impl Group {
    const SHARED: [&str; 3] = ["kubepods", "kubepods.slice", "system.slice"];

    pub fn new(hierarchy: &Path, path: &str) -> Self {
        let folder = hierarchy.join(path);
        // Another test may remove a shared group meanwhile.
        until("the cgroups are made", || fs::create_dir_all(&folder).is_ok());
        let shared = |name: &&str| Self::SHARED.contains(name);
        let own = path.split('/').take_while(shared).count() + 1;
        let top = hierarchy.join(path.split('/').take(own).collect::<PathBuf>());
        Self { folder, top }
    }

    pub fn delegated(hierarchy: &Path, path: &str) -> Self {
        let group = Self::new(hierarchy, path);
        for file in ["", "cgroup.procs"] {
            chown(group.folder().join(file), Some(USER), Some(USER)).unwrap();
        }
        group
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn run_inside(&self, inner: &str) -> Command {
        let (own, inner) = (self.folder().display(), self.folder().join(inner));
        let inner = inner.display();
        let user = USER.to_string();
        let as_user = format!("mkdir -p \"{inner}\" && echo 0 > \"{inner}/cgroup.procs\" && exec \"$@\"");
        let as_root = format!("echo 0 > {own}/cgroup.procs && exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &as_root, "sh", "setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["--inh-caps=-all", "--", "sh", "-c", &as_user, "sh"]);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        until("the cgroups are empty", || {
            let mut remove = Command::new("find");
            remove.arg(&self.top).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"]);
            let _busy = remove.output();
            !self.top.exists()
        });
        let is_shared = |folder: &&Path| {
            folder.file_name().is_some_and(|name| Self::SHARED.iter().any(|one| name == *one))
        };
        for folder in self.top.ancestors().skip(1).take_while(is_shared) {
            let _in_use = fs::remove_dir(folder);
        }
    }
}

pub fn client(mut command: Command, daemon: &Daemon, line: &str) -> Outcome {
    command.arg(daemon.path("client")).args(line.split_whitespace());
    Outcome::of(command.env("BPFMAN_SOCKET_PATH", daemon.socket()).env("HOME", daemon.path("")))
}

fn asked(id: &str) -> ext::FindContainersRequest {
    ext::FindContainersRequest { container_ids: vec![id.to_owned()] }
}

#[test]
fn user_cannot_name_its_group_like_a_pod_or_unit() {
    let daemon = daemon(policy());
    let hierarchy = naming_hierarchy();
    let (test, pod, unit) = (std::process::id(), pod(), unit());
    let scope = format!("kubepods-burstable-pod{}.slice", pod.replace('-', "_"));
    // By name alone, each of these groups would be a unit or a pod; their owners show that they are not.
    for (delegated, inner) in [
        (format!("delegated-{test}.slice"), unit.clone()),
        (format!("delegated-{test}.slice"), format!("delegated-{test}-a.slice/{unit}")),
        (format!("kubepods.slice/delegated-{test}"), format!("{scope}/cri-containerd-1.scope")),
        (format!("kubepods/delegated-{test}"), format!("pod{pod}")),
        (format!("delegated-{test}"), format!("kubepods/pod{pod}")),
        (format!("delegated-{test}"), format!("system.slice/{unit}")),
    ] {
        let own = Group::delegated(&hierarchy, &delegated);
        let seen = client(own.run_inside(&inner), &daemon, "whoami -o json").json();
        assert_eq!(seen["grants"], serde_json::json!([]), "{delegated}/{inner}: {seen}");
        let settings = client(own.run_inside(&inner), &daemon, "auth can-i settings");
        settings.fails(4, &["the daemon would refuse this caller"]);
    }
}

#[test]
fn root_gives_groups_the_names_of_pods_and_units() {
    let daemon = daemon(policy());
    let hierarchy = naming_hierarchy();
    let scope =
        format!("kubepods.slice/kubepods-pod{}.slice/cri-containerd-1.scope", pod().replace('-', "_"));
    for (path, grant) in [(scope, "pod"), (format!("system.slice/{}", unit()), "unit")] {
        let group = Group::delegated(&hierarchy, &path);
        for inner in ["", "inner.service"] {
            let seen = client(group.run_inside(inner), &daemon, "whoami -o json").json();
            assert_eq!(seen["grants"][0]["name"], grant, "{path}/{inner}: {seen}");
        }
    }
}

/// A daemon in a cgroup namespace of its own, as in unprivileged containers, enters the node's.
#[test]
fn daemon_in_a_cgroup_namespace_knows_units_and_pods() {
    if let Err(error) = fs::metadata("/proc/1/ns/cgroup") {
        eprintln!("SKIPPED(access to the namespaces of process 1: {error}): {}", module_path!());
        return;
    }
    let hierarchy = naming_hierarchy();
    let own = Group::new(&hierarchy, &format!("private-{}", std::process::id()));
    let script = format!("echo 0 > {}/cgroup.procs && exec unshare --cgroup \"$@\"", own.folder().display());
    let wrapper = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let daemon = Daemon::start_with(&Launch { policy: policy(), wrapper, ..Launch::default() });
    daemon.open_to_users();
    let scope =
        format!("kubepods.slice/kubepods-pod{}.slice/cri-containerd-2.scope", pod().replace('-', "_"));
    for (path, grant) in [(scope, "pod"), (format!("system.slice/{}", unit()), "unit")] {
        let group = Group::delegated(&hierarchy, &path);
        let seen = client(group.run_inside(""), &daemon, "whoami -o json").json();
        assert_eq!(seen["grants"][0]["name"], grant, "{path}: {seen}");
    }
    assert!(!daemon.log().contains("cgroup namespace"), "{}", daemon.log());
    drop(daemon);
}

#[test]
fn user_cannot_pose_as_a_container() {
    let daemon = daemon(String::new());
    let wire = daemon.wire();
    let victim = Container::empty(1);
    let own = Group::delegated(&unified_hierarchy(), &format!("posing-{}", std::process::id()));
    let name = format!("cri-containerd-{}.scope", victim.digits);
    let mut command = own.run_inside(&name);
    let posing = Target::start_by(command.args(["unshare", "-Urn"]).arg(readable_target(&daemon)));
    assert_eq!(wire.find_containers(asked(&victim.id)).unwrap().containers, []);
    let process = Target::start();
    victim.take(process.pid());
    let found = wire.find_containers(asked(&victim.id)).unwrap().containers;
    let pids: Vec<_> = found.into_iter().map(|container| container.pids).collect();
    assert_eq!(pids, [vec![process.pid().cast_signed()]]);
    drop((posing, process));
}

#[test]
fn container_id_of_two_groups_is_ambiguous() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let first = Container::empty(1);
    let third = Container::empty(2);
    let second = Group::new(&unified_hierarchy(), &format!("docker-{}.scope", first.digits));
    let (one, other, process) = (Target::start(), Target::start(), Target::start());
    first.take(one.pid());
    third.take(process.pid());
    fs::write(second.folder().join("cgroup.procs"), other.pid().to_string()).unwrap();
    let container_ids = vec![first.id.clone(), third.id.clone()];
    let answer = wire.find_containers(ext::FindContainersRequest { container_ids }).unwrap();
    let names = [format!("cri-containerd-{}.scope", first.digits), format!("docker-{}.scope", first.digits)];
    let [ambiguous] = &answer.ambiguous[..] else { panic!("{answer:?}") };
    assert_eq!(ambiguous.container_id, first.id);
    assert!(names.iter().all(|name| ambiguous.reason.contains(name)), "{ambiguous:?}");
    let pids: Vec<_> = answer.containers.into_iter().map(|found| (found.container_id, found.pids)).collect();
    assert_eq!(pids, [(third.id.clone(), vec![process.pid().cast_signed()])]);
    drop((one, other, process));
}

fn readable_target(daemon: &Daemon) -> PathBuf {
    let path = daemon.path("posing-target");
    fs::copy(target::binary(), &path).unwrap();
    path
}

#[test]
fn slash_in_a_name_makes_no_namespace() {
    let policy = format!(
        "[files]\nusers = [0, {USER}]\n[[grants]]\nname = \"shop\"\nusers = [{USER}]\nallow = [\"all\"]\n\
         applications = [\"shop/*\"]\n"
    );
    let daemon = daemon(policy);
    let own = load_as(&daemon, USER);
    let path = daemon.path(format!("own-{USER}.o")).display().to_string();
    let load = |claim: &[&str]| {
        let mut words = vec!["load", "file", "-p", &path, "--programs", "xdp:xdp_member", "-o", "json"];
        claim.iter().for_each(|pair| words.extend(["-m", pair]));
        daemon.cli_as(USER, USER, &words)
    };
    let before = daemon.state();
    for (claim, wrong) in [
        (&["bpfman.io/ProgramName=shop/wall"][..], "shop/wall"),
        (&["bpfman.io/ProgramName=shop/wall", "bpfman.io/uuid=1-2"], "shop/wall"),
        (&["bpfman.io/ProgramNamespace=shop", "bpfman.io/ProgramName=a/b"], "a/b"),
        (&["bpfman.io/ProgramNamespace=shop/x", "bpfman.io/ProgramName=b"], "shop/x"),
        (&["bpfman.io/ProgramNamespace=Shop", "bpfman.io/ProgramName=b"], "Shop"),
    ] {
        load(claim).fails(6, &[wrong, "bpfman.io/Program"]);
    }
    load(&["bpfman.io/ProgramName=wall"]).fails(4, &["\"applications\""]);
    assert_eq!(daemon.state(), before);
    let loaded = load(&["bpfman.io/ProgramNamespace=shop", "bpfman.io/ProgramName=wall"]);
    // On Linux 5.10, tenants may not compare pointers into packets: the load gets as far as the verifier.
    if loaded.code == 0 || !is_older_than((6, 1), "programs of tenants that read packets", &test_name()) {
        loaded.success();
    }
    daemon.bpfman_as(USER, &format!("unload {own}")).success();
}

#[test]
fn interface_name_is_taken_whole() {
    let policy = format!(
        "[files]\nusers = [0, {USER}]\n[[grants]]\nname = \"vlans\"\nusers = [{USER}]\nallow = [\"all\"]\n\
         hooks = [\"xdp:*.100\"]\n"
    );
    let (daemon, network) = (daemon(policy), Network::new());
    let far = network.far.path().display().to_string();
    let program = load_as(&daemon, USER);
    let before = daemon.state();
    for name in [format!("{INTERFACE}:.100"), format!("{INTERFACE}/.100")] {
        let attach = format!("attach {program} xdp -i {name} -p 10 -n {far}");
        daemon.bpfman_as(USER, &attach).fails(6, &[&format!("\"{name}\"")]);
        daemon.bpfman(&attach).fails(6, &[&format!("\"{name}\"")]);
    }
    assert_eq!(daemon.state(), before);
}
