//! Attacks on the machine's programs by packets: verdicts, tail calls, copies, orders and changes of a tenant.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, tc, xdp};
use bpfman_tests::skip::{has_tcx, lacks_tcx};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Wire, compile};

use crate::equipment::{Program, detach, test_name};
use crate::packet_ranks::{Bench, Kind, TC, TCX, XDP, of_tenant, sent, tenant};
use crate::packet_senders::{Aside, Returns};

fn wall(wire: &Wire, kind: Kind) -> Program {
    Program::member(wire, kind.member, kind.program_type, 9, kind.drop)
}

fn odd_verdicts_pass(machine: Kind, other: Kind) {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = wall(&wire, machine);
    bench.attach(&wire, machine, &wall);
    for verdict in [1, 3, 5, 6, 8, 9, 31, 42, 255, -1, -2, -7, i32::MAX, i32::MIN, 0x1000_0001, 0x2000_0001] {
        let tenants = of_tenant(&wire, other, verdict);
        let link = bench.attach(&wire, other, &tenants);
        let (arrived, [_, ran]) = sent(&traffic, [&wall, &tenants]);
        assert_eq!((arrived, ran), (0, 2), "{verdict} of {}", other.member);
        detach(&wire, link);
    }
    let accepts = of_tenant(&wire, other, other.accept);
    bench.attach(&wire, other, &accepts);
    assert_eq!(sent(&traffic, [&wall, &accepts]), (0, [2, 2]));
}

#[test]
fn unknown_verdicts_of_tc_pass_the_machines_program() {
    odd_verdicts_pass(TC, TC);
    if has_tcx() {
        odd_verdicts_pass(TCX, TC);
    }
}

#[test]
fn unknown_verdicts_of_tcx_pass_the_machines_program() {
    if !lacks_tcx(&test_name()) {
        odd_verdicts_pass(TC, TCX);
        odd_verdicts_pass(TCX, TCX);
    }
}

fn of_shop(wire: &Wire, programs: &[(&str, Type)]) -> Program {
    let mut request = load(&compile::object("hostile"), programs);
    for (key, value) in [("bpfman.io/ProgramNamespace", "shop"), ("bpfman.io/ProgramName", "filter")] {
        request.metadata.insert(key.to_owned(), value.to_owned());
    }
    Program::of(&wire.load(request).unwrap().programs[0])
}

#[test]
fn tail_call_of_tc_leaves_the_chain_before_the_machine() {
    for machine_first in [true, false] {
        let bench = Bench::new("egress", "");
        let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
        let wall = wall(&wire, TC);
        let jumps = of_shop(&wire, &[("tc_jumps", Type::Tc), ("tc_lands", Type::Tc)]);
        let at = || attach(jumps.id, tc(&bench.network.near.path(), INTERFACE, "egress", 1, &[]));
        if !machine_first {
            wire.attach(at()).unwrap();
            assert_eq!(traffic.send(2), 2, "the tail call accepts");
        }
        bench.attach(&wire, TC, &wall);
        let attached = machine_first.then(|| wire.attach(at()));
        assert_eq!(traffic.send(2), 0, "{machine_first}: {attached:?}");
    }
}

#[test]
fn tail_call_of_tcx_ends_the_list_before_the_machine() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = wall(&wire, TCX);
    bench.attach(&wire, TCX, &wall);
    let jumps = of_shop(&wire, &[("tcx_jumps", Type::Tcx), ("tcx_lands", Type::Tcx)]);
    let near = bench.network.near.path();
    let at = bpfman_tests::requests::tcx(&near, INTERFACE, "egress", 1);
    let attached = wire.attach(attach(jumps.id, at));
    assert_eq!(sent(&traffic, [&wall, &wall]), (0, [2, 2]), "{attached:?}");
}

#[test]
fn copy_leaves_by_a_call_in_a_function() {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let aside = Aside::new(&bench.network, &wire);
    let copies = [("target", aside.target)];
    let copying = tenant(&wire, "hostile", "tc_clone_in_a_function", Type::Tc, &copies);
    bench.attach(&wire, TC, &copying);
    assert_eq!(aside.came(&traffic), 2, "the tenant's alone");
    bench.attach(&wire, TC, &wall(&wire, TC));
    assert_eq!(aside.came(&traffic), 0);
    assert_eq!(traffic.send(2), 0);
}

#[test]
fn empty_map_of_devices_answers_that_the_packet_be_sent() {
    let returns = Returns::new("");
    let wire = returns.bench.daemon.wire();
    let sends = tenant(&wire, "hostile", "xdp_sends_by_an_empty_map", Type::Xdp, &[]);
    returns.bench.attach(&wire, XDP, &sends);
    assert_eq!(returns.returned(), 2, "the tenant's alone");
    returns.guard(&wire, TC, INTERFACE);
    assert_eq!(returns.returned(), 0);
}

#[test]
fn lowest_priority_and_first_position_come_before_the_machine() {
    let bench = Bench::new("ingress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let (wall, passing) = (wall(&wire, XDP), of_tenant(&wire, XDP, XDP.accept));
    let far = bench.network.far.path();
    wire.attach(attach(wall.id, xdp(&far, INTERFACE, 1000, &[]))).unwrap();
    for priority in [i32::MIN, -1, 0] {
        let Ok(made) = wire.attach(attach(passing.id, xdp(&far, INTERFACE, priority, &[]))) else { continue };
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 0]), "{priority}");
        for update in [
            ext::UpdateLinkRequest { position: Some(0), ..Default::default() },
            ext::UpdateLinkRequest { priority: Some(i32::MIN), ..Default::default() },
            ext::UpdateLinkRequest {
                order: Some(ext::Order { before: vec!["xdp_member".to_owned()], ..Default::default() }),
                ..Default::default()
            },
            ext::UpdateLinkRequest {
                order: Some(ext::Order { role: "firewall".to_owned(), ..Default::default() }),
                ..Default::default()
            },
        ] {
            let updated = wire.update_link(ext::UpdateLinkRequest { link_id: made.link_id, ..update });
            assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 0]), "{priority}: {updated:?}");
        }
        detach(&wire, made.link_id);
    }
}

#[test]
fn attachment_by_selector_comes_before_the_machines() {
    let bench = Bench::new("ingress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let (wall, passing) = (wall(&wire, XDP), of_tenant(&wire, XDP, XDP.accept));
    let far = bench.network.far.path();
    for (program, priority) in [(&passing, 0), (&wall, 900)] {
        let request = ext::AttachMatchingRequest {
            program_id: program.id,
            attach: attach(program.id, xdp(&far, INTERFACE, priority, &[])).attach,
            r#match: Some(ext::InterfaceMatch {
                names: vec!["veth*".to_owned(), INTERFACE.to_owned()],
                netns: vec![far.display().to_string()],
                ..Default::default()
            }),
            ..Default::default()
        };
        let made = wire.attach_matching(request).unwrap();
        bpfman_tests::wait::until("both are attached", || {
            let links = wire.list_links(ext::ListLinksRequest::default()).unwrap().links;
            links.iter().any(|link| link.program_id == program.id && made.id > 0)
        });
    }
    assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 0]));
}

/// The chain is compiled again for a new version, and must restrict its verdicts like the old one's.
#[test]
fn new_version_of_tcx_accepts_past_the_machine() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = wall(&wire, TCX);
    bench.attach(&wire, TCX, &wall);
    let passing = of_tenant(&wire, TCX, TCX.accept);
    bench.attach(&wire, TCX, &passing);
    assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 2]));
    let object = compile::object("chain").display().to_string();
    let line = format!("replace {} file -p {object} -g verdict=+0 -o json", passing.id);
    let new = bench.daemon.bpfman(&line).json()["program"]["program_id"].clone();
    assert_eq!(sent(&traffic, [&wall, &wall]), (0, [2, 2]), "the new version");
    bench.daemon.bpfman(&format!("replace {new} --rollback")).success();
    assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 2]), "the old version again");
}

#[test]
fn flags_and_sets_of_a_member_end_the_chain_for_the_machine() {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = wall(&wire, TC);
    bench.attach(&wire, TC, &wall);
    let passing = of_tenant(&wire, TC, TC.accept);
    let near = bench.network.near.path();
    for (isolated, redirect_may_proceed, shadow, proceed_on) in [
        (true, false, false, &[][..]),
        (false, true, false, &[7]),
        (false, false, true, &[]),
        (true, true, true, &[-1]),
        (false, false, false, &[2, 4]),
        (true, false, false, &[-1, 1, 2, 3, 4, 5, 6, 7, 8]),
    ] {
        let request = ext::ChainAttachRequest {
            program_id: passing.id,
            attach: attach(passing.id, tc(&near, INTERFACE, "egress", 1, proceed_on)).attach,
            isolated,
            redirect_may_proceed,
            shadow,
            ..Default::default()
        };
        let case = format!("isolated {isolated}, shadow {shadow}, proceeds on {proceed_on:?}");
        let Ok(link) = wire.attach_by_chains(request) else { continue };
        assert_eq!(sent(&traffic, [&wall, &passing]), (0, [2, 2]), "{case}");
        detach(&wire, link.id);
    }
    assert_eq!(passing.hits(), 12, "each of them was attached");
}

#[test]
fn member_that_comes_and_goes_lets_packets_past_the_machine() {
    let bench = Bench::new("egress", "");
    let (traffic, wire) = (Traffic::new(&bench.network), bench.daemon.wire());
    let wall = wall(&wire, TC);
    bench.attach(&wire, TC, &wall);
    let kinds = if has_tcx() { vec![TC, TCX] } else { vec![TC] };
    let passing: Vec<_> = kinds.into_iter().map(|kind| (kind, of_tenant(&wire, kind, kind.accept))).collect();
    let stream = traffic.stream();
    for _ in 0..10 {
        for (kind, program) in &passing {
            let link = bench.attach(&wire, *kind, program);
            detach(&wire, link);
        }
    }
    assert!(stream.end() > 0 && wall.hits() > 0);
    assert_eq!(traffic.received(), 0);
}
