//! The machine's tcx programs run before the tc chain, whichever was attached first. Tenants' run after it at ingress
//! and before it at egress, so that they cannot accept a packet that the machine drops.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, tc, tcx};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::equipment::{Program, detach, test_name};
use crate::kill::{Attach, kill_at_every_step};

const TC: u64 = 9;

struct Bench {
    daemon: Daemon,
    network: Network,
    direction: &'static str,
    tc: Program,
    tcx: [Program; 2],
}

impl Bench {
    fn new(direction: &'static str) -> Self {
        let (daemon, network) = (Daemon::start(), Network::new());
        let wire = daemon.wire();
        // A chain with a final verdict, after which no program in the list runs.
        let tc = Program::member(&wire, "tc_member", Type::Tc, 9, 0);
        let tcx = [1, 2].map(|who| Program::member(&wire, "tcx_member", Type::Tcx, who, -1));
        Self { daemon, network, direction, tc, tcx }
    }

    fn netns(&self) -> std::path::PathBuf {
        if self.direction == "ingress" { self.network.far.path() } else { self.network.near.path() }
    }

    fn attach_tc(&self, wire: &Wire) -> u32 {
        let place = tc(&self.netns(), INTERFACE, self.direction, 55, &[]);
        wire.attach(attach(self.tc.id, place)).unwrap().link_id
    }

    fn attach_tcx(&self, wire: &Wire, which: usize, priority: i32) -> u32 {
        let place = tcx(&self.netns(), INTERFACE, self.direction, priority);
        wire.attach(attach(self.tcx[which].id, place)).unwrap().link_id
    }

    fn assert_runs(&self, traffic: &Traffic, expected: &[u64]) {
        let hits = |who: u64| {
            if who == TC { self.tc.hits() } else { self.tcx[usize::try_from(who).unwrap() - 1].hits() }
        };
        let before: Vec<u64> = expected.iter().map(|who| hits(*who)).collect();
        self.tc.trail();
        assert_eq!(traffic.send(2), 2);
        assert_eq!(self.tc.trail(), expected.repeat(2));
        let counted: Vec<u64> =
            expected.iter().zip(before).map(|(who, before)| hits(*who) - before).collect();
        assert!(counted.iter().all(|count| *count == 2), "{counted:?}");
    }
}

fn tcx_runs_before_tc(direction: &'static str) {
    if lacks_tcx(&test_name()) {
        return;
    }
    let mut bench = Bench::new(direction);
    let traffic = Traffic::new(&bench.network);
    let wire = bench.daemon.wire();
    let chain = bench.attach_tc(&wire);
    bench.assert_runs(&traffic, &[TC]);
    let late = bench.attach_tcx(&wire, 0, 500);
    bench.assert_runs(&traffic, &[1, TC]);
    bench.attach_tcx(&wire, 1, 100);
    bench.assert_runs(&traffic, &[2, 1, TC]);
    detach(&wire, chain);
    bench.assert_runs(&traffic, &[2, 1]);
    bench.attach_tc(&wire);
    bench.assert_runs(&traffic, &[2, 1, TC]);
    let changed = bench.daemon.bpfman(&format!("update link {late} --priority 1 -q"));
    assert_eq!(changed.code, 0, "{changed:?}");
    bench.assert_runs(&traffic, &[1, 2, TC]);
    bench.daemon.kill();
    bench.daemon.again(&Launch::default());
    bench.assert_runs(&traffic, &[1, 2, TC]);
    bench.daemon.terminate();
    bpfman_tests::command::run(&["rm", "-r", &bench.daemon.fs().join("links").display().to_string()]);
    let pins = bench.daemon.fs().join(format!("tc-{direction}"));
    bpfman_tests::command::run(&["rm", "-r", &pins.display().to_string()]);
    bench.daemon.again(&Launch::default());
    bench.assert_runs(&traffic, &[1, 2, TC]);
    let doctor = bench.daemon.bpfman("doctor");
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[test]
fn tcx_programs_run_before_the_tc_chain_on_the_way_in() {
    tcx_runs_before_tc("ingress");
}

#[test]
fn tcx_programs_run_before_the_tc_chain_on_the_way_out() {
    tcx_runs_before_tc("egress");
}

fn tenant(wire: &Wire, name: &str, kind: Type, verdict: i32) -> Program {
    let mut request = load(&compile::object("chain"), &[(name, kind)]);
    request.global_data.insert("who".to_owned(), 5_u32.to_ne_bytes().to_vec());
    request.global_data.insert("verdict".to_owned(), verdict.to_ne_bytes().to_vec());
    for (key, value) in [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "filter")] {
        request.metadata.insert(key.to_owned(), value.to_owned());
    }
    Program::of(&wire.load(request).unwrap().programs[0])
}

fn sent(traffic: &Traffic, programs: &[&Program]) -> (usize, Vec<u64>) {
    let before: Vec<u64> = programs.iter().map(|program| program.hits()).collect();
    let arrived = traffic.send(2);
    let hits = programs.iter().zip(before).map(|(program, before)| program.hits() - before);
    (arrived, hits.collect())
}

fn tcx_of_a_namespace_accepts_nothing_past_the_machine(direction: &str) {
    if lacks_tcx(&test_name()) {
        return;
    }
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let wire = daemon.wire();
    let netns = if direction == "ingress" { network.far.path() } else { network.near.path() };
    let [dropping, counting] =
        [(9, 2), (8, 3)].map(|(who, verdict)| Program::member(&wire, "tc_member", Type::Tc, who, verdict));
    // The kernel's tcx verdicts: pass, which ends the list, and drop.
    let [passing, refusing] = [0, 2].map(|verdict| tenant(&wire, "tcx_member", Type::Tcx, verdict));
    let place = || tc(&netns, INTERFACE, direction, 900, &[]);
    // At egress a tenant's program is the first to see a packet.
    let sees = if direction == "ingress" { 0 } else { 2 };
    let attach_tenant =
        |program: &Program| wire.attach(attach(program.id, tcx(&netns, INTERFACE, direction, 0))).unwrap();
    attach_tenant(&passing);
    assert_eq!(sent(&traffic, &[&dropping, &passing]), (2, vec![0, 2]));
    let firewall = wire.attach(attach(dropping.id, place())).unwrap().link_id;
    assert_eq!(sent(&traffic, &[&dropping, &passing]), (0, vec![2, sees]));
    daemon.kill();
    daemon.again(&Launch::default());
    let wire = daemon.wire();
    assert_eq!(sent(&traffic, &[&dropping, &passing]), (0, vec![2, sees]));
    detach(&wire, firewall);
    assert_eq!(sent(&traffic, &[&dropping, &passing]), (2, vec![0, 2]));
    // The tenant may drop packets that the machine passes on; its "pass" means "next".
    let proceeding = tc(&netns, INTERFACE, direction, 900, &[3]);
    wire.attach(attach(counting.id, proceeding)).unwrap();
    assert_eq!(sent(&traffic, &[&counting, &passing]), (2, vec![2, 2]));
    wire.attach(attach(refusing.id, tcx(&netns, INTERFACE, direction, 0))).unwrap();
    assert_eq!(sent(&traffic, &[&counting, &passing, &refusing]), (0, vec![2 - sees, 2, 2]));
    let doctor = daemon.bpfman("doctor");
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

#[test]
fn tcx_of_a_namespace_accepts_nothing_on_the_way_in() {
    tcx_of_a_namespace_accepts_nothing_past_the_machine("ingress");
}

#[test]
fn tcx_of_a_namespace_accepts_nothing_on_the_way_out() {
    tcx_of_a_namespace_accepts_nothing_past_the_machine("egress");
}

#[test]
fn tcx_of_a_namespace_is_refused_where_filters_enter_the_chain() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let config = "[tc]\nattach = \"clsact\"\n".to_owned();
    let (daemon, network) = (Daemon::start_with(&Launch { config, ..Launch::default() }), Network::new());
    let (traffic, wire) = (Traffic::new(&network), daemon.wire());
    let dropping = Program::member(&wire, "tc_member", Type::Tc, 9, 2);
    wire.attach(attach(dropping.id, tc(&network.far.path(), INTERFACE, "ingress", 900, &[]))).unwrap();
    let passing = tenant(&wire, "tcx_member", Type::Tcx, 0);
    let before = daemon.state();
    let far = network.far.path().display().to_string();
    let refused =
        daemon.bpfman(&format!("attach {} tcx -d ingress -i {INTERFACE} -p 1 -n {far}", passing.id));
    refused.fails(6, &["load it as type tc"]);
    assert_eq!(daemon.state(), before);
    assert_eq!(sent(&traffic, &[&dropping, &passing]), (0, vec![2, 0]));
}

#[test]
fn tcx_attach_killed_at_any_step_keeps_the_tc_chain_closed() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let launch = Launch::default();
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let wire = daemon.wire();
    let dropping = Program::member(&wire, "tc_member", Type::Tc, 9, 2);
    wire.attach(attach(dropping.id, tc(&network.far.path(), INTERFACE, "ingress", 50, &[]))).unwrap();
    let before = Program::member(&wire, "tcx_member", Type::Tcx, 1, -1);
    let stream = traffic.stream();
    let info = tcx(&network.far.path(), INTERFACE, "ingress", 500);
    kill_at_every_step(&mut daemon, &launch, &Attach { program: before.id, info }, |_, happened| {
        let hits = before.hits();
        assert_eq!(traffic.send(3), 0);
        assert_eq!(before.hits() > hits, happened, "it runs before the chain exactly if it is recorded");
    });
    assert!(stream.end() > 0);
    assert_eq!(traffic.received(), 0, "a datagram passed a chain that drops");
}
