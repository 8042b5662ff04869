//! The daemon is killed at every step of an operation and restarted: a request takes effect completely or not at all,
//! and a chain that drops never passes a packet.

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::daemon::State;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::profile::is_short;
use bpfman_tests::requests::{attach, load, tc, tracepoint, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::equipment::{Program, detach, unload};

pub trait Operation {
    fn act(&self, wire: &Wire) -> Result<(), tonic::Status>;
    fn undo(&self, wire: &Wire, before: &State, after: &State);
}

pub fn kill_at_every_step(
    daemon: &mut Daemon,
    launch: &Launch,
    operation: &dyn Operation,
    mut look: impl FnMut(&Daemon, bool),
) {
    let list = daemon.path("steps");
    let before = daemon.state();
    daemon.terminate();
    daemon.again(&with(launch, "BPFMAN_TEST_STEPS", &list.display().to_string()));
    operation.act(&daemon.wire()).unwrap();
    let steps = std::fs::read_to_string(&list).unwrap();
    let after = daemon.state();
    assert_ne!(before, after);
    operation.undo(&daemon.wire(), &before, &after);
    assert_eq!(daemon.state(), before);
    for number in (1..=steps.lines().count()).step_by(if is_short() { 2 } else { 1 }) {
        let step = steps.lines().nth(number - 1).unwrap();
        daemon.terminate();
        daemon.again(&with(launch, "BPFMAN_TEST_KILL_AT", &number.to_string()));
        operation.act(&daemon.wire()).expect_err(step);
        daemon.ended();
        daemon.again(launch);
        let found = daemon.state();
        let happened = found != before;
        look(daemon, happened);
        if happened {
            let counts = |state: &State| (state.pins.len(), state.programs.len(), state.links.len());
            assert_eq!(counts(&found), counts(&after), "killed before {step}: neither before nor after");
            operation.undo(&daemon.wire(), &before, &found);
        }
        assert_eq!(daemon.state(), before, "killed before {step}");
    }
}

pub fn with(launch: &Launch, name: &str, value: &str) -> Launch {
    let mut launch = launch.clone();
    launch.environment.push((name.to_owned(), value.to_owned()));
    launch
}

fn new_ids(before: &[serde_json::Value], after: &[serde_json::Value], key: &str) -> Vec<u32> {
    let ids = |list: &[serde_json::Value]| -> Vec<u64> {
        list.iter().map(|entry| entry[key].as_u64().unwrap()).collect()
    };
    let known = ids(before);
    ids(after).into_iter().filter(|id| !known.contains(id)).map(|id| u32::try_from(id).unwrap()).collect()
}

struct Load;

impl Operation for Load {
    fn act(&self, wire: &Wire) -> Result<(), tonic::Status> {
        let programs = [("xdp_member", Type::Xdp), ("tc_member", Type::Tc)];
        wire.load(load(&compile::object("chain"), &programs)).map(drop)
    }

    fn undo(&self, wire: &Wire, before: &State, after: &State) {
        let new = new_ids(&before.programs, &after.programs, "program_id");
        assert_eq!(new.len(), 2, "both programs of a load, or none");
        new.into_iter().for_each(|id| unload(wire, id));
    }
}

#[test]
fn a_load_killed_at_any_step_loads_all_or_nothing() {
    let mut daemon = Daemon::start();
    kill_at_every_step(&mut daemon, &Launch::default(), &Load, |_, _| {});
}

#[test]
fn load_killed_at_any_step_is_atomic_with_the_second_store() {
    let launch = Launch { config: "[store]\nengine = \"sled\"\n".to_owned(), ..Launch::default() };
    let mut daemon = Daemon::start_with(&launch);
    kill_at_every_step(&mut daemon, &launch, &Load, |_, _| {});
}

pub struct Attach {
    pub program: u32,
    pub info: Info,
}

impl Operation for Attach {
    fn act(&self, wire: &Wire) -> Result<(), tonic::Status> {
        wire.attach(attach(self.program, self.info.clone())).map(drop)
    }

    fn undo(&self, wire: &Wire, before: &State, after: &State) {
        let new = new_ids(&before.links, &after.links, "link_id");
        assert_eq!(new.len(), 1);
        detach(wire, new[0]);
    }
}

#[test]
fn tracepoint_attach_killed_at_any_step_is_atomic() {
    let mut daemon = Daemon::start();
    let request = load(&compile::object("probes"), &[("on_tracepoint", Type::Tracepoint)]);
    let program = Program::of(&daemon.wire().load(request).unwrap().programs[0]);
    let info = tracepoint("syscalls/sys_enter_getpriority");
    kill_at_every_step(&mut daemon, &Launch::default(), &Attach { program: program.id, info }, |_, _| {});
}

#[derive(Clone, Copy)]
enum Chain {
    Xdp,
    Tc,
}

impl Chain {
    fn member(self, wire: &Wire, who: i32, drops: bool) -> Program {
        match self {
            Self::Xdp => Program::member(wire, "xdp_member", Type::Xdp, who, if drops { 1 } else { 2 }),
            Self::Tc => Program::member(wire, "tc_member", Type::Tc, who, if drops { 2 } else { 3 }),
        }
    }

    fn place(self, network: &Network, priority: i32) -> Info {
        match self {
            Self::Xdp => xdp(&network.far.path(), INTERFACE, priority, &[]),
            Self::Tc => tc(&network.far.path(), INTERFACE, "ingress", priority, &[]),
        }
    }
}

fn kill_first_attach(chain: Chain, config: &str) {
    let launch = Launch { config: config.to_owned(), ..Launch::default() };
    let (mut daemon, network) = (Daemon::start_with(&launch), Network::new());
    let traffic = Traffic::new(&network);
    let program = chain.member(&daemon.wire(), 1, true);
    let first = Attach { program: program.id, info: chain.place(&network, 50) };
    kill_at_every_step(&mut daemon, &launch, &first, |_, happened| {
        assert_eq!(traffic.send(1), usize::from(!happened), "a program that drops runs if it is recorded");
    });
}

#[test]
fn the_first_xdp_attach_killed_at_any_step_attaches_or_does_not() {
    kill_first_attach(Chain::Xdp, "");
}

#[test]
fn the_first_tc_attach_killed_at_any_step_attaches_or_does_not() {
    kill_first_attach(Chain::Tc, "");
}

#[test]
fn first_clsact_attach_killed_at_any_step_is_atomic() {
    kill_first_attach(Chain::Tc, "tc.attach = \"clsact\"");
}

fn kill_second_attach(chain: Chain, config: &str) {
    let launch = Launch { config: config.to_owned(), ..Launch::default() };
    let (mut daemon, network) = (Daemon::start_with(&launch), Network::new());
    let traffic = Traffic::new(&network);
    let wire = daemon.wire();
    let dropping = chain.member(&wire, 1, true);
    wire.attach(attach(dropping.id, chain.place(&network, 50))).unwrap();
    let second = chain.member(&wire, 2, false);
    let stream = traffic.stream();
    let operation = Attach { program: second.id, info: chain.place(&network, 10) };
    kill_at_every_step(&mut daemon, &launch, &operation, |_, happened| {
        let before = (dropping.hits(), second.hits());
        assert_eq!(traffic.send(3), 0);
        assert!(dropping.hits() >= before.0 + 3);
        assert_eq!(second.hits() > before.1, happened, "the member runs exactly if it is recorded");
    });
    assert!(stream.end() > 0);
    assert_eq!(traffic.received(), 0, "a datagram passed a chain that drops");
}

#[test]
fn a_second_xdp_attach_killed_at_any_step_never_opens_the_chain() {
    kill_second_attach(Chain::Xdp, "");
}

#[test]
fn a_second_tc_attach_killed_at_any_step_never_opens_the_chain() {
    kill_second_attach(Chain::Tc, "");
}

#[test]
fn second_clsact_attach_killed_at_any_step_keeps_chain_closed() {
    kill_second_attach(Chain::Tc, "tc.attach = \"clsact\"");
}

struct Remove<'a> {
    network: &'a Network,
    chain: Chain,
    unload: bool,
}

impl Remove<'_> {
    fn leaving(state: &State) -> &serde_json::Value {
        state.links.iter().find(|link| link["attach"]["priority"] == 10).expect("it is attached")
    }
}

/// A detach or an unload cannot be reversed exactly: every step starts from a new state.
fn kill_removal(removal: &Remove<'_>) {
    let launch = Launch::default();
    let traffic = Traffic::new(removal.network);
    let mut daemon = Daemon::start();
    let dropping = removal.chain.member(&daemon.wire(), 1, true);
    daemon.wire().attach(attach(dropping.id, removal.chain.place(removal.network, 50))).unwrap();
    let alone = daemon.state();
    let list = daemon.path("steps");
    let stream = traffic.stream();
    let (mut number, mut steps) = (0, 0);
    // In the round with number 0, the daemon is not killed: the operation's steps are counted.
    loop {
        let wire = daemon.wire();
        let leaving = removal.chain.member(&wire, 2, false);
        let loaded = daemon.state();
        wire.attach(attach(leaving.id, removal.chain.place(removal.network, 10))).unwrap();
        let both = daemon.state();
        let target = Remove::leaving(&both)["link_id"].as_u64().unwrap();
        let link_id = u32::try_from(target).unwrap();
        daemon.terminate();
        let act = |wire: &Wire| {
            if removal.unload {
                wire.unload(v1::UnloadRequest { id: leaving.id }).map(drop)
            } else {
                wire.detach(v1::DetachRequest { link_id }).map(drop)
            }
        };
        let done = if removal.unload { &alone } else { &loaded };
        if number == 0 {
            daemon.again(&with(&launch, "BPFMAN_TEST_STEPS", &list.display().to_string()));
            act(&daemon.wire()).unwrap();
            steps = std::fs::read_to_string(&list).unwrap().lines().count();
        } else {
            daemon.again(&with(&launch, "BPFMAN_TEST_KILL_AT", &number.to_string()));
            act(&daemon.wire()).expect_err("it is killed");
            daemon.ended();
            daemon.again(&launch);
            let found = daemon.state();
            assert!(found == both || found == *done, "killed before step {number}: {found:#?}");
            assert_eq!(traffic.send(1), 0);
            if found == both {
                act(&daemon.wire()).unwrap();
            }
        }
        assert_eq!(daemon.state(), *done);
        if !removal.unload {
            unload(&daemon.wire(), leaving.id);
        }
        assert_eq!(daemon.state(), alone);
        number += 1;
        if number > steps {
            break;
        }
    }
    assert!(steps > 1);
    assert!(stream.end() > 0);
    assert_eq!(traffic.received(), 0, "a datagram passed a chain that drops");
}

#[test]
fn a_detach_killed_at_any_step_detaches_or_does_not() {
    for chain in [Chain::Xdp, Chain::Tc] {
        kill_removal(&Remove { network: &Network::new(), chain, unload: false });
    }
}

#[test]
fn an_unload_killed_at_any_step_unloads_or_does_not() {
    for chain in [Chain::Xdp, Chain::Tc] {
        kill_removal(&Remove { network: &Network::new(), chain, unload: true });
    }
}
