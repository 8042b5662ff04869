//! Several programs on one TC hook, under real traffic.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, tcx};
use bpfman_tests::skip::{has_tcx, lacks_tcx};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network};
use tonic::Code;

use crate::chains::{TC_PIPE, TC_SHOT, TC_STOLEN, TCX_NEXT, put, tc_daemons, tc_program};
use crate::equipment::{Program, detach, link, test_name, unload};

const TC_OK: i32 = 0;
const TC_RECLASSIFY: i32 = 1;
const TC_QUEUED: i32 = 5;
const TC_TRAP: i32 = 8;

#[test]
fn tc_proceeds_on_pipe_unless_told_otherwise() {
    for launch in tc_daemons() {
        let (daemon, network) = (Daemon::start_with(&launch), Network::new());
        let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
        let last = tc_program(&wire, 9, TC_PIPE);
        put(&wire, &last, tc(&network.far.path(), INTERFACE, "ingress", 900, &[]));
        for (verdict, proceed_on, next_runs, arrives) in [
            (TC_PIPE, &[][..], true, true),
            (TC_OK, &[], false, true),
            (TC_OK, &[TC_OK], true, true),
            (TC_SHOT, &[], false, false),
            (TC_SHOT, &[TC_SHOT], true, true),
            (TC_PIPE, &[TC_OK], false, true),
            (TC_STOLEN, &[], false, false),
            // Unspec is -1, the lowest bit of the set.
            (TCX_NEXT, &[-1], true, true),
            (TCX_NEXT, &[], false, true),
            (TC_RECLASSIFY, &[TC_RECLASSIFY], true, true),
        ] {
            let case = format!("{}: verdict {verdict}, proceed on {proceed_on:?}", launch.config);
            let program = tc_program(&wire, 1, verdict);
            put(&wire, &program, tc(&network.far.path(), INTERFACE, "ingress", 100, proceed_on));
            assert_eq!(traffic.send(1), usize::from(arrives), "{case}");
            assert_eq!(last.trail(), if next_runs { vec![1, 9] } else { vec![1] }, "{case}");
            unload(&wire, program.id);
        }
    }
}

#[test]
fn a_lone_tc_program_gives_its_verdict() {
    for launch in tc_daemons() {
        let (daemon, network) = (Daemon::start_with(&launch), Network::new());
        let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
        // A verdict that clsact does not know lets the datagram pass.
        let queued = usize::from(!launch.config.is_empty() || !has_tcx());
        for (verdict, arrives) in [
            (TC_OK, 1),
            (TC_SHOT, 0),
            (TC_PIPE, 1),
            (TC_STOLEN, 0),
            (TC_QUEUED, queued),
            (TCX_NEXT, 1),
            (TC_TRAP, 0),
        ] {
            for (end, direction) in [(&network.far, "ingress"), (&network.near, "egress")] {
                let program = tc_program(&wire, 1, verdict);
                put(&wire, &program, tc(&end.path(), INTERFACE, direction, 50, &[]));
                assert_eq!(traffic.send(1), arrives, "{}: verdict {verdict} {direction}", launch.config);
                assert_eq!(program.trail(), [1]);
                unload(&wire, program.id);
            }
        }
    }
}

#[test]
fn tc_chains_of_both_directions_are_independent() {
    for launch in tc_daemons() {
        let (daemon, network) = (Daemon::start_with(&launch), Network::new());
        let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
        let near = network.near.path();
        let (inward, outward) = (tc_program(&wire, 1, TC_SHOT), tc_program(&wire, 2, TC_PIPE));
        put(&wire, &inward, tc(&near, INTERFACE, "ingress", 50, &[]));
        let out = put(&wire, &outward, tc(&near, INTERFACE, "egress", 50, &[]));
        assert_eq!(traffic.send(2), 2);
        assert_eq!((inward.hits(), outward.hits()), (0, 2));
        detach(&wire, out);
        assert_eq!(traffic.send(1), 1);
        assert_eq!((inward.hits(), outward.hits()), (0, 2));
    }
}

#[test]
fn tcx_links_run_by_priority_and_newcomers_last_among_equals() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let at = |priority| tcx(&network.far.path(), INTERFACE, "ingress", priority);
    let program = |who, verdict| Program::member(&wire, "tcx_member", Type::Tcx, who, verdict);
    let members: Vec<_> = (1..=4).map(|who| program(who, TCX_NEXT)).collect();
    put(&wire, &members[1], at(50));
    put(&wire, &members[0], at(0));
    put(&wire, &members[2], at(50));
    let last = put(&wire, &members[3], at(900));
    assert_eq!(traffic.send(1), 1);
    assert_eq!(members[0].trail(), [1, 2, 3, 4]);
    assert_eq!(link(&wire, last).position, Some(3));
    let dropping = program(5, TC_SHOT);
    put(&wire, &dropping, at(50));
    assert_eq!(traffic.send(1), 0);
    assert_eq!(members[0].trail(), [1, 2, 3, 5]);
    let answer = wire.attach(attach(members[0].id, at(7)));
    assert_eq!(answer.unwrap_err().code(), Code::FailedPrecondition);
}
