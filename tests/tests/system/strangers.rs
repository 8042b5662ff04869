//! Third-party programs at the same hooks: they are named, and left alone.

use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::run;
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::requests::{attach, tc, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Outcome, compile, kernel};
use tonic::Code;

use crate::equipment::{Program, assert_status};

fn object() -> String {
    compile::object("stranger").display().to_string()
}

/// Runs a script in a network namespace, as a single process up to an `exec`, with a bpffs of its own: `ip` and `tc`
/// would pin into any mounted bpffs, including a daemon's.
pub fn command_with_bpffs(end: &Namespace, script: &str) -> Command {
    let script = format!("mount -t bpf bpf /sys/fs/bpf && {script}");
    let mut command = end.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    command
}

pub fn with_bpffs(end: &Namespace, script: &str) {
    Outcome::of(&mut command_with_bpffs(end, script)).success();
}

type Put = fn(&Namespace);

fn strangers() -> [(&'static str, Put); 3] {
    [
        ("ip", |end| {
            with_bpffs(end, &format!("ip link set dev {INTERFACE} xdp obj {} sec xdp", object()));
        }),
        ("ip, generic", |end| {
            with_bpffs(end, &format!("ip link set dev {INTERFACE} xdpgeneric obj {} sec xdp", object()));
        }),
        ("bpftool", |end| {
            let pin = "/sys/fs/bpf/stranger";
            let load = format!("bpftool prog loadall {} /sys/fs/bpf", object());
            with_bpffs(end, &format!("{load} && bpftool net attach xdp pinned {pin} dev {INTERFACE}"));
        }),
    ]
}

#[test]
fn interface_with_a_third_party_program_is_refused() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 1);
    for (name, put) in strangers() {
        let network = Network::new();
        let traffic = Traffic::new(&network);
        put(&network.far);
        let (hooks, before) = (kernel::hooks(&network.far.path()), daemon.state());
        assert_eq!(hooks[0]["xdp"].as_array().unwrap().len(), 1, "{name}: {hooks}");
        let answer = wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 50, &[])));
        assert_status(answer, Code::FailedPrecondition, "conflict", &[INTERFACE]);
        assert_eq!(kernel::hooks(&network.far.path()), hooks, "{name}");
        assert_eq!(daemon.state(), before, "{name}");
        assert_eq!(traffic.send(1), 1, "{name}");
    }
}

#[test]
fn a_stranger_cannot_take_our_program_off_even_by_force() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let far = network.far.path();
    let first = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    wire.attach(attach(first.id, xdp(&far, INTERFACE, 50, &[]))).unwrap();
    // The kernel does not permit replacing a link by netlink, even with force.
    let netns = far.display().to_string();
    let forced = bpfman_tests::Outcome::of(std::process::Command::new("nsenter").args([
        &format!("--net={netns}"),
        "ip",
        "-force",
        "link",
        "set",
        "dev",
        INTERFACE,
        "xdp",
        "off",
    ]));
    let hooks = kernel::hooks(&far);
    assert_ne!(forced.code, 0);
    assert_eq!(hooks[0]["xdp"][0]["id"], first.id, "{hooks}");
}

#[test]
fn tc_filters_of_others_run_before_and_after_ours() {
    for config in ["", "tc.attach = \"clsact\""] {
        let launch = Launch { config: config.to_owned(), ..Launch::default() };
        let (daemon, network) = (Daemon::start_with(&launch), Network::new());
        let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
        let far = network.far.path();
        let netns = format!("--net={}", far.display());
        let in_far = |words: &[&str]| run(&[&["nsenter", &netns], words].concat());
        in_far(&["tc", "qdisc", "add", "dev", INTERFACE, "clsact"]);
        let filter =
            format!("tc filter add dev {INTERFACE} ingress pref 60000 bpf direct-action object-file");
        with_bpffs(&network.far, &format!("{filter} {} section tc", object()));
        let shown = || in_far(&["tc", "filter", "show", "dev", INTERFACE, "ingress", "pref", "60000"]);
        let theirs = shown();
        let program = Program::member(&wire, "tc_member", Type::Tc, 1, 3);
        let link = wire.attach(attach(program.id, tc(&far, INTERFACE, "ingress", 50, &[]))).unwrap().link_id;
        assert_eq!(traffic.send(1), 0, "theirs drops");
        assert_eq!(program.hits(), 1);
        assert_eq!(shown(), theirs);
        crate::equipment::detach(&wire, link);
        assert_eq!(shown(), theirs, "{config}: their filter stays");
        in_far(&["tc", "filter", "del", "dev", INTERFACE, "ingress", "pref", "60000"]);
        assert_eq!(traffic.send(1), 1);
        assert!(in_far(&["tc", "qdisc", "show", "dev", INTERFACE]).contains("clsact"), "their qdisc stays");
    }
}

#[test]
fn programs_of_others_are_listed_with_all_and_only_then() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let network = Network::new();
    let (_, put) = strangers()[0];
    put(&network.far);
    let hooks = kernel::hooks(&network.far.path());
    let stranger = hooks[0]["xdp"][0]["id"].as_u64().unwrap().to_string();
    let ours = Program::member(&wire, "xdp_member", Type::Xdp, 1, 1);
    let listed = |flags: &str| {
        let text = daemon.bpfman(&format!("list programs -q {flags}")).success();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(""), [ours.id.to_string()]);
    let all = listed("--all");
    assert!(all.contains(&stranger) && all.contains(&ours.id.to_string()), "{all:?}");
    let shown = daemon.bpfman(&format!("get program {stranger} -o json")).json();
    assert_eq!(shown["managed"], false);
    daemon.bpfman(&format!("unload {stranger}")).fails(5, &[&stranger]);
    assert!(kernel::has_program(stranger.parse().unwrap()));
}
