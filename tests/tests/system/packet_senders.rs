//! Packets that tenants' programs send: none leaves past the machine's programs.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, tc, tcx, xdp};
use bpfman_tests::skip::{has_tcx, lacks, lacks_tcx};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Launch, Network, Wire, compile};

use crate::equipment::{Program, detach, test_name};
use crate::packet_ranks::{Bench, CLSACT, Kind, TC, TCX, XDP, of_tenant, sent, tenant};

pub struct Aside {
    pub target: i32,
    seen: Program,
}

impl Aside {
    const NAME: &str = "veth1";

    pub fn new(network: &Network, wire: &Wire) -> Self {
        let far = network.far.path();
        let far_name = far.file_name().unwrap().to_str().unwrap();
        let add = ["link", "add", Self::NAME, "type", "veth", "peer", "name", Self::NAME, "netns", far_name];
        network.near.ip(&add);
        for end in [&network.near, &network.far] {
            end.ip(&["link", "set", Self::NAME, "up"]);
        }
        network.near.await_up(Self::NAME);
        let shown = network.near.ip(&["-o", "link", "show", "dev", Self::NAME]);
        let target = shown.split(':').next().unwrap().trim().parse().unwrap();
        let seen = Program::member(wire, XDP.member, XDP.program_type, 7, XDP.accept);
        wire.attach(attach(seen.id, xdp(&far, Self::NAME, 50, &[]))).unwrap();
        Self { target, seen }
    }

    pub fn came(&self, traffic: &Traffic) -> u64 {
        let before = self.seen.hits();
        let _ = traffic.send(2);
        // Packets on the other link were queued before a second marker is.
        let _ = traffic.send(0);
        self.seen.hits() - before
    }
}

/// A verdict that sends a packet to another interface would bypass the machine's programs of this interface.
#[test]
fn a_tenant_redirects_nothing_past_the_machine() {
    for config in ["", CLSACT] {
        let bench = Bench::new("egress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let aside = Aside::new(&bench.network, &wire);
        let counting = Program::member(&wire, "tc_member", Type::Tc, 9, 0);
        let redirecting = tenant(&wire, "ranks", "tc_redirect", Type::Tc, &[("target", aside.target)]);
        bench.attach(&wire, TC, &counting);
        bench.attach(&wire, TC, &redirecting);
        assert_eq!(sent(&traffic, [&counting, &counting]), (0, [0, 0]), "{config:?}");
        assert_eq!(aside.came(&traffic), 0, "{config:?}");
    }
}

/// The machine's program sends through the other link, so the tests above would see a packet there.
#[test]
fn the_machine_redirects_as_before() {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let aside = Aside::new(&bench.network, &wire);
    let mut request = load(&compile::object("ranks"), &[("tc_redirect", Type::Tc)]);
    request.global_data.insert("target".to_owned(), number(aside.target));
    let redirecting = Program::of(&wire.load(request).unwrap().programs[0]);
    bench.attach(&wire, TC, &redirecting);
    assert_eq!(aside.came(&traffic), 2);
}

/// A copy that leaves by another interface has not passed the machine's programs here, which may drop it.
#[test]
fn copies_of_a_tenant_leave_past_no_wall() {
    for config in ["", CLSACT] {
        let mut bench = Bench::new("egress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let aside = Aside::new(&bench.network, &wire);
        let wall = Program::member(&wire, TC.member, TC.program_type, 9, TC.drop);
        let copying = tenant(&wire, "ranks", "tc_clone_away", Type::Tc, &[("target", aside.target)]);
        let tenants = bench.attach(&wire, TC, &copying);
        assert_eq!(aside.came(&traffic), 2, "{config:?}, the tenant's alone");
        let walls = bench.attach(&wire, TC, &wall);
        assert_eq!(aside.came(&traffic), 0, "{config:?}, the machine's later");
        detach(&wire, tenants);
        bench.attach(&wire, TC, &copying);
        assert_eq!(aside.came(&traffic), 0, "{config:?}, the machine's first");
        bench.daemon.kill();
        bench.daemon.again(&Launch { config: config.to_owned(), ..Launch::default() });
        assert_eq!(aside.came(&traffic), 0, "{config:?}, after a restart");
        let doctor = bench.daemon.bpfman("doctor");
        assert_eq!(doctor.code, 0, "{config:?}: {doctor:?}");
        let wire = bench.daemon.wire();
        detach(&wire, walls);
        assert_eq!(aside.came(&traffic), 2, "{config:?}, the machine's gone");
        // An egress program at any interface of the namespace counts: a device may send through another one.
        let other = wire.attach(attach(wall.id, tc(&bench.network.near.path(), "lo", "egress", 50, &[])));
        other.unwrap();
        assert_eq!(aside.came(&traffic), 0, "{config:?}, at another interface");
    }
}

#[test]
fn a_tcx_program_that_sends_copies_is_refused_on_the_way_out() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let aside = Aside::new(&bench.network, &wire);
    let copying = tenant(&wire, "ranks", "tcx_clone_away", Type::Tcx, &[("target", aside.target)]);
    let near = bench.network.near.path().display().to_string();
    let line = format!("attach {} tcx -d egress -i {INTERFACE} -p 1 -n {near}", copying.id);
    bench.daemon.bpfman(&line).fails(6, &["bpf_clone_redirect", "load it as type tc"]);
    assert_eq!(aside.came(&traffic), 0);
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

pub struct Returns {
    pub bench: Bench,
    traffic: Traffic,
    back: Program,
}

impl Returns {
    pub fn new(config: &str) -> Self {
        let bench = Bench::new("ingress", config);
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let back = Program::member(&wire, "xdp_member", Type::Xdp, 7, XDP.accept);
        wire.attach(attach(back.id, xdp(&bench.network.near.path(), INTERFACE, 50, &[]))).unwrap();
        Self { bench, traffic, back }
    }

    pub fn guard(&self, wire: &Wire, kind: Kind, interface: &str) -> (Program, u32) {
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

    /// Asserts that a tenant's XDP program is refused for this link of the machine, and that nothing has changed.
    fn refuse_xdp(&self, program: &Program, wall: u32) {
        let before = self.bench.daemon.state();
        let far = self.bench.network.far.path().display().to_string();
        let line = format!("attach {} xdp -i {INTERFACE} -p 50 -n {far}", program.id);
        let says = [&*format!("the machine has link {wall} on egress"), &*format!("bpfman get link {wall}")];
        self.bench.daemon.bpfman(&line).fails(6, &says);
        assert_eq!(self.bench.daemon.state(), before);
    }

    pub fn returned(&self) -> u64 {
        let before = self.back.hits();
        let _ = self.traffic.send(2);
        // Returned packets were queued before a second marker is.
        let _ = self.traffic.send(0);
        self.back.hits() - before
    }
}

/// Packets that XDP sends pass no egress program: a tenant's are dropped if the machine has an egress program.
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
            returns.refuse_xdp(&program, wall);
            assert_eq!(returns.returned(), 0, "{case}, the machine's first");
            detach(&wire, wall);
            let sends = returns.bench.attach(&wire, XDP, &program);
            assert_eq!(returns.returned(), 2, "{case}, the machine's gone");
            // Neither the target of a redirect nor the lower interface of a stacked device is known in advance.
            let (_, other) = returns.guard(&wire, kind, "lo");
            assert_eq!(returns.returned(), 0, "{case}, at another interface");
            detach(&wire, other);
            // Packets that XDP sends have not passed the machine's ingress programs.
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

/// An extension of a tenant's program prevents that its chain is built; the program still sends nothing.
#[test]
fn a_chain_that_cannot_be_built_sends_nothing() {
    if lacks("freplace", "sample_fentry", &test_name()) {
        return;
    }
    let mut returns = Returns::new("");
    let wire = returns.bench.daemon.wire();
    let answers = tenant(&wire, "ranks", "xdp_answer", Type::Xdp, &[]);
    let sends = returns.bench.attach(&wire, XDP, &answers);
    let claim = "-m bpfman.io/ProgramNamespace=shop -m bpfman.io/ProgramName=filter";
    let object = compile::object("ranks").display().to_string();
    let line = format!("load file -p {object} --programs freplace:same_answer:{} {claim} -q", answers.id);
    let extension = returns.bench.daemon.bpfman(&line).success();
    let line = format!("attach {} freplace -o json", extension.trim());
    let extends = returns.bench.daemon.bpfman(&line).json()["link_id"].clone();
    assert_eq!(returns.returned(), 2);
    let wall = Program::member(&wire, TC.member, TC.program_type, 9, TC.drop);
    let far = returns.bench.network.far.path().display().to_string();
    let line = format!("attach {} tc -d egress -i {INTERFACE} -p 50 -n {far} -o json", wall.id);
    let attached = returns.bench.daemon.bpfman(&line);
    assert!(
        attached.stderr.contains("warning: xdp:") && attached.stderr.contains("left out"),
        "{attached:?}"
    );
    let walls = attached.json()["link_id"].as_u64().unwrap() as u32;
    assert_eq!(returns.returned(), 0, "the machine's later");
    let doctor = returns.bench.daemon.bpfman("doctor");
    let says = format!("link {sends}");
    assert!(doctor.stdout.contains(&says) && doctor.stdout.contains("could send packets past"), "{doctor:?}");
    assert_eq!(doctor.code, 7);
    returns.bench.daemon.kill();
    returns.bench.daemon.again(&Launch::default());
    assert_eq!(returns.returned(), 0, "after a restart");
    returns.bench.daemon.bpfman(&format!("detach {extends}")).success();
    assert_eq!(returns.returned(), 0, "its chain drops them");
    assert_eq!(returns.bench.daemon.bpfman("doctor").code, 0);
    detach(&returns.bench.daemon.wire(), walls);
    assert_eq!(returns.returned(), 2, "the machine's gone");
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

/// Constant verdicts and targets of redirects are known before the program runs.
#[test]
fn xdp_of_a_tenant_that_sends_nothing_is_attached() {
    let returns = Returns::new("");
    let wire = returns.bench.daemon.wire();
    let (wall, link) = returns.guard(&wire, TC, INTERFACE);
    for verdict in [XDP.accept, XDP.drop] {
        let harmless = of_tenant(&wire, XDP, verdict);
        let attached = returns.bench.attach(&wire, XDP, &harmless);
        assert_eq!(returns.traffic.send(2), if verdict == XDP.accept { 2 } else { 0 });
        assert_eq!(harmless.hits(), 2);
        detach(&wire, attached);
    }
    assert_eq!(wall.hits(), 0, "nothing was sent back");
    // A verdict that a function returns may be any verdict.
    returns.refuse_xdp(&tenant(&wire, "ranks", "xdp_answer", Type::Xdp, &[]), link);
    // XDP_TX leaves by the interface of the hook. The chain drops it as long as the machine has a program anywhere.
    detach(&wire, link);
    let (_, link) = returns.guard(&wire, TC, "lo");
    let sends = returns.bench.attach(&wire, XDP, &of_tenant(&wire, XDP, 3));
    assert_eq!(returns.returned(), 0);
    detach(&wire, sends);
    returns.refuse_xdp(&tenant(&wire, "ranks", "xdp_redirect", Type::Xdp, &[]), link);
}

/// Tenants' redirects and copies reach no interface at which the machine has a program on egress.
#[test]
fn tc_of_a_tenant_sends_to_no_interface_of_the_machine() {
    let mut kinds = vec![Type::Tc];
    if has_tcx() {
        kinds.push(Type::Tcx);
    }
    for kind in kinds {
        let returns = Returns::new("");
        let (wire, far) = (returns.bench.daemon.wire(), returns.bench.network.far.path());
        let shown = returns.bench.network.far.ip(&["-o", "link", "show", "dev", INTERFACE]);
        let interface: i32 = shown.split(':').next().unwrap().trim().parse().unwrap();
        let place = || match kind {
            Type::Tc => tc(&far, INTERFACE, "ingress", 50, &[]),
            _ => tcx(&far, INTERFACE, "ingress", 50),
        };
        let names = match kind {
            Type::Tc => [("ranks", "tc_redirect"), ("ranks", "tc_clone_away")],
            _ => [("ranks", "tcx_redirect"), ("ranks", "tcx_clone_away")],
        };
        for (object, name) in names {
            // A target of 0 redirects to the packet's own interface, which is not known in advance.
            let [to_loopback, to_interface] =
                [1, interface].map(|target| tenant(&wire, object, name, kind, &[("target", target)]));
            let (wall, link) = returns.guard(&wire, TC, INTERFACE);
            let refused = wire.attach(attach(to_interface.id, place())).unwrap_err();
            assert!(
                refused.message().contains(&format!("the machine has link {link} on egress")),
                "{refused}"
            );
            let sends = wire.attach(attach(to_loopback.id, place())).unwrap().link_id;
            assert_eq!((returns.returned(), wall.hits()), (0, 0), "{name}");
            detach(&wire, sends);
            detach(&wire, link);
            let sends = wire.attach(attach(to_interface.id, place())).unwrap().link_id;
            assert_eq!(returns.returned(), 2, "{name}");
            let (wall, link) = returns.guard(&wire, TC, INTERFACE);
            assert_eq!((returns.returned(), wall.hits()), (0, 2), "{name}, the machine's later");
            detach(&wire, sends);
            detach(&wire, link);
        }
    }
}

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
