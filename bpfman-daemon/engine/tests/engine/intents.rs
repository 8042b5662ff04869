//! Order by intent, which takes precedence over priorities.

use bpfman_model::{AttachRequest, Direction, HookKind, LinkId, OrderIntent, ProgramId, Reason};
use bpfmand_engine::{Engine, EngineError, LinkDetails, UpdateLinkRequest};

use crate::bench::{Ask as _, Bench, Testable, tracepoint};

const XDP: HookKind = HookKind::Xdp;
const TC: HookKind = HookKind::Tc(Direction::Ingress);

pub fn intent(role: &str, before: &[&str], after: &[&str]) -> OrderIntent {
    let anchors = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    OrderIntent {
        role: (!role.is_empty()).then(|| role.parse().unwrap()),
        before: anchors(before),
        after: anchors(after),
    }
}

pub fn attach<K: Testable>(
    engine: &Engine<K>,
    program: ProgramId,
    point: bpfman_model::AttachPoint,
    order: OrderIntent,
) -> Result<LinkDetails, EngineError> {
    engine.attach(&AttachRequest {
        ttl: None,
        program,
        point,
        order,
        sharing: Default::default(),
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    })
}

fn waits(engine: &Engine<impl Testable>, link: LinkId) -> Vec<String> {
    let waiting = engine.describe_link(link).unwrap().waits_for;
    waiting.iter().map(|waiting| format!("{} {}", waiting.side, waiting.anchor)).collect()
}

fn members_run_before_and_after_what_they_name<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "delta"];
    let [alpha, bravo, charlie, delta] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!()
    };
    let order = |engine: &Engine<K>| engine.names(&bench.left(), XDP);
    let first = engine.attached(alpha, bench.xdp(10));
    attach(&engine, bravo, bench.xdp(900), intent("firewall", &["alpha"], &[])).unwrap();
    assert_eq!(order(&engine), ["bravo", "alpha"]);
    let last =
        attach(&engine, charlie, bench.xdp(0), intent("", &[], &[&first.0.to_string(), "role=firewall"]));
    let last = last.unwrap();
    assert_eq!(order(&engine), ["bravo", "alpha", "charlie"]);
    assert_eq!(last.position, Some(2));
    // A role may be attached later; until then the priority decides.
    let waiting = attach(&engine, delta, bench.xdp(0), intent("", &[], &["role=metrics"])).unwrap();
    assert_eq!(order(&engine), ["delta", "bravo", "alpha", "charlie"]);
    assert_eq!(waits(&engine, waiting.record.id), ["--after role=metrics"]);
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!(chain.members[0].reason, "priority 0; waiting: --after role=metrics");
    assert_eq!(chain.members[1].reason, "--before alpha, then priority 900");
    let update = UpdateLinkRequest {
        order: Some(intent(
            "metrics",
            &[],
            &last
                .record
                .order
                .after
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )),
        ..UpdateLinkRequest::of(last.record.id)
    };
    engine.update_link(&update).unwrap();
    assert_eq!(order(&engine), ["bravo", "alpha", "charlie", "delta"]);
    assert_eq!(waits(&engine, waiting.record.id), Vec::<String>::new());
    drop(engine);
    let engine = bench.engine();
    assert_eq!(order(&engine), ["bravo", "alpha", "charlie", "delta"]);
    engine.detach(first).unwrap();
    assert_eq!(order(&engine), ["bravo", "charlie", "delta"]);
    engine.detach(last.record.id).unwrap();
    assert_eq!(order(&engine), ["delta", "bravo"]);
    assert_eq!(waits(&engine, waiting.record.id), ["--after role=metrics"]);
    engine.attached(alpha, bench.xdp(500));
    assert_eq!(order(&engine), ["delta", "bravo", "alpha"]);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
}

fn invalid_intent_is_refused_without_changes<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie", "tango", "trace"];
    let [alpha, bravo, charlie, tango, trace] = engine.loads(&bench.request("programs", &names))[..] else {
        panic!()
    };
    let first = attach(&engine, alpha, bench.xdp(5), intent("front", &["role=back"], &[])).unwrap().record.id;
    attach(&engine, bravo, bench.xdp(5), intent("", &[], &["alpha"])).unwrap();
    let before = (engine.all_links(), engine.chain(&bench.left(), XDP));
    let refused = |program, point, order| {
        let error = attach(&engine, program, point, order).unwrap_err();
        assert_eq!((engine.all_links(), engine.chain(&bench.left(), XDP)), before);
        (error.kind(), error.to_string())
    };
    let (kind, message) = refused(charlie, bench.xdp(0), intent("", &["nobody"], &[]));
    assert_eq!(kind, Reason::NotFound);
    assert!(message.contains("--before nobody names nothing at xdp:left"), "{message}");
    assert!(message.contains(&format!("link {first} (alpha, role=front)")), "{message}");
    assert_eq!(refused(charlie, bench.xdp(0), intent("", &[], &["4711"])).0, Reason::NotFound);
    let (kind, message) = refused(charlie, bench.xdp(0), intent("back", &["alpha"], &[]));
    assert_eq!(kind, Reason::Conflict);
    assert!(
        message.contains(&format!(
            "link {first} (alpha) must run before the new link (charlie) because of --before role=back"
        )),
        "{message}"
    );
    assert!(
        message.contains("must run before link") && message.contains("because of --before alpha"),
        "{message}"
    );
    let (kind, message) = refused(charlie, bench.xdp(0), intent("", &["foreign:cil_from_netdev"], &[]));
    assert_eq!(kind, Reason::Invalid);
    assert!(message.contains("an XDP hook runs one program"), "{message}");
    let (kind, message) = refused(trace, tracepoint("sched_switch"), intent("front", &[], &[]));
    assert_eq!((kind, message.contains("type tracepoint")), (Reason::Invalid, true), "{message}");
    let many = vec!["role=x"; 17];
    assert_eq!(refused(charlie, bench.xdp(0), intent("", &many, &[])).0, Reason::Invalid);
    // The only program of a name cannot be its own anchor.
    let alone = attach(&engine, tango, bench.tc(Direction::Ingress, 1), intent("", &["tango"], &[]));
    assert_eq!(alone.unwrap_err().kind(), Reason::NotFound);
    assert!(engine.chain(&bench.left(), TC).is_none());
}

fn a_link_is_changed_in_place<K: Testable>(bench: &Bench<K>) {
    use bpfman_model::{ProceedOn, VerdictFamily};
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie"];
    let [alpha, bravo, charlie] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    let links = [(alpha, 10), (bravo, 20), (charlie, 30)]
        .map(|(program, priority)| engine.attached(program, bench.xdp(priority)));
    let order = || engine.names(&bench.left(), XDP);
    let kernel_link = || engine.describe_link(links[0]).unwrap().kernel_link.unwrap();
    let (kept, of) = (kernel_link(), UpdateLinkRequest::of);
    let outcome = |request: UpdateLinkRequest| engine.update_link(&request).unwrap().0.name();
    assert_eq!(outcome(UpdateLinkRequest { priority: Some(40), ..of(links[0]) }), "changed");
    assert_eq!(order(), ["bravo", "charlie", "alpha"]);
    let entry = || engine.chain(&bench.left(), XDP).unwrap().entry.unwrap().id;
    let running = entry();
    assert_eq!(outcome(UpdateLinkRequest { priority: Some(40), ..of(links[0]) }), "unchanged");
    let pairs = [("note".to_owned(), "changed".to_owned())].into();
    assert_eq!(outcome(UpdateLinkRequest { metadata: Some(pairs), ..of(links[1]) }), "changed");
    assert_eq!(outcome(UpdateLinkRequest { priority: Some(21), ..of(links[1]) }), "changed");
    assert_eq!(entry(), running);
    let all = ProceedOn::from_codes(VerdictFamily::Xdp, &[1, 2]).unwrap();
    assert_eq!(outcome(UpdateLinkRequest { proceed_on: Some(all), ..of(links[1]) }), "changed");
    assert_ne!(entry(), running);
    for (link, position, wanted) in [
        (links[0], 0, ["alpha", "bravo", "charlie"]),
        (links[0], 1, ["bravo", "alpha", "charlie"]),
        (links[2], 0, ["charlie", "bravo", "alpha"]),
        (links[2], 2, ["bravo", "alpha", "charlie"]),
    ] {
        let (_, details) =
            engine.update_link(&UpdateLinkRequest { position: Some(position), ..of(link) }).unwrap();
        assert_eq!((details.position, order()), (Some(position), wanted.map(str::to_owned).to_vec()));
        assert!(details.record.order.is_empty(), "{:?}", details.record.order);
    }
    for link in links {
        engine.update_link(&UpdateLinkRequest { priority: Some(0), ..of(link) }).unwrap();
    }
    let between = UpdateLinkRequest { position: Some(1), ..of(links[2]) };
    assert_eq!(engine.update_link(&between).unwrap().1.position, Some(1));
    assert_eq!(kernel_link(), kept, "it was never detached");
    let refused = |request: UpdateLinkRequest| engine.update_link(&request).unwrap_err().kind();
    assert_eq!(refused(UpdateLinkRequest { priority: Some(-1), ..of(links[0]) }), Reason::Invalid);
    assert_eq!(refused(UpdateLinkRequest { position: Some(3), ..of(links[0]) }), Reason::Invalid);
    let both = UpdateLinkRequest { position: Some(0), priority: Some(1), ..of(links[0]) };
    assert_eq!(refused(both), Reason::Invalid);
    let tc = ProceedOn::default_for(VerdictFamily::Tc);
    assert_eq!(refused(UpdateLinkRequest { proceed_on: Some(tc), ..of(links[0]) }), Reason::Invalid);
    let cycle = UpdateLinkRequest { order: Some(intent("", &["bravo"], &["bravo"])), ..of(links[0]) };
    assert_eq!(refused(cycle), Reason::Conflict);
    assert_eq!(refused(of(LinkId(u32::MAX))), Reason::NotFound);
}

crate::on_both_kernels!(
    members_run_before_and_after_what_they_name,
    invalid_intent_is_refused_without_changes,
    a_link_is_changed_in_place,
);
