//! Adoption of links of other tools: their programs become members without a gap, and can be given back.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{Direction, HookKind, KernelLinkId, OrderIntent, ProgramId, ProgramType, Reason};
use bpfmand_engine::{AdoptRequest, AdoptWhat, Engine, HookCheck};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Kernel, LinkTarget, ListAnchor, XdpMode};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::kernel_rules::program;

const XDP: HookKind = HookKind::Xdp;

pub fn request(link: KernelLinkId, priority: i32) -> AdoptRequest {
    AdoptRequest {
        what: AdoptWhat::Link(link),
        interface: None,
        priority,
        proceed_on: None,
        order: OrderIntent::default(),
        metadata: BTreeMap::new(),
        caller_uid: 0,
        owner: Default::default(),
    }
}

pub struct Stranger<K: Kernel> {
    pub program: ProgramId,
    pub link: K::Handle,
    pub id: KernelLinkId,
}

pub fn stranger<K: Testable>(
    bench: &Bench<K>,
    target: &LinkTarget<'_>,
    kind: ProgramType,
    verdict: i32,
) -> Stranger<K> {
    let loaded = program(&*bench.kernel, kind, verdict, None);
    let link = bench.kernel.attach(&loaded, target).unwrap();
    let facts = bench.kernel.link_of(&link).unwrap();
    Stranger { program: facts.program, link, id: facts.id }
}

pub fn at_xdp<K: Testable>(bench: &Bench<K>) -> LinkTarget<'_> {
    let ifindex = bench.kernel.find_hook(&bench.left(), XDP).unwrap().ifindex;
    LinkTarget::Xdp { home: bench.home(), netns: Some(&bench.netns), ifindex, mode: XdpMode::Generic }
}

pub fn runs<K: Testable>(bench: &Bench<K>, stranger: &Stranger<K>) -> ProgramId {
    bench.kernel.link_of(&stranger.link).unwrap().program
}

pub fn watch<K: Testable>(bench: &Bench<K>, engine: &Engine<K>, program: ProgramId) {
    let right = match bench.xdp(0) {
        bpfman_model::AttachPoint::Xdp { priority, proceed_on, .. } => {
            bpfman_model::AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    engine.attached(program, right);
}

fn an_adopted_program_is_a_member_and_goes_back_as_it_was<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    watch(bench, &engine, bravo);
    let before = pins(&*bench.kernel, Path::new(""));
    let records = bench_records(&engine);
    let theirs = stranger(bench, &at_xdp(bench), ProgramType::Xdp, 2);
    let facts = bench.kernel.link_of(&theirs.link).unwrap();
    assert_eq!(engine.hooks_of_links([&facts]), [(theirs.id, XDP.at(&bench.left()))].into());
    let adopted = engine.adopt(&request(theirs.id, 5)).unwrap();
    assert_eq!(adopted.xdp, Some(bpfmand_engine::XdpPlacement::of(bpfman_model::XdpRunsIn::Generic)));
    assert_eq!((adopted.standing.name(), adopted.program.id), ("ok", theirs.program));
    assert_eq!((adopted.kernel_link, runs(bench, &theirs)), (Some(theirs.id), theirs.program));
    let ours = engine.attached(alpha, bench.xdp(1));
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "rule"]);
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!(chain.kernel_link, Some(theirs.id));
    assert_eq!(runs(bench, &theirs), chain.entry.unwrap().id);
    assert_ne!(runs(bench, &theirs), theirs.program);
    let verified = engine.verify_chain(&bench.left(), XDP, None).unwrap();
    assert!(verified.matches(), "{verified:#?}");
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
    // The owner may still end the link, and then all members return with a link of the daemon.
    assert_eq!(engine.adopt(&request(theirs.id, 5)).unwrap_err().kind(), Reason::Conflict);
    engine.detach(ours).unwrap();
    assert_eq!(runs(bench, &theirs), theirs.program);
    let ours = engine.attached(alpha, bench.xdp(9));
    assert_eq!(engine.names(&bench.left(), XDP), ["rule", "alpha"]);
    engine.detach(ours).unwrap();
    engine.detach(adopted.record.id).unwrap();
    assert_eq!(runs(bench, &theirs), theirs.program);
    assert!(bench.kernel.link_of(&theirs.link).unwrap().ifindex.is_some());
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    assert_eq!(bench_records(&engine), records);
}

fn bench_records<K: Kernel>(engine: &Engine<K>) -> (Vec<ProgramId>, usize) {
    (engine.ids(), engine.all_links().len())
}

fn a_chain_keeps_an_adopted_link_when_its_program_leaves<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    watch(bench, &engine, bravo);
    let theirs = stranger(bench, &at_xdp(bench), ProgramType::Xdp, 2);
    let adopted = engine.adopt(&request(theirs.id, 5)).unwrap().record.id;
    let ours = engine.attached(alpha, bench.xdp(1));
    engine.detach(adopted).unwrap();
    assert_eq!((runs(bench, &theirs), engine.ids()), (alpha, vec![alpha, bravo]));
    // Detaching the last member ends the link, although its first owner still holds it.
    engine.detach(ours).unwrap();
    assert_eq!(bench.kernel.link_of(&theirs.link).unwrap().ifindex, None);
    engine.attached(alpha, bench.xdp(1));
}

fn adopted_program_survives_restart_and_end_of_its_former_link<K: Testable>(bench: &Bench<K>) {
    let theirs = stranger(bench, &at_xdp(bench), ProgramType::Xdp, 2);
    {
        let engine = bench.engine();
        let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else {
            panic!()
        };
        watch(bench, &engine, bravo);
        engine.adopt(&request(theirs.id, 5)).unwrap();
        engine.attached(alpha, bench.xdp(1));
    }
    let engine = bench.engine();
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "rule"]);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
    let kernel = &*bench.kernel;
    kernel.pin(&theirs.link, Path::new("stranger")).unwrap();
    kernel.end_link(Path::new("stranger")).unwrap_err();
    let key = kernel.find_hook(&bench.left(), XDP).unwrap();
    assert!(matches!(engine.check_hook(&key).unwrap(), HookCheck::Mended(_)));
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "rule"]);
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_ne!(chain.kernel_link, Some(theirs.id));
    for link in engine.all_links() {
        engine.detach(link.record.id).unwrap();
    }
    assert!(pins(kernel, Path::new("xdp")).is_empty());
}

fn an_adopted_tcx_link_keeps_its_place_and_is_only_let_go<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let engine = bench.engine();
    let [alpha, xray] = engine.loads(&bench.request("programs", &["alpha", "xray"]))[..] else { panic!() };
    watch(bench, &engine, alpha);
    let ifindex = bench.kernel.find_hook(&bench.left(), XDP).unwrap().ifindex;
    let target = LinkTarget::Tcx {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex,
        direction: Direction::Ingress,
        anchor: ListAnchor::First,
        expected_revision: None,
    };
    let theirs = stranger(bench, &target, ProgramType::Tc, -1);
    let adopted = engine.adopt(&request(theirs.id, 5)).unwrap();
    assert_eq!((adopted.standing.name(), adopted.kernel_link), ("ok", Some(theirs.id)));
    engine.attached(xray, bench.tcx(1));
    assert_eq!(engine.names(&bench.left(), HookKind::Tcx(Direction::Ingress)), ["xray", "rule"]);
    let entries = engine.hook_entries(&bench.left(), HookKind::Tcx(Direction::Ingress)).unwrap();
    assert_eq!(
        entries.iter().map(|entry| entry.program.unwrap()).collect::<Vec<_>>(),
        [xray, theirs.program]
    );
    engine.detach(adopted.record.id).unwrap();
    assert!(bench.kernel.link_of(&theirs.link).unwrap().ifindex.is_some());
    assert_eq!(runs(bench, &theirs), theirs.program);
}

fn unsuitable_link_is_not_adopted<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha, trace] = engine.loads(&bench.request("programs", &["alpha", "trace"]))[..] else { panic!() };
    let ours = engine.attached(alpha, bench.xdp(1));
    let traced = engine.attached(trace, crate::bench::tracepoint("sched_switch"));
    let kernel_link = |link| engine.describe_link(link).unwrap().kernel_link.unwrap();
    let pin = |path: &str| AdoptRequest { what: AdoptWhat::Pin(path.into()), ..request(KernelLinkId(0), 0) };
    let before = pins(&*bench.kernel, Path::new(""));
    use Reason::{Invalid, NotFound, Precondition};
    for (wrong, says, kind) in [
        (request(KernelLinkId(u32::MAX), 0), "no link", NotFound),
        (request(kernel_link(ours), 0), "bpfman", Precondition),
        (request(kernel_link(traced), 0), "another type", Invalid),
        (request(kernel_link(ours), -1), "negative", Invalid),
        (pin("relative"), "absolute", Invalid),
        (pin("/sys/fs/bpf/nothing-is-here"), "nothing is pinned", NotFound),
    ] {
        let error = engine.adopt(&wrong).unwrap_err();
        assert!(error.to_string().contains(says), "{error} lacks {says}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
}

crate::on_both_kernels!(
    an_adopted_program_is_a_member_and_goes_back_as_it_was,
    a_chain_keeps_an_adopted_link_when_its_program_leaves,
    adopted_program_survives_restart_and_end_of_its_former_link,
    an_adopted_tcx_link_keeps_its_place_and_is_only_let_go,
    unsuitable_link_is_not_adopted,
);

#[test]
fn linux_an_adopted_program_decides_in_its_chain() {
    let bench = crate::linux::bench("adopted_verdict");
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    watch(&bench, &engine, bravo);
    const DROP: i32 = 1;
    let theirs = stranger(&bench, &at_xdp(&bench), ProgramType::Xdp, DROP);
    engine.adopt(&request(theirs.id, 5)).unwrap();
    let verdict = || {
        let id = engine.chain(&bench.left(), XDP).unwrap().entry.unwrap().id;
        let entry = bench.kernel.open_program(id).unwrap().unwrap();
        bpfmand_kernel::linux::test_run(&entry, &[0; 64], 1).unwrap().verdict
    };
    assert_eq!(verdict(), DROP as u32);
    let before = engine.attached(alpha, bench.xdp(1));
    assert_eq!(verdict(), DROP as u32);
    engine.detach(before).unwrap();
    engine.attached(alpha, bench.xdp(9));
    assert_eq!(
        (engine.names(&bench.left(), XDP), verdict()),
        (vec!["rule".into(), "alpha".into()], DROP as u32)
    );
}
