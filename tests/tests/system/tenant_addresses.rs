//! Kernel addresses: programs of tenants cannot disclose any.

use std::fs;
use std::os::unix::fs::chown;

use bpfman_proto::v1;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, pairs, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, Wire, compile, kernel};
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, unload};
use crate::grants::daemon;

const CLAIM: [(&str, &str); 2] =
    [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "filter")];

fn tenants(object: &str, name: &str, kind: Type) -> v1::LoadRequest {
    v1::LoadRequest { metadata: pairs(&CLAIM), ..load(&compile::object(object), &[(name, kind)]) }
}

fn member_of_tenant(wire: &Wire, who: i32, verdict: i32) -> Program {
    let mut request = tenants("chain", "xdp_member", Type::Xdp);
    request.global_data =
        [("who", who), ("verdict", verdict)].map(|(name, value)| (name.to_owned(), number(value))).into();
    Program::of(&wire.load(request).unwrap().programs[0])
}

fn of_root(wire: &Wire, name: &str) -> Program {
    Program::of(&wire.load(load(&compile::object("addresses"), &[(name, Type::Xdp)])).unwrap().programs[0])
}

fn kept(program: &Program) -> u64 {
    kernel::array_value(kernel::map_named(&program.maps, "kept"), 0)
}

#[test]
fn tenants_program_that_keeps_addresses_is_not_loaded() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    let mut programs = vec![
        ("xdp_context", Type::Xdp),
        ("xdp_value", Type::Xdp),
        ("xdp_by_helper", Type::Xdp),
        ("xdp_length", Type::Xdp),
        ("tc_context", Type::Tc),
    ];
    if has_tcx() {
        programs.push(("tcx_context", Type::Tcx));
    }
    for (name, kind) in programs {
        let refused = wire.load(tenants("addresses", name, kind)).unwrap_err();
        assert!(refused.message().contains(&format!("program \"{name}\"")), "{refused:?}");
        assert_eq!(daemon.state(), before, "{name}");
        let loaded = wire.load(load(&compile::object("addresses"), &[(name, kind)])).unwrap();
        unload(&wire, Program::of(&loaded.programs[0]).id);
    }
    member_of_tenant(&wire, 1, 2);
}

/// The value that the verifier denies to tenants is a kernel address: root's program stores it in a map.
#[test]
fn address_that_roots_program_keeps_is_one_of_the_kernel() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let program = of_root(&wire, "xdp_context");
    wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 50, &[]))).unwrap();
    assert_eq!(traffic.send(1), 1);
    assert!(kept(&program) > 1 << 63, "{:x}", kept(&program));
}

/// Tests a chain of members of tenants and of the machine, one of which requires CAP_PERFMON in the verifier.
#[test]
fn machines_program_that_needs_the_right_joins_tenants() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let place = |priority| xdp(&network.far.path(), INTERFACE, priority, &[2]);
    let [first, second] = [1, 2].map(|who| member_of_tenant(&wire, who, 2));
    for program in [&first, &second] {
        wire.attach(attach(program.id, place(50))).unwrap();
    }
    assert_eq!((traffic.send(2), first.hits(), second.hits()), (2, 2, 2), "tenants' alone");
    let length = of_root(&wire, "xdp_length");
    let link = wire.attach(attach(length.id, place(50))).unwrap().link_id;
    assert_eq!((traffic.send(2), first.hits(), second.hits()), (2, 4, 4), "with the machine's");
    assert!((40..1500).contains(&kept(&length)), "{}", kept(&length));
    // The chain is split: CAP_PERFMON loads the machine's part; the tenants' part has speculation barriers.
    let shown =
        daemon.bpfman(&format!("chain show xdp:{INTERFACE}@{} -o json", network.far.path().display()));
    assert_eq!(shown.json()["strategy"], "cut");
    assert!(!daemon.bpfman("doctor").stdout.contains("no barriers"));
    detach(&wire, link);
    let counting = Program::member(&wire, "xdp_member", Type::Xdp, 3, 2);
    wire.attach(attach(counting.id, place(50))).unwrap();
    assert_eq!((traffic.send(2), first.hits(), counting.hits()), (2, 6, 2), "with another of the machine");
}

/// A grant's `helpers` can name a helper that requires CAP_PERFMON.
#[test]
fn helper_that_needs_the_right_is_refused_unless_granted() {
    const USER: u32 = 64_223;
    let policy = |more: &str| {
        format!(
            "[files]\nusers = [0, {USER}]\n[[grants]]\nname = \"team\"\nusers = [{USER}]\nallow = [\"load\"]\n\
             scope = \"cgroup\"\ntypes = [\"tc\"]\n{more}"
        )
    };
    let daemon = daemon(policy(""));
    let object = daemon.path("addresses.o");
    fs::copy(compile::object("addresses"), &object).unwrap();
    chown(&object, Some(USER), Some(USER)).unwrap();
    let before = daemon.state();
    let answer = daemon.wire().load(tenants("addresses", "tc_tcp_socket", Type::Tc));
    assert_status(answer, Code::PermissionDenied, "denied", &["bpf_skc_to_tcp_sock"]);
    let line = |program: &str| format!("load file -p {} --programs tc:{program}", object.display());
    daemon
        .bpfman_as(USER, &line("tc_tcp_socket"))
        .fails(4, &["is a tenant's", "helpers = [\"bpf_skc_to_tcp_sock\"]"]);
    assert_eq!(daemon.state(), before);
    fs::write(daemon.path("policy.toml"), policy("helpers = [\"bpf_skc_to_tcp_sock\"]\n")).unwrap();
    daemon.bpfman_as(USER, &line("tc_tcp_socket")).success();
    // Programs of the grant that do not call the helper have no additional rights.
    let before = daemon.state();
    let refused = daemon.bpfman_as(USER, &line("tc_context"));
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!(daemon.state(), before);
}
