//! Several programs on one hook, under real traffic.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network};

use crate::equipment::{Program, detach, unload};

const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

#[test]
fn three_xdp_programs_run_by_priority_and_a_drop_ends_the_chain() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let far = network.far.path();
    let first = Program::member(&wire, "xdp_member", Type::Xdp, 1, XDP_PASS);
    let dropping = Program::member(&wire, "xdp_member", Type::Xdp, 2, XDP_DROP);
    let last = Program::member(&wire, "xdp_member", Type::Xdp, 3, XDP_PASS);
    let put = |program: &Program, priority| {
        wire.attach(attach(program.id, xdp(&far, INTERFACE, priority, &[]))).unwrap().link_id
    };
    put(&last, 300);
    put(&first, 100);
    assert_eq!(traffic.send(1), 1);
    assert_eq!(first.trail(), [1, 3]);
    let middle = put(&dropping, 200);
    assert_eq!(traffic.send(1), 0);
    assert_eq!(first.trail(), [1, 2]);
    assert_eq!((first.hits(), dropping.hits(), last.hits()), (2, 1, 1));
    // Behind the others it drops all the same, and both see the datagram.
    detach(&wire, middle);
    put(&dropping, 400);
    assert_eq!(traffic.send(1), 0);
    assert_eq!(first.trail(), [1, 3, 2]);
    for program in [&first, &dropping, &last] {
        unload(&wire, program.id);
    }
    assert_eq!(traffic.send(3), 3);
    assert!(daemon.state().pins.is_empty(), "{:?}", daemon.state().pins);
}
