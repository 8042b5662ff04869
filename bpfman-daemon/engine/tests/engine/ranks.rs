//! Ranks: programs of applications of a namespace come after those of the machine.

use bpfmand_core::{AttachPoint, AttachRequest, HookKind, LoadRequest, Owner, OwningApplication};
use bpfmand_engine::{EngineError, ErrorKind};

use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;

/// A load that an application of a namespace owns.
fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), "filter").unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

fn what_a_namespace_wants_never_comes_before_the_machine<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let [alpha] = engine.loads(&bench.request("programs", &["alpha"]))[..] else { panic!() };
    let [bravo] = engine.loads(&of_namespace(bench.request("programs", &["bravo"])))[..] else { panic!() };
    // Whoever comes first, whatever it asks for.
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
    // A new start gives the same order, from the records.
    drop(engine);
    let engine = bench.engine();
    engine.recover().unwrap();
    assert_eq!(order(&engine), ["alpha", "bravo"]);
}

crate::on_both_kernels!(what_a_namespace_wants_never_comes_before_the_machine);

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
        for _ in 0..16 {
            attached("xray", kept_for, bench.tcx(10)).unwrap();
        }
    }
}
