//! Ranks: programs of a namespace's applications run after those of the machine.

use std::path::Path;

use bpfmand_core::{AttachPoint, AttachRequest, HookKind, LoadRequest, Owner, OwningApplication};
use bpfmand_engine::{EngineError, ErrorKind, UpdateLinkRequest};
use bpfmand_kernel::ListAnchor;

use crate::among_others::{is_fine, open, stranger};
use crate::before_the_chain::{list, tango};
use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;

/// Makes an application of a namespace the owner of a load.
fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), "filter").unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

fn what_a_namespace_wants_never_comes_before_the_machine<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha] = engine.loads(&bench.request("programs", &["alpha"]))[..] else { panic!() };
    let [bravo] = engine.loads(&of_namespace(bench.request("programs", &["bravo"])))[..] else { panic!() };
    // The order does not depend on which came first, nor on intents.
    let tenant =
        attach(&engine, bravo, bench.xdp(0), intent("wall", &["role=first"], &[])).unwrap().record.id;
    let order = |engine: &bpfmand_engine::Engine<K>| engine.names(&bench.left(), XDP);
    assert_eq!(order(&engine), ["bravo"]);
    attach(&engine, alpha, bench.xdp(900), intent("first", &[], &["role=wall"])).unwrap();
    assert_eq!(order(&engine), ["alpha", "bravo"]);
    let waits = engine.describe_link(tenant).unwrap().waits_for;
    assert_eq!(waits.iter().map(|one| one.anchor.to_string()).collect::<Vec<_>>(), ["role=first"]);
    let chain = engine.chain(&bench.left(), XDP).unwrap();
    assert!(chain.members[1].reason.starts_with("rank of namespaces, then priority 0"), "{chain:?}");
    // A restart gives the same order from the records.
    drop(engine);
    let engine = bench.engine();
    engine.recover().unwrap();
    assert_eq!(order(&engine), ["alpha", "bravo"]);
}

fn tcx_of_a_namespace_stands_behind_the_chain<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let tenants = engine.loads(&of_namespace(bench.request("programs", &["xray", "yankee"])));
    let [xray, yankee] = tenants[..] else { panic!() };
    let [zulu] = engine.loads(&bench.request("programs", &["zulu"]))[..] else { panic!() };
    // The same if the chain is attached later.
    engine.attached(xray, bench.tcx(1));
    let chain = tango(bench, &engine);
    assert_eq!(list(bench), ["chain", "xray"]);
    let yankee = engine.attached(yankee, bench.tcx(0));
    assert_eq!(list(bench), ["chain", "yankee", "xray"]);
    engine.attached(zulu, bench.tcx(900));
    assert_eq!(list(bench), ["zulu", "chain", "yankee", "xray"]);
    engine.detach(chain).unwrap();
    assert_eq!(list(bench), ["zulu", "yankee", "xray"]);
    tango(bench, &engine);
    let last = UpdateLinkRequest { priority: Some(5), ..UpdateLinkRequest::of(yankee) };
    engine.update_link(&last).unwrap();
    assert_eq!(list(bench), ["zulu", "chain", "xray", "yankee"]);
    // Lost links of the chain and of a namespace return to their positions.
    let folder = Path::new("tc-ingress");
    let pin = bench.kernel.list_folder(folder).unwrap().remove(0);
    bench.kernel.end_link(&folder.join(pin)).unwrap();
    bench.kernel.end_link(&Path::new("links").join(yankee.to_string())).unwrap();
    assert_eq!(engine.check_all().mended.len(), 2);
    assert_eq!(list(bench), ["zulu", "chain", "xray", "yankee"]);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(list(bench), ["zulu", "chain", "xray", "yankee"]);
    assert!(is_fine(&engine) && engine.check_all().mended.is_empty());
}

fn tcx_of_a_namespace_among_programs_of_others<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let [xray] = engine.loads(&of_namespace(bench.request("programs", &["xray"])))[..] else { panic!() };
    stranger(bench, "guard", 1, ListAnchor::Last);
    let tenant = engine.attached(xray, bench.tcx(1));
    // Its intent about third-party programs waits. The intents of the machine's members move the chain, and it follows.
    let before = UpdateLinkRequest {
        order: Some(intent("", &["foreign:guard"], &[])),
        ..UpdateLinkRequest::of(tenant)
    };
    engine.update_link(&before).unwrap_err();
    let alpha = tango(bench, &engine);
    let after = UpdateLinkRequest {
        order: Some(intent("", &[], &["foreign:guard"])),
        ..UpdateLinkRequest::of(alpha)
    };
    engine.update_link(&after).unwrap();
    assert_eq!(list(bench), ["guard", "chain", "xray"]);
    assert!(is_fine(&engine));
}

crate::on_both_kernels!(
    what_a_namespace_wants_never_comes_before_the_machine,
    tcx_of_a_namespace_stands_behind_the_chain,
    tcx_of_a_namespace_among_programs_of_others,
);

#[test]
fn others_leave_places_to_root_and_cluster_applications() {
    let application = |namespace| Owner::Application(OwningApplication::parse(namespace, "wall").unwrap());
    let others = [application(Some("shop")), Owner::Grant("team".to_owned()), Owner::User(1000)];
    let kept_for = [Owner::Root, application(None), Owner::Root];
    for (other, kept_for) in others.iter().zip(&kept_for) {
        let bench = simulated();
        let engine = bench.engine();
        let attached = |name: &str, owner: &Owner, point: AttachPoint| {
            let load = LoadRequest { owner: owner.clone(), ..bench.request("programs", &[name]) };
            engine.attach(&AttachRequest {
                ttl: None,
                program: engine.loads(&load)[0],
                point,
                order: Default::default(),
                sharing: Default::default(),
                metadata: Default::default(),
                owner: owner.clone(),
                group: None,
            })
        };
        for _ in 0..24 {
            attached("bravo", other, bench.xdp(10)).unwrap();
        }
        let full = attached("bravo", other, bench.xdp(10)).unwrap_err();
        assert!(matches!(full, EngineError::KeptPlaces { limit: 24, .. }), "{full}");
        assert_eq!(full.kind(), ErrorKind::Conflict);
        for _ in 0..8 {
            attached("alpha", kept_for, bench.xdp(10)).unwrap();
        }
        let names = engine.names(&bench.left(), XDP);
        assert_eq!(names.iter().filter(|name| *name == "alpha").count(), 8, "{names:?}");
        for _ in 0..48 {
            attached("yankee", other, bench.tcx(10)).unwrap();
        }
        let full = attached("yankee", other, bench.tcx(10)).unwrap_err();
        assert!(matches!(full, EngineError::KeptPlaces { limit: 48, .. }), "{full}");
        for _ in 0..15 {
            attached("xray", kept_for, bench.tcx(10)).unwrap();
        }
    }
}
