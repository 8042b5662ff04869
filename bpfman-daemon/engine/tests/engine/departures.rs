//! Tenants' programs that can send packets to interfaces on whose egress the machine has a program are refused.

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, LinkId, LoadRequest, OrderIntent, ProgramId, Reason, Sharing,
};
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, Testable};
use crate::ranks::of_namespace;
use crate::replacements::replacement;
use crate::simulated::bench as simulated;

const XDP_TX: u32 = 3;

fn answering<K: Kernel>(bench: &Bench<K>, name: &str, verdict: u32) -> LoadRequest {
    let mut request = bench.request("programs", &[name]);
    request.global_data.insert("verdict".to_owned(), verdict.to_ne_bytes().to_vec());
    request
}

fn tenant<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, name: &str, verdict: u32) -> ProgramId {
    engine.loads(&of_namespace(answering(bench, name, verdict)))[0]
}

fn wall<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, point: AttachPoint) -> LinkId {
    engine.attached(engine.loads(&bench.request("programs", &["tango"]))[0], point)
}

fn assert_refused(refused: &EngineError, wall: LinkId) {
    assert!(matches!(refused, EngineError::SendsToGuarded { link, .. } if *link == wall), "{refused}");
    assert_eq!(refused.kind(), Reason::Invalid);
    assert!(refused.hint().unwrap().to_string().contains(&format!("bpfman get link {wall}")));
}

fn verdicts_that_send_are_refused_at_the_machines_interface<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let out = wall(bench, &engine, bench.tc(Direction::Egress, 1));
    let before = engine.all_links();
    let alpha = tenant(bench, &engine, "alpha", XDP_TX);
    assert_refused(&engine.try_attach(alpha, bench.xdp(1)).unwrap_err(), out);
    assert_eq!(engine.all_links(), before);
    engine.attached(tenant(bench, &engine, "bravo", 2), bench.xdp(1));
    engine.attached(engine.loads(&answering(bench, "charlie", XDP_TX))[0], bench.xdp(2));
    // The machine sees packets that leave only on egress.
    engine.detach(out).unwrap();
    wall(bench, &engine, bench.tc(Direction::Ingress, 1));
    engine.attached(alpha, bench.xdp(3));
}

crate::on_both_kernels!(verdicts_that_send_are_refused_at_the_machines_interface);

type Sim = Bench<SimKernel>;

fn out_of(bench: &Sim, interface: &str) -> AttachPoint {
    AttachPoint::Tcx { interface: bench.interface(interface), direction: Direction::Egress, priority: 1 }
}

#[test]
fn programs_of_tenants_on_egress_guard_nothing() {
    let bench = simulated();
    let engine = bench.engine();
    let tulip = engine.loads(&of_namespace(bench.request("programs", &["tulip"])))[0];
    engine.attached(tulip, bench.tc(Direction::Egress, 1));
    let alpha = tenant(&bench, &engine, "alpha", XDP_TX);
    let sends = engine.attached(alpha, bench.xdp(1));
    engine.detach(sends).unwrap();
    // XDP_TX leaves by its own interface.
    let zulu = engine.loads(&bench.request("programs", &["zulu"]))[0];
    let right = engine.attached(zulu, out_of(&bench, "right"));
    let sends = engine.attached(alpha, bench.xdp(1));
    engine.detach(sends).unwrap();
    engine.detach(right).unwrap();
    let left = engine.attached(zulu, out_of(&bench, "left"));
    assert_refused(&engine.try_attach(alpha, bench.xdp(1)).unwrap_err(), left);
}

#[test]
fn shadows_have_no_verdict_that_could_send() {
    let bench = simulated();
    let engine = bench.engine();
    wall(&bench, &engine, bench.tc(Direction::Egress, 1));
    let alpha = tenant(&bench, &engine, "alpha", XDP_TX);
    let request = AttachRequest {
        program: alpha,
        point: bench.xdp(1),
        order: OrderIntent::default(),
        sharing: Sharing { shadow: true, ..Sharing::default() },
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
        ttl: None,
    };
    engine.attach(&request).unwrap();
}

#[test]
fn version_that_sends_is_refused_where_the_old_one_could_not() {
    let bench = simulated();
    let engine = bench.engine();
    let sends = tenant(&bench, &engine, "alpha", XDP_TX);
    engine.attached(sends, bench.xdp(1));
    let out = wall(&bench, &engine, bench.tc(Direction::Egress, 1));
    let passes = tenant(&bench, &engine, "bravo", 2);
    engine.attached(passes, bench.xdp(2));
    let before = bench.kernel.snapshot();
    let version = |program| {
        let mut request = replacement(&bench, program, "programs");
        request.global_data.insert("verdict".to_owned(), XDP_TX.to_ne_bytes().to_vec());
        engine.replace_program(&request)
    };
    assert_refused(&version(passes).unwrap_err(), out);
    assert_eq!(bench.kernel.snapshot(), before);
    // The old version could send before the machine's program came, and its chain now drops these packets.
    version(sends).unwrap();
}
