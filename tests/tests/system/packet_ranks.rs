//! The machine's programs run first at ingress, and last at egress: tenants can only drop packets.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, tc, tcx, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::equipment::{Program, detach};

pub const CLSACT: &str = "[tc]\nattach = \"clsact\"\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub program_type: Type,
    pub member: &'static str,
    pub accept: i32,
    pub drop: i32,
}

pub const XDP: Kind = Kind { program_type: Type::Xdp, member: "xdp_member", accept: 2, drop: 1 };
pub const TC: Kind = Kind { program_type: Type::Tc, member: "tc_member", accept: 0, drop: 2 };
pub const TCX: Kind = Kind { program_type: Type::Tcx, member: "tcx_member", accept: 0, drop: 2 };

pub struct Bench {
    pub daemon: Daemon,
    pub network: Network,
    direction: &'static str,
}

impl Bench {
    pub fn new(direction: &'static str, config: &str) -> Self {
        let launch = Launch { config: config.to_owned(), ..Launch::default() };
        Self { daemon: Daemon::start_with(&launch), network: Network::new(), direction }
    }

    fn place(&self, kind: Kind) -> Info {
        let netns =
            if self.direction == "ingress" { self.network.far.path() } else { self.network.near.path() };
        match kind.program_type {
            Type::Xdp => xdp(&netns, INTERFACE, 50, &[]),
            Type::Tc => tc(&netns, INTERFACE, self.direction, 50, &[]),
            _ => tcx(&netns, INTERFACE, self.direction, 50),
        }
    }

    pub fn attach(&self, wire: &Wire, kind: Kind, program: &Program) -> u32 {
        wire.attach(attach(program.id, self.place(kind))).unwrap().link_id
    }
}

pub fn tenant(wire: &Wire, object: &str, name: &str, kind: Type, data: &[(&str, i32)]) -> Program {
    let mut request = load(&compile::object(object), &[(name, kind)]);
    request.global_data.extend(data.iter().map(|(name, value)| ((*name).to_owned(), number(*value))));
    for (key, value) in [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "filter")] {
        request.metadata.insert(key.to_owned(), value.to_owned());
    }
    Program::of(&wire.load(request).unwrap().programs[0])
}

pub fn of_tenant(wire: &Wire, kind: Kind, verdict: i32) -> Program {
    tenant(wire, "chain", kind.member, kind.program_type, &[("who", 5), ("verdict", verdict)])
}

fn of_machine(wire: &Wire, name: &str, kind: Type) -> Program {
    Program::of(&wire.load(load(&compile::object("ranks"), &[(name, kind)])).unwrap().programs[0])
}

pub fn sent(traffic: &Traffic, programs: [&Program; 2]) -> (usize, [u64; 2]) {
    let before = programs.map(Program::hits);
    let arrived = traffic.send(2);
    (arrived, [programs[0].hits() - before[0], programs[1].hits() - before[1]])
}

fn pairs(direction: &str) -> Vec<(&'static str, Kind, Kind)> {
    let mut pairs = vec![(CLSACT, TC, TC)];
    if direction == "ingress" {
        pairs.extend([("", XDP, XDP), ("", TC, XDP)]);
    }
    if has_tcx() {
        pairs.extend([("", TC, TC), ("", TC, TCX), ("", TCX, TC), ("", TCX, TCX)]);
        match direction {
            "egress" => pairs.extend([(CLSACT, TC, TCX), (CLSACT, TCX, TCX)]),
            _ => pairs.push((CLSACT, TCX, TC)),
        }
    }
    pairs
}

fn machine_decides(direction: &'static str) {
    for (config, machine, other) in pairs(direction) {
        let mut bench = Bench::new(direction, config);
        let case = format!(
            "{direction} {config:?}: {} of the machine, {} of a tenant",
            machine.member, other.member
        );
        let traffic = Traffic::new(&bench.network);
        let wire = bench.daemon.wire();
        let wall = Program::member(&wire, machine.member, machine.program_type, 9, machine.drop);
        let passing = of_tenant(&wire, other, other.accept);
        // At ingress, a tenant's program of an earlier layer sees packets that the machine's program of a later one drops.
        let sees = u64::from(direction == "egress" || machine != other && other == XDP) * 2;
        let tenants = bench.attach(&wire, other, &passing);
        assert_eq!(sent(&traffic, [&wall, &passing]), (2, [0, 2]), "{case}");
        let walls = bench.attach(&wire, machine, &wall);
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, sees]), "{case}, the machine's later");
        detach(&wire, tenants);
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 0]), "{case}, the machine's alone");
        bench.attach(&wire, other, &passing);
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, sees]), "{case}, the machine's first");
        bench.daemon.kill();
        bench.daemon.again(&Launch { config: config.to_owned(), ..Launch::default() });
        let wire = bench.daemon.wire();
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, sees]), "{case}, after a restart");
        detach(&wire, walls);
        assert_eq!(sent(&traffic, [&wall, &passing]), (2, [0, 2]), "{case}, the tenant's alone");
        let doctor = bench.daemon.bpfman("doctor");
        assert_eq!(doctor.code, 0, "{case}: {doctor:?}");
    }
}

#[test]
fn the_machine_decides_over_what_comes_in() {
    machine_decides("ingress");
}

#[test]
fn the_machine_decides_over_what_leaves() {
    machine_decides("egress");
}

fn tenants_may_drop(direction: &'static str) {
    for (config, machine, other) in pairs(direction) {
        let bench = Bench::new(direction, config);
        let case = format!(
            "{direction} {config:?}: {} of the machine, {} of a tenant",
            machine.member, other.member
        );
        let traffic = Traffic::new(&bench.network);
        let wire = bench.daemon.wire();
        // Verdicts after which the tenant's program runs.
        let go_on = if machine == XDP { 2 } else { -1 };
        let counting = Program::member(&wire, machine.member, machine.program_type, 9, go_on);
        let refusing = of_tenant(&wire, other, other.drop);
        let place = match (machine.program_type, bench.place(machine)) {
            (Type::Tc, Info::TcAttachInfo(info)) => {
                Info::TcAttachInfo(bpfman_proto::v1::TcAttachInfo { proceed_on: vec![-1], ..info })
            }
            (_, place) => place,
        };
        wire.attach(attach(counting.id, place)).unwrap();
        bench.attach(&wire, other, &refusing);
        let is_first = direction == "ingress" && (machine == XDP || other != XDP);
        let seen = if is_first { 2 } else { 0 };
        assert_eq!(sent(&traffic, [&counting, &refusing]), (0, [seen, 2]), "{case}");
    }
}

#[test]
fn a_tenant_may_drop_what_comes_in() {
    tenants_may_drop("ingress");
}

#[test]
fn a_tenant_may_drop_what_leaves() {
    tenants_may_drop("egress");
}

/// The machine's program runs last at egress, so that it judges the packet that leaves.
#[test]
fn the_machine_judges_what_a_tenant_changed() {
    let kinds = |machine: &'static str, other: &'static str| {
        let of = |name: &str| if name.starts_with("tcx") { TCX } else { TC };
        (of(machine), machine, of(other), other)
    };
    let mut cases = vec![(CLSACT, kinds("tc_wall", "tc_change"))];
    if has_tcx() {
        cases.extend([
            ("", kinds("tc_wall", "tc_change")),
            ("", kinds("tc_wall", "tcx_change")),
            ("", kinds("tcx_wall", "tc_change")),
            ("", kinds("tcx_wall", "tcx_change")),
            (CLSACT, kinds("tc_wall", "tcx_change")),
        ]);
    }
    for (config, (machine, wall, other, change)) in cases {
        let mut bench = Bench::new("egress", config);
        let case = format!("{config:?}: {wall} of the machine, {change} of a tenant");
        let traffic = Traffic::new(&bench.network);
        let wire = bench.daemon.wire();
        let wall = of_machine(&wire, wall, machine.program_type);
        let change = tenant(&wire, "ranks", change, other.program_type, &[]);
        let walls = bench.attach(&wire, machine, &wall);
        assert_eq!(traffic.send(2), 2, "{case}");
        bench.attach(&wire, other, &change);
        assert_eq!(traffic.send(2), 0, "{case}, the machine's first");
        detach(&wire, walls);
        assert_eq!(traffic.send(2), 2, "{case}");
        bench.attach(&wire, machine, &wall);
        assert_eq!(traffic.send(2), 0, "{case}, the machine's later");
        bench.daemon.kill();
        bench.daemon.again(&Launch { config: config.to_owned(), ..Launch::default() });
        assert_eq!(traffic.send(2), 0, "{case}, after a restart");
    }
}

/// Without tenants, the verdicts of the machine's programs are not changed.
#[test]
fn programs_of_the_machine_accept_as_before() {
    for config in ["", CLSACT] {
        let bench = Bench::new("egress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let [first, last] = [(1, 0), (2, 2)]
            .map(|(who, verdict)| Program::member(&wire, "tc_member", Type::Tc, who, verdict));
        let near = bench.network.near.path();
        for (program, priority) in [(&first, 10), (&last, 20)] {
            wire.attach(attach(program.id, tc(&near, INTERFACE, "egress", priority, &[]))).unwrap();
        }
        assert_eq!(sent(&traffic, [&first, &last]), (2, [2, 0]), "{config:?}");
    }
}
