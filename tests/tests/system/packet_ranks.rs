//! Ranks over a packet's whole way: the machine's programs come first on the way in, and last on the way out. A tenant's
//! can drop, and accepts nothing past them.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_proto::v1::attach_info::Info;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, tc, tcx, xdp};
use bpfman_tests::skip::{has_tcx, lacks_tcx};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile};

use crate::equipment::{Program, detach, test_name};

const CLSACT: &str = "[tc]\nattach = \"clsact\"\n";

/// Type of a program, with the verdicts of its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    program_type: Type,
    member: &'static str,
    accept: i32,
    drop: i32,
}

const XDP: Kind = Kind { program_type: Type::Xdp, member: "xdp_member", accept: 2, drop: 1 };
const TC: Kind = Kind { program_type: Type::Tc, member: "tc_member", accept: 0, drop: 2 };
const TCX: Kind = Kind { program_type: Type::Tcx, member: "tcx_member", accept: 0, drop: 2 };

/// One end of a network, at whose interface programs of the machine and of a tenant meet.
struct Bench {
    daemon: Daemon,
    network: Network,
    direction: &'static str,
}

impl Bench {
    fn new(direction: &'static str, config: &str) -> Self {
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

    fn attach(&self, wire: &Wire, kind: Kind, program: &Program) -> u32 {
        wire.attach(attach(program.id, self.place(kind))).unwrap().link_id
    }
}

/// A program of an application of a namespace.
fn tenant(wire: &Wire, object: &str, name: &str, kind: Type, data: &[(&str, i32)]) -> Program {
    let mut request = load(&compile::object(object), &[(name, kind)]);
    request.global_data.extend(data.iter().map(|(name, value)| ((*name).to_owned(), number(*value))));
    for (key, value) in [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "filter")] {
        request.metadata.insert(key.to_owned(), value.to_owned());
    }
    Program::of(&wire.load(request).unwrap().programs[0])
}

fn of_tenant(wire: &Wire, kind: Kind, verdict: i32) -> Program {
    tenant(wire, "chain", kind.member, kind.program_type, &[("who", 5), ("verdict", verdict)])
}

/// A program of the machine, from the object of walls.
fn of_machine(wire: &Wire, name: &str, kind: Type) -> Program {
    Program::of(&wire.load(load(&compile::object("ranks"), &[(name, kind)])).unwrap().programs[0])
}

/// Sends datagrams; returns how many arrived, and how many of them each program saw.
fn sent(traffic: &Traffic, programs: [&Program; 2]) -> (usize, [u64; 2]) {
    let before = programs.map(Program::hits);
    let arrived = traffic.send(2);
    (arrived, [programs[0].hits() - before[0], programs[1].hits() - before[1]])
}

/// All pairs of types that meet at this direction, and how tc is entered.
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

/// The machine's program drops, and the tenant's accepts: nothing arrives, whichever came first.
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
        // On the way in, a tenant's program of an earlier layer sees what the machine's of a later one drops.
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

/// The machine's program accepts, and the tenant's drops: nothing arrives.
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
        // XDP comes before tc.
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

/// Packets leave as the machine's program judged them: it is the last to see them.
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

/// A verdict that sends a packet elsewhere would take it past the machine's programs of this interface.
#[test]
fn a_tenant_redirects_nothing_past_the_machine() {
    for config in ["", CLSACT] {
        let bench = Bench::new("egress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let counting = Program::member(&wire, "tc_member", Type::Tc, 9, 0);
        let redirecting = tenant(&wire, "ranks", "tc_redirect", Type::Tc, &[]);
        bench.attach(&wire, TC, &counting);
        bench.attach(&wire, TC, &redirecting);
        assert_eq!(sent(&traffic, [&counting, &counting]), (0, [0, 0]), "{config:?}");
    }
}

#[test]
fn a_tcx_program_that_redirects_is_refused_on_the_way_out() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let redirecting = tenant(&wire, "ranks", "tcx_redirect", Type::Tcx, &[]);
    let before = bench.daemon.state();
    let near = bench.network.near.path().display().to_string();
    let line = format!("attach {} tcx -d egress -i {INTERFACE} -p 1 -n {near}", redirecting.id);
    bench.daemon.bpfman(&line).fails(6, &["bpf_redirect", "load it as type tc"]);
    assert_eq!(bench.daemon.state(), before);
    assert_eq!(traffic.send(2), 2);
}

/// Packets that leave the far end again, by way of a program on the way in.
struct Returns {
    bench: Bench,
    traffic: Traffic,
    /// Counts what comes back at the near end.
    back: Program,
}

impl Returns {
    fn new(config: &str) -> Self {
        let bench = Bench::new("ingress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let back = Program::member(&wire, "xdp_member", Type::Xdp, 7, XDP.accept);
        wire.attach(attach(back.id, xdp(&bench.network.near.path(), INTERFACE, 50, &[]))).unwrap();
        Self { bench, traffic, back }
    }

    /// Attaches a program of the machine that drops what leaves by an interface of the far end.
    fn guard(&self, wire: &Wire, kind: Kind, interface: &str) -> (Program, u32) {
        self.guard_at(wire, kind, interface, "egress")
    }

    fn guard_at(&self, wire: &Wire, kind: Kind, interface: &str, direction: &str) -> (Program, u32) {
        let wall = Program::member(wire, kind.member, kind.program_type, 9, kind.drop);
        let far = self.bench.network.far.path();
        let place = match kind.program_type {
            Type::Tc => tc(&far, interface, direction, 50, &[]),
            _ => tcx(&far, interface, direction, 50),
        };
        let link = wire.attach(attach(wall.id, place)).unwrap().link_id;
        (wall, link)
    }

    /// Returns how many datagrams came back, of two.
    fn returned(&self) -> u64 {
        let before = self.back.hits();
        let _ = self.traffic.send(2);
        // Returned packets were queued before another marker is.
        let _ = self.traffic.send(0);
        self.back.hits() - before
    }
}

/// Packets that XDP sends meet no program of egress: those of tenants are dropped where the machine has one.
#[test]
fn xdp_of_a_tenant_sends_nothing_past_the_machine() {
    let mut kinds = vec![(CLSACT, TC)];
    if has_tcx() {
        kinds.extend([("", TC), ("", TCX)]);
    }
    for (config, kind) in kinds {
        let mut returns = Returns::new(config);
        let case = format!("{config:?} {}", kind.member);
        let wire = returns.bench.daemon.wire();
        let redirects = tenant(&wire, "ranks", "xdp_redirect", Type::Xdp, &[]);
        for program in [of_tenant(&wire, XDP, 3), redirects] {
            let sends = returns.bench.attach(&wire, XDP, &program);
            assert_eq!(returns.returned(), 2, "{case}");
            let (_, wall) = returns.guard(&wire, kind, INTERFACE);
            assert_eq!(returns.returned(), 0, "{case}, the machine's later");
            detach(&wire, sends);
            let sends = returns.bench.attach(&wire, XDP, &program);
            assert_eq!(returns.returned(), 0, "{case}, the machine's first");
            detach(&wire, wall);
            assert_eq!(returns.returned(), 2, "{case}, the machine's gone");
            // The target of a redirect is not known, nor which interface a device that lies on others sends by.
            let (_, other) = returns.guard(&wire, kind, "lo");
            assert_eq!(returns.returned(), 0, "{case}, at another interface");
            detach(&wire, other);
            // Packets that XDP redirects skip the machine's programs at ingress.
            let (_, wall) = returns.guard_at(&wire, kind, INTERFACE, "ingress");
            assert_eq!(returns.returned(), 0, "{case}, on the way in");
            detach(&wire, wall);
            detach(&wire, sends);
        }
        let sends = of_tenant(&wire, XDP, 3);
        returns.bench.attach(&wire, XDP, &sends);
        let (_, wall) = returns.guard(&wire, kind, INTERFACE);
        returns.bench.daemon.kill();
        returns.bench.daemon.again(&Launch { config: config.to_owned(), ..Launch::default() });
        assert_eq!(returns.returned(), 0, "{case}, after a restart");
        let wire = returns.bench.daemon.wire();
        detach(&wire, wall);
        assert_eq!(returns.returned(), 2, "{case}");
    }
}

#[test]
fn xdp_of_the_machine_sends_as_before() {
    let returns = Returns::new("");
    let wire = returns.bench.daemon.wire();
    returns.guard(&wire, TC, INTERFACE);
    let own = Program::member(&wire, XDP.member, XDP.program_type, 8, 3);
    returns.bench.attach(&wire, XDP, &own);
    assert_eq!(returns.returned(), 2);
}

/// Packets that tc programs send meet the machine's programs of the interface.
#[test]
fn the_machine_judges_what_tc_of_a_tenant_sends() {
    for (object, name) in [("ranks", "tc_redirect"), ("clones", "tc_clones")] {
        let returns = Returns::new("");
        let wire = returns.bench.daemon.wire();
        let sends = tenant(&wire, object, name, Type::Tc, &[]);
        returns.bench.attach(&wire, TC, &sends);
        assert_eq!(returns.returned(), 2, "{name}");
        let (wall, _) = returns.guard(&wire, TC, INTERFACE);
        let before = wall.hits();
        assert_eq!((returns.returned(), wall.hits() - before), (0, 2), "{name}");
    }
}

/// The machine's own programs answer as they like, also where no tenant is.
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
