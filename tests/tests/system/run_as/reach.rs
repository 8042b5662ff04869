//! Attempts of commands to reach beyond their grant, by parts of calls that a grant does not name.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use bpfman_tests::control_group::Group;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::wait::until;
use bpfman_tests::{Network, Outcome, command, compile};

use super::{ADA, BOB, EVE, Sessions, sessions, sessions_of};

const EPERM: &str = "1\n";
const TRACEPOINT: u32 = 5;
const SOCKET_FILTER: u32 = 1;

/// Bob may use XDP at lo, Eve tracepoints of system calls, like the documented grant for execsnoop.
fn narrow() -> Sessions {
    let policy = format!(
        "[[grants]]\nname = \"tools\"\nusers = [{ADA}]\nallow = [\"raw\"]\n\
         [[grants]]\nname = \"narrow\"\nusers = [{BOB}]\nallow = [\"raw\"]\ntypes = [\"xdp\"]\nhooks = [\"xdp:lo\"]\n\
         [[grants]]\nname = \"snoop\"\nusers = [{EVE}]\nallow = [\"raw\"]\ntypes = [\"tracepoint\"]\n\
         targets = [\"tracepoint:syscalls/*\"]\n"
    );
    sessions_of(&policy)
}

fn program(daemon: &Sessions) -> String {
    daemon.readable(&compile::executable("raw_reach")).display().to_string()
}

#[test]
fn helpers_that_act_on_processes_need_a_whole_grant() {
    let daemon = narrow();
    let program = program(&daemon);
    let load = |user, kind: u32, number: u32| {
        daemon.session(user, &[&program, "helper", &kind.to_string(), &number.to_string()])
    };
    // bpf_get_current_pid_tgid (14), and bpf_send_signal (109).
    assert_eq!(load(EVE, TRACEPOINT, 14).success(), "0\n");
    assert_eq!(load(ADA, TRACEPOINT, 109).success(), "0\n");
    for number in [36, 58, 109, 117] {
        assert_eq!(load(EVE, TRACEPOINT, number).success(), EPERM, "{number}");
    }
    let history = daemon.bpfman("history").success();
    assert!(history.contains("calls bpf_send_signal, which reaches beyond"), "{history}");
    // bpf_redirect (23), with a grant for certain hooks.
    assert_eq!(load(ADA, 6, 23).success(), "0\n");
    assert_eq!(load(BOB, 6, 23).success(), EPERM);
}

#[test]
fn constant_programs_of_other_types_are_not_handed_out() {
    let daemon = narrow();
    let program = program(&daemon);
    let load = |user, kind: u32| daemon.session(user, &[&program, "stand-in", &kind.to_string()]).success();
    assert_eq!(load(EVE, TRACEPOINT), format!("0 {TRACEPOINT}\n"));
    assert_eq!(load(BOB, 6), "0 6\n");
    // cgroup_device and XDP, where constant programs deny everything.
    for other in [6, 15] {
        assert_eq!(load(EVE, other), format!("0 {SOCKET_FILTER}\n"));
    }
    // A type that the kernel lacks fails like without a session.
    assert_eq!(load(EVE, 4711), "22 -1\n");
}

#[test]
fn programs_of_others_at_a_cgroup_are_not_replaced() {
    let group = Group::new("run-as-replaced");
    let at = group.folder.display().to_string();
    let daemon = sessions_of(&format!(
        "[[grants]]\nname = \"group\"\nusers = [{BOB}]\nallow = [\"raw\"]\ntypes = [\"cgroup_skb\"]\ntargets = [\"cgroup:{at}\"]\n"
    ));
    let program = program(&daemon);
    assert_eq!(daemon.session(BOB, &[&program, "group", &at]).success(), "0\n");
    let show = || command::run(&["bpftool", "cgroup", "show", &at]);
    until("the session's program is gone", || !show().contains("egress"));
    let object = compile::object("allow").display().to_string();
    let pin = daemon.path("pins").display().to_string();
    command::run(&["mkdir", &pin]);
    command::run(&["mount", "-t", "bpf", "bpf", &pin]);
    let pin = format!("{pin}/p");
    command::run(&["bpftool", "prog", "load", &object, &pin]);
    command::run(&["bpftool", "cgroup", "attach", &at, "egress", "pinned", &pin]);
    let before = show();
    assert!(before.contains("egress"), "{before}");
    assert_eq!(daemon.session(BOB, &[&program, "group", &at]).success(), EPERM);
    assert_eq!(show(), before);
    command::run(&["bpftool", "cgroup", "detach", &at, "egress", "pinned", &pin]);
    command::run(&["umount", pin.strip_suffix("/p").unwrap()]);
}

#[test]
fn a_file_over_a_link_is_not_the_named_one() {
    let daemon = narrow();
    let folder = daemon.path("own");
    fs::create_dir_all(folder.join("d")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let library = daemon.readable(&compile::executable("target"));
    symlink(&library, folder.join("d/x")).unwrap();
    fs::copy(&library, folder.join("d/y")).unwrap();
    let own = folder.display().to_string();
    let policy = format!(
        "[[grants]]\nname = \"mine\"\nusers = [{BOB}]\nallow = [\"raw\"]\ntargets = [\"uprobe:{own}/*\"]\n"
    );
    fs::write(daemon.path("policy.toml"), policy).unwrap();
    let (program, library) = (program(&daemon), library.display().to_string());
    let probe = |file: &str| daemon.session(BOB, &[&program, "uprobe", file, "0x1000"]).success();
    assert_eq!((probe(&format!("{own}/d/y")).as_str(), probe(&library).as_str()), ("0\n", EPERM));
    let script = format!(
        "mount -t tmpfs t {own}/d && touch {own}/d/x && mount --bind {library} {own}/d/x && {program} uprobe {own}/d/x 0x1000"
    );
    let tried = daemon.session(BOB, &["unshare", "-Urm", "sh", "-c", &script]);
    if tried.stderr.contains("unshare") {
        eprintln!("SKIPPED(user namespaces): {}", module_path!());
        return;
    }
    assert_eq!(tried.success(), EPERM);
}

#[test]
fn numbers_of_processes_are_the_daemons() {
    let daemon = sessions();
    let program = program(&daemon);
    let event = format!("{program} process $$");
    assert_eq!(daemon.session_shell(ADA, &event).success(), "0\n");
    // In its own namespace, process 1 of the script is another one than the machine's.
    let tried = daemon.session(ADA, &["unshare", "-Urpf", "sh", "-c", &event]);
    if tried.stderr.contains("unshare") {
        eprintln!("SKIPPED(user namespaces): {}", module_path!());
        return;
    }
    assert_eq!(tried.success(), "22\n");
}

#[test]
fn program_in_place_of_an_expected_one_ends_with_the_command() {
    let (daemon, network) = (sessions(), Network::new());
    let program = program(&daemon);
    let look = || network.near.inside(|| command::run(&["ip", "-o", "link", "show", INTERFACE]));
    let index = look().split(':').next().unwrap().to_owned();
    let mut session = daemon.session_command(ADA, &[&program, "expected", &index]);
    let tried = network.near.inside(move || Outcome::of(&mut session));
    assert_eq!(tried.success(), "0 0\n");
    until("nothing is attached", || !look().contains("prog/xdp"));
}

#[test]
fn a_description_that_is_too_long_is_cut() {
    let daemon = narrow();
    assert_eq!(daemon.session(BOB, &[&program(&daemon), "lengths"]).success(), "0\n");
    assert!(!daemon.log().contains("more channels"), "{}", daemon.log());
}

#[test]
fn many_events_and_maps_leave_little_behind() {
    let daemon = narrow();
    let program = program(&daemon);
    assert_eq!(daemon.session(EVE, &[&program, "events", "500"]).success(), "500\n");
    assert_eq!(daemon.session(BOB, &[&program, "maps", "5000"]).success(), "5000\n");
}

#[test]
fn client_with_a_filter_is_refused() {
    let daemon = sessions();
    let program = program(&daemon);
    let client = daemon.cli_command_as(ADA, ADA);
    let mut filtered = Command::new(client.get_program());
    let words: Vec<_> = client.get_args().collect();
    // The first arguments change the user.
    let at = words.iter().position(|word| Path::new(word).ends_with("client")).unwrap();
    filtered
        .args(&words[..at])
        .args([&program, "filtered"])
        .args(&words[at..])
        .args(["run-as", "--", "true"]);
    filtered.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Outcome::of(&mut filtered).fails(1, &["seccomp filter"]);
}

#[test]
fn many_words_reach_the_command_in_its_own_folder() {
    let daemon = sessions();
    let words: Vec<&str> = std::iter::repeat_n("true", 5000).collect();
    daemon.session(ADA, &words).success();
    let mut command = daemon.session_command(ADA, &["sh", "-c", ": > own && /bin/pwd && ls own && rm own"]);
    assert_eq!(Outcome::of(command.current_dir("/run")).success(), "/run\nown\n");
    assert!(!Path::new("/run/own").exists());
}

#[test]
fn keys_are_of_one_session() {
    let daemon = sessions();
    let program = program(&daemon);
    for user in [BOB, BOB, ADA] {
        assert_eq!(daemon.session(user, &[&program, "key", "bpfman-test"]).success(), "0\n");
    }
}
