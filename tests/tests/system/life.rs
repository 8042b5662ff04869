//! The daemon's start, shutdown, and coexistence with others.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::registry::Registry;
use bpfman_tests::requests::{attach, tc, tracepoint, xdp};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::target::Target;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile, kernel};

use crate::equipment::{Program, detach, link, test_name, unload};
use crate::images::publish;

#[test]
fn sigterm_ends_the_daemon_and_programs_run_on() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let members: Vec<_> =
        (1..=2).map(|who| Program::member(&wire, "xdp_member", Type::Xdp, who, who % 2 + 1)).collect();
    for (priority, member) in (10..).zip(members.iter().rev()) {
        wire.attach(attach(member.id, xdp(&network.far.path(), INTERFACE, priority, &[]))).unwrap();
    }
    assert_eq!(traffic.send(1), 0);
    let before = daemon.state();
    let status = daemon.terminate();
    assert!(status.success(), "{status}");
    assert!(!daemon.socket().exists(), "the socket goes with it");
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    assert_eq!(traffic.send(1), 0);
    assert_eq!(members[1].hits(), 2);
    daemon.again(&Launch::default());
    assert_eq!(daemon.state(), before);
    assert!(daemon.log().contains("adopted=2 reloaded=0 reattached=0"), "{}", daemon.log());
    let wire = daemon.wire();
    members.iter().for_each(|member| unload(&wire, member.id));
    assert_eq!(traffic.send(1), 1);
}

fn threads(daemon: &Daemon) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let names = folder.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim_end().to_owned()).collect();
    names.sort();
    names
}

const AT_REST: [&str; 3] = ["bpfmand", "journal", "watch"];

#[test]
fn fresh_daemon_has_three_threads_at_rest() {
    let daemon = Daemon::start();
    until("the threads of its start have ended", || threads(&daemon) == AT_REST);
}

#[test]
fn threads_for_images_and_limits_end_with_their_work() {
    let registry = Registry::start();
    let policy = "mode = \"off\"\n".to_owned();
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    let name = registry.image("chain:1");
    publish(&daemon, &name, "chain");
    daemon.bpfman(&format!("load image -i {name} --programs xdp:xdp_member")).success();
    assert!(threads(&daemon).contains(&"images".to_owned()), "{:?}", threads(&daemon));
    until("nothing is worked on", || threads(&daemon) == AT_REST);
    daemon.bpfman(&format!("image pull -i {name}")).success();

    let object = compile::object("chain").display().to_string();
    let load = format!("load file -p {object} --programs xdp:xdp_member --ttl 1h -o json");
    let id = daemon.bpfman(&load).json()["programs"][0]["program_id"].clone();
    until("a thread waits for the end", || threads(&daemon).contains(&"budgets".to_owned()));
    daemon.bpfman(&format!("unload {id}")).success();
    until("nothing ends by itself", || threads(&daemon) == AT_REST);
}

#[test]
fn a_killed_daemon_is_followed_by_one_that_adopts_every_type() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let far = network.far.path();
    let point = "syscalls/sys_enter_getpriority";
    let probes =
        bpfman_tests::requests::load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    let probe = Program::of(&wire.load(probes).unwrap().programs[0]);
    let xdp_member = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let tc_member = Program::member(&wire, "tc_member", Type::Tc, 2, 3);
    wire.attach(attach(probe.id, tracepoint(point))).unwrap();
    wire.attach(attach(xdp_member.id, xdp(&far, INTERFACE, 1, &[]))).unwrap();
    wire.attach(attach(tc_member.id, tc(&far, INTERFACE, "ingress", 1, &[]))).unwrap();
    let before = daemon.state();
    daemon.kill();
    let mut target = Target::start();
    target.get_priority();
    assert!(kernel::array_value(kernel::map_named(&probe.maps, "fired"), 0) >= 1, "it runs on");
    daemon.again(&Launch::default());
    assert_eq!(daemon.state(), before);
    assert!(before.links.iter().all(|link| link["state"] == "ok"), "{:#?}", before.links);
}

#[test]
fn after_loss_of_all_pins_everything_is_loaded_and_attached() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    for (who, priority) in [(1, 20), (2, 10)] {
        let member = Program::member(&wire, "xdp_member", Type::Xdp, who, 2);
        wire.attach(attach(member.id, xdp(&far, INTERFACE, priority, &[]))).unwrap();
    }
    let before = daemon.state();
    // State after a reboot: records without kernel objects.
    daemon.terminate();
    rustix::mount::unmount(daemon.fs(), rustix::mount::UnmountFlags::DETACH).unwrap();
    until("the hook is empty", || kernel::hooks(&far)[0]["xdp"].as_array().unwrap().is_empty());
    daemon.again(&Launch::default());
    assert!(daemon.log().contains("reloaded=2"), "{}", daemon.log());
    // Hundreds of programs may take longer than the start timeout: systemd gets progress reports.
    let told = daemon.told_before_ready();
    assert!(told.iter().any(|told| told.starts_with("EXTEND_TIMEOUT_USEC=60000000")), "{told:?}");
    for status in ["0 of 2 programs loaded again", "2 of 2 programs loaded again", "hooks attached again"] {
        let is_it = |told: &String| told.starts_with("STATUS=starting: ") && told.contains(status);
        assert!(told.iter().any(is_it), "{status}: {told:?}");
    }
    assert_eq!(told.last().map(String::as_str), Some("READY=1\nSTATUS=serving\n"), "{told:?}");
    let after = daemon.state();
    let of = |state: &bpfman_tests::daemon::State, key: &str| -> Vec<_> {
        state.programs.iter().map(|program| program[key].clone()).collect()
    };
    let sorted = |mut values: Vec<serde_json::Value>| {
        values.sort_by_key(serde_json::Value::to_string);
        values
    };
    assert_ne!(of(&before, "program_id"), of(&after, "program_id"));
    for key in ["uid", "name", "global_data", "metadata", "link_ids"] {
        assert_eq!(sorted(of(&before, key)), sorted(of(&after, key)), "{key}");
    }
    assert_eq!(traffic.send(1), 1);
    let id = after.programs[0]["program_id"].as_u64().unwrap();
    let maps = after.programs[0]["kernel"]["map_ids"].as_array().unwrap();
    let maps = maps.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
    assert_eq!(Program { id: u32::try_from(id).unwrap(), maps }.trail(), [2, 1]);
}

#[test]
fn a_second_daemon_on_one_state_folder_is_refused() {
    let daemon = Daemon::start();
    let second = Daemon::prepare();
    let state = daemon.path("run/state").display().to_string();
    let launch = Launch { flags: vec!["--state-dir".to_owned(), state.clone()], ..Launch::default() };
    let before = daemon.state();
    let (status, said) = second.refuses(&launch);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&state) && said.contains("another"), "{said}");
    assert_eq!(daemon.state(), before);
}

#[test]
fn second_daemon_on_one_bpffs_is_refused_despite_own_records() {
    let daemon = Daemon::start();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let second = Daemon::prepare();
    // The same bpffs at another path, as two containers may have it.
    fs::create_dir_all(second.fs()).unwrap();
    Outcome::of(Command::new("mount").arg("--bind").args([daemon.fs(), second.fs()])).success();
    let before = daemon.state();
    let (status, said) = second.refuses(&Launch::default());
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the bpffs at {} is in use by another", second.fs().display())), "{said}");
    assert_eq!(daemon.state(), before);
}

#[test]
fn a_second_daemon_on_one_socket_is_refused() {
    let daemon = Daemon::start();
    let second = Daemon::prepare();
    let launch = Launch { socket: Some(daemon.socket()), ..Launch::default() };
    let (status, said) = second.refuses(&launch);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("already listens") && said.contains(&daemon.socket().display().to_string()),
        "{said}"
    );
    assert_eq!(daemon.bpfman("list programs -q").success(), "");
}

#[test]
fn daemons_with_runtime_folders_of_their_own_live_side_by_side() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let daemons = [Daemon::start(), Daemon::start(), Daemon::start()];
    let network = Network::new();
    let programs: Vec<_> = daemons
        .iter()
        .map(|daemon| Program::member(&daemon.wire(), "tcx_member", Type::Tcx, 1, -1))
        .collect();
    for (daemon, program) in daemons.iter().zip(&programs) {
        let info = bpfman_tests::requests::tcx(&network.far.path(), INTERFACE, "ingress", 50);
        daemon.wire().attach(attach(program.id, info)).unwrap();
    }
    assert_eq!(Traffic::new(&network).send(1), 1);
    for (daemon, program) in daemons.iter().zip(&programs) {
        assert_eq!(program.hits(), 1);
        let listed = daemon.bpfman("list programs -q").success();
        assert_eq!(listed, format!("{}\n", program.id), "each knows its own alone");
    }
}

#[test]
fn the_second_store_engine_keeps_records_as_well() {
    let launch = Launch { config: "[store]\nengine = \"sled\"\n".to_owned(), ..Launch::default() };
    let (mut daemon, network) = (Daemon::start_with(&launch), Network::new());
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let id = wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 5, &[]))).unwrap().link_id;
    let before = daemon.state();
    daemon.kill();
    daemon.again(&launch);
    assert_eq!(daemon.state(), before);
    assert_eq!(link(&daemon.wire(), id).program_id, program.id);
    detach(&daemon.wire(), id);
    unload(&daemon.wire(), program.id);
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn a_socket_of_the_service_manager_is_served_and_stays() {
    let mut daemon = Daemon::prepare();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    // The daemon inherits a copy, which the shell moves to the descriptor that service managers use.
    let inherited = rustix::io::dup(&listener).unwrap();
    let script = format!("exec 3<&{} && LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", inherited.as_raw_fd());
    let wrapper = ["bash", "-c", &script, "bash"].map(str::to_owned).to_vec();
    daemon.again(&Launch { wrapper, ..Launch::default() });
    assert_eq!(daemon.bpfman("list programs -q").success(), "");
    let mode = fs::metadata(daemon.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its mode is the service manager's");
    assert!(daemon.terminate().success());
    assert!(daemon.socket().exists(), "it is not the daemon's to remove");
}

#[test]
fn the_service_manager_hears_when_it_is_ready_and_when_it_ends() {
    let mut daemon = Daemon::start();
    assert!(daemon.terminate().success());
    assert_eq!(daemon.notification().as_deref().map(str::trim), Some("STOPPING=1"));
}

#[test]
fn a_load_from_a_file_needs_no_network() {
    let nowhere = Namespace::new("nowhere");
    nowhere.ip(&["link", "set", "lo", "down"]);
    let wrapper = vec!["nsenter".to_owned(), format!("--net={}", nowhere.path().display())];
    let daemon = Daemon::start_with(&Launch { wrapper, ..Launch::default() });
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let info = bpfman_proto::v1::XdpAttachInfo { iface: "lo".to_owned(), priority: 1, ..Default::default() };
    let info = bpfman_proto::v1::attach_info::Info::XdpAttachInfo(info);
    daemon.wire().attach(attach(program.id, info)).unwrap();
    assert_eq!(kernel::hooks(&nowhere.path())[0]["xdp"][0]["id"], program.id);
}

#[test]
fn daemon_runs_without_cap_sys_resource() {
    let words = [
        "prlimit",
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set=-sys_resource",
        "--inh-caps=-sys_resource",
    ];
    let wrapper = words.map(str::to_owned).to_vec();
    let daemon = Daemon::start_with(&Launch { wrapper, ..Launch::default() });
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    let effective = u64::from_str_radix(effective, 16).unwrap();
    assert_eq!(effective >> 24 & 1, 0, "{effective:x}");
    let programs: Vec<_> =
        (0..4).map(|who| Program::member(&daemon.wire(), "xdp_member", Type::Xdp, who, 2)).collect();
    assert!(programs.iter().all(|program| kernel::has_program(program.id)));
}

#[test]
fn the_launch_forms_of_older_deployments_are_taken() {
    for flags in [&["serve"][..], &["--csi-support"], &["serve", "--csi-support", "--timeout", "0"]] {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        // The test's own flags precede these, so flags are before and after the command: both orders work.
        let environment = vec![("KUBE_NODE_NAME".to_owned(), "node".to_owned())];
        let daemon = Daemon::start_with(&Launch { flags, environment, ..Launch::default() });
        assert_eq!(daemon.bpfman("list programs -q").success(), "");
    }
}

#[test]
fn an_idle_daemon_ends_when_told_to_and_programs_run_on() {
    let flags = ["--timeout", "1"].map(str::to_owned).to_vec();
    let mut daemon = Daemon::start_with(&Launch { flags, ..Launch::default() });
    let program = {
        let wire = daemon.wire();
        Program::member(&wire, "xdp_member", Type::Xdp, 1, 2)
    };
    assert!(daemon.ended().success());
    assert!(kernel::has_program(program.id));
}

#[test]
fn a_mistake_in_the_configuration_keeps_it_from_starting() {
    let daemon = Daemon::prepare();
    for (config, says) in [
        ("[store]\nengine = \"sqlite\"", "sqlite"),
        ("tc.attach = \"magic\"", "magic"),
        ("not toml at all", "bpfman.toml"),
    ] {
        let launch = Launch { config: config.to_owned(), ..Launch::default() };
        let (status, said) = daemon.refuses(&launch);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    }
    let mut command = daemon.command(&Launch::default());
    fs::set_permissions(daemon.path("bpfman.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("writable by no other user"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_written_keeps_it_from_starting() {
    let daemon = Daemon::prepare();
    fs::write(daemon.path("file"), "").unwrap();
    let state = daemon.path("file/state").display().to_string();
    let launch = Launch { flags: vec!["--state-dir".to_owned(), state.clone()], ..Launch::default() };
    let (status, said) = daemon.refuses(&launch);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&state), "{said}");
}
