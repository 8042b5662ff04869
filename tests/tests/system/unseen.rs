//! Files without access for the caller: the daemon, which has access, reveals nothing about them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::container::Container;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::load;
use bpfman_tests::target::{self, Target};
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile};

use crate::equipment::Program;

fn daemon() -> Daemon {
    let daemon = Daemon::start_with(&Launch { policy: EVERYBODY_MAY.to_owned(), ..Launch::default() });
    daemon.open_to_users();
    daemon
}

fn programs(daemon: &Daemon) -> (Program, Program) {
    let wire = daemon.wire();
    let loaded = wire.load(load(&compile::object("probes"), &[("on_uprobe", Type::Uprobe)])).unwrap();
    (Program::of(&loaded.programs[0]), Program::member(&wire, "xdp_member", Type::Xdp, 1, 2))
}

fn as_user(daemon: &Daemon, line: &str) -> Outcome {
    daemon.bpfman_as(65_532, line)
}

fn copy(path: &Path, mode: u32) {
    fs::copy(target::binary(), path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn targets_in_folders_closed_to_the_caller_look_all_the_same() {
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
    let process = Target::start();
    let path = hidden.join("program").display().to_string();
    let line = format!("{} --container-pid {}", probed(&path), process.pid());
    as_user(&daemon, &line).fails(4, &["user 65532 may not read", &path]);
    assert_eq!(daemon.state(), before);
    let roots = daemon.path("of-root");
    copy(&roots, 0o700);
    as_user(&daemon, &probed(&roots.display().to_string())).fails(4, &["may not read"]);
    assert_eq!(daemon.state(), before);
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
    let binary = daemon.path("open");
    copy(&binary, 0o755);
    let mut command = network.far.command("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(&binary);
    let pod = Target::start_by(&mut command);
    let netns = format!("/proc/{}/ns/net", pod.pid());
    let line = format!("attach {} xdp --iface {INTERFACE} --priority 1 --netns {netns}", xdp.id);
    as_user(&daemon, &line).success();
    let (binary, pid) = (binary.display(), pod.pid());
    let line = format!("attach {} uprobe --target {binary} --fn-name probed --container-pid {pid}", probe.id);
    as_user(&daemon, &line).success();
    let gone = format!("attach {} xdp --iface {INTERFACE} --priority 2 --netns /proc/4194305/ns/net", xdp.id);
    as_user(&daemon, &gone).fails(6, &["/proc/4194305/ns/net is not a network namespace: No such file"]);
}

fn namespaced(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    let user = user.to_string();
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "unshare", "-Urm"])
        .arg(program);
    command
}

/// A user namespace gives its creator no access to the machine's files, even through the daemon, which enters it as root.
#[test]
fn process_of_a_user_shows_no_file_that_is_hidden_from_it() {
    let daemon = daemon();
    let (probe, _) = programs(&daemon);
    let [open, roots] = ["open", "of-root"].map(|name| daemon.path(name));
    copy(&open, 0o755);
    copy(&roots, 0o700);
    let hidden = daemon.path("hidden");
    fs::create_dir(&hidden).unwrap();
    copy(&hidden.join("program"), 0o755);
    fs::write(hidden.join("text"), "no program").unwrap();
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).unwrap();
    let own = Target::start_by(&mut namespaced(65_532, &open));
    let before = daemon.state();
    let at = |path: &Path| {
        let (path, pid) = (path.display(), own.pid());
        format!("attach {} uprobe --target {path} --fn-name probed --container-pid {pid}", probe.id)
    };
    let answers = ["program", "text", "absent"].map(|name| {
        let path = hidden.join(name);
        let outcome = as_user(&daemon, &at(&path));
        outcome.fails(4, &["user 65532 may not read"]);
        outcome.stderr.replace(&path.display().to_string(), "PATH")
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    as_user(&daemon, &at(&roots)).fails(4, &["user 65532 may not read"]);
    // Links in /proc lead to a file even if the user may not enter the folders above it, but they grant no access.
    let root = Target::start_by(&mut Command::new(hidden.join("program")));
    let link = format!("/proc/{}/exe", root.pid());
    as_user(&daemon, &format!("attach {} uprobe --target {link} --fn-name probed", probe.id))
        .fails(5, &[&link]);
    assert_eq!(daemon.state(), before);
    as_user(&daemon, &at(&open)).success();
    daemon.bpfman(&at(&roots)).success();
}

#[test]
fn library_of_a_process_is_probed_by_who_may_read_it() {
    let daemon = daemon();
    let (probe, _) = programs(&daemon);
    let hidden = daemon.path("hidden");
    fs::create_dir(&hidden).unwrap();
    let preloaded = |name: &str, mode: u32| {
        let path = daemon.path(name);
        fs::copy(compile::library("preloaded"), &path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Target::start_by(Command::new(target::binary()).env("LD_PRELOAD", path))
    };
    let processes = [preloaded("libroots.so", 0o700), preloaded("hidden/libroots.so", 0o755)];
    fs::set_permissions(&hidden, Permissions::from_mode(0o700)).unwrap();
    let of_all = preloaded("liball.so", 0o755);
    let at = |library: &str, process: &str| {
        format!("attach {} uprobe --target {library} --fn-name getpriority {process}", probe.id)
    };
    let before = daemon.state();
    for process in &processes {
        for process in [format!("--pid {}", process.pid()), format!("--container-pid {}", process.pid())] {
            let answers = ["libroots", "libabsent"].map(|library| {
                let outcome = as_user(&daemon, &at(library, &process));
                outcome.fails(5, &["no library of that name"]);
                outcome.stderr.replace(library, "LIBRARY")
            });
            assert_eq!(answers[0], answers[1]);
        }
    }
    assert_eq!(daemon.state(), before);
    as_user(&daemon, &at("liball", &format!("--pid {}", of_all.pid()))).success();
    daemon.bpfman(&at("libroots", &format!("--pid {}", processes[0].pid()))).success();
}

/// The agent is not a user of any container. It may read files of the node's containers, but no others.
#[test]
fn agent_probes_files_of_containers_alone_with_roots_rights() {
    const AGENT: u32 = 64_221;
    let policy = format!("[files]\nusers = [0, {AGENT}]\n");
    let flags = vec![format!("--node-agent-user={AGENT}")];
    let daemon = Daemon::start_with(&Launch { policy, flags, ..Launch::default() });
    daemon.open_to_users();
    let object = daemon.path("probes.o");
    fs::copy(compile::object("probes"), &object).unwrap();
    chown(&object, Some(AGENT), Some(AGENT)).unwrap();
    let load = format!(
        "load file -p {} --programs uprobe:on_uprobe -m bpfman.io/ProgramName=probe -m bpfman.io/uuid=1 -o json",
        object.display()
    );
    let loaded = daemon.bpfman_as(AGENT, &load).json();
    let id = loaded["programs"][0]["program_id"].as_u64().unwrap_or_else(|| panic!("{loaded}"));
    let roots = daemon.path("of-root");
    copy(&roots, 0o700);
    let container = Container::empty(7);
    let [contained, other] = [(); 2].map(|()| {
        let mut command = Command::new("unshare");
        Target::start_by(command.args(["--mount", "--propagation", "private"]).arg(&roots))
    });
    container.take(contained.pid());
    let at = |process: &Target| {
        let (path, pid) = (roots.display(), process.pid());
        format!("attach {id} uprobe --target {path} --fn-name probed --container-pid {pid}")
    };
    let before = daemon.state();
    daemon.bpfman_as(AGENT, &at(&other)).fails(4, &["may not read"]);
    assert_eq!(daemon.state(), before);
    daemon.bpfman_as(AGENT, &at(&contained)).success();
    let entered = Target::start_by(&mut Command::new(&roots));
    container.take(entered.pid());
    daemon.bpfman_as(AGENT, &at(&entered)).fails(4, &["may not read"]);
    drop((contained, entered));
}

/// Root's access to files applies for the grant that allows the attachment, not for the user's other grants.
#[test]
fn rights_of_another_grant_open_no_file_of_a_container() {
    const ADA: u32 = 64_222;
    let policy = format!(
        "[files]\nusers = [0, {ADA}]\n\
         [[grants]]\nname = \"all-applications\"\nusers = [{ADA}]\nallow = [\"read\"]\napplications = [\"*\"]\n\
         [[grants]]\nname = \"own\"\nusers = [{ADA}]\nallow = [\"load\", \"attach\"]\n"
    );
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    let object = daemon.path("probes.o");
    fs::copy(compile::object("probes"), &object).unwrap();
    chown(&object, Some(ADA), Some(ADA)).unwrap();
    let load = format!("load file -p {} --programs uprobe:on_uprobe -q", object.display());
    let id = daemon.bpfman_as(ADA, &load).success();
    let roots = daemon.path("of-root");
    copy(&roots, 0o700);
    let container = Container::empty(8);
    let mut command = Command::new("unshare");
    let contained = Target::start_by(command.args(["--mount", "--propagation", "private"]).arg(&roots));
    container.take(contained.pid());
    let (path, pid) = (roots.display(), contained.pid());
    let before = daemon.state();
    let attach =
        format!("attach {} uprobe --target {path} --fn-name probed --container-pid {pid}", id.trim());
    daemon.bpfman_as(ADA, &attach).fails(4, &["may not read"]);
    assert_eq!(daemon.state(), before);
    drop(contained);
}
