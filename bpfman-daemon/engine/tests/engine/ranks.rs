//! Ranks: the machine's programs run first at ingress and last at egress.

use std::path::Path;

use bpfman_model::{
    AttachPoint, AttachRequest, Direction, HookKind, LoadRequest, Owner, OwningApplication, Reason,
    TaskScope, TenantRules,
};
use bpfmand_engine::{EngineError, UpdateLinkRequest};
use bpfmand_kernel::ListAnchor;

use crate::among_others::{is_fine, names, open, stranger};
use crate::before_the_chain::{list, tango};
use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};
use crate::simulated::bench as simulated;

const XDP: HookKind = HookKind::Xdp;

pub fn of_namespace(load: LoadRequest) -> LoadRequest {
    let name = OwningApplication::parse(Some("shop"), "filter").unwrap();
    LoadRequest { owner: Owner::Application(name), ..load }
}

fn intent_of_tenant_never_precedes_the_machine<K: Testable>(bench: &Bench<K>) {
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
    assert!(chain.members[1].reason.starts_with("rank of tenants, then priority 0"), "{chain:?}");
    drop(engine);
    let engine = bench.engine();
    engine.recover().unwrap();
    assert_eq!(order(&engine), ["alpha", "bravo"]);
}

fn tcx_links_of_a_namespace_run_after_the_chain<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let tenants = engine.loads(&of_namespace(bench.request("programs", &["xray", "yankee"])));
    let [xray, yankee] = tenants[..] else { panic!() };
    let [zulu] = engine.loads(&bench.request("programs", &["zulu"]))[..] else { panic!() };
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

fn of_scope(load: LoadRequest) -> LoadRequest {
    let tenant = TenantRules { scope: TaskScope::Caller, helpers: Default::default() };
    LoadRequest { owner: Owner::Grant("team".to_owned()), tenant: Some(tenant), ..load }
}

fn tenants_come_first_on_the_way_out<K: Testable>(bench: &Bench<K>) {
    const OUT: HookKind = HookKind::Tc(Direction::Egress);
    let engine = bench.engine();
    let load = |name: &'static str| bench.request("programs", &[name]);
    let out = |priority| bench.tc(Direction::Egress, priority);
    let order = |engine: &bpfmand_engine::Engine<K>| engine.names(&bench.left(), OUT);
    let machine = engine.attached(engine.loads(&load("tango"))[0], out(0));
    let tulip = engine.loads(&of_namespace(load("tulip")))[0];
    let tenant = engine.attached(tulip, out(900));
    assert_eq!(order(&engine), ["tulip", "tango"]);
    let chain = engine.chain(&bench.left(), OUT).unwrap();
    assert!(chain.members[0].reason.starts_with("rank of tenants (first on the way out)"), "{chain:?}");
    let behind = UpdateLinkRequest { position: Some(1), ..UpdateLinkRequest::of(tenant) };
    engine.update_link(&behind).unwrap_err();
    let after = UpdateLinkRequest {
        order: Some(intent("", &[], &[&machine.to_string()])),
        ..UpdateLinkRequest::of(tenant)
    };
    engine.update_link(&after).unwrap_err();
    assert_eq!(order(&engine), ["tulip", "tango"]);
    // Grants with a scope are tenants, too.
    let scoped = engine.loads(&of_scope(load("tulip")))[0];
    engine.attached(scoped, out(0));
    assert_eq!(order(&engine), ["tulip", "tulip", "tango"]);
    engine.detach(machine).unwrap();
    engine.attached(engine.loads(&load("tango"))[0], out(0));
    assert_eq!(order(&engine), ["tulip", "tulip", "tango"]);
    drop(engine);
    let engine = bench.engine();
    engine.recover().unwrap();
    assert_eq!(order(&engine), ["tulip", "tulip", "tango"]);
}

/// The machine's tcx links run before its chain; once a tenant's member was in the chain, after it.
fn tcx_links_of_the_machine_come_last_on_the_way_out<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let load = |name: &'static str| bench.request("programs", &[name]);
    let tcx = |priority| AttachPoint::Tcx { interface: bench.left(), direction: Direction::Egress, priority };
    let out = |priority| bench.tc(Direction::Egress, priority);
    let key = bench.kernel.find_hook(&bench.left(), HookKind::Tcx(Direction::Egress)).unwrap();
    let list = || {
        let names = names(&*bench.kernel, &bench.netns, &key).into_iter();
        let chain = |name: String| match name.as_str() {
            "xray" | "yankee" | "zulu" => name,
            _ => "chain".to_owned(),
        };
        names.map(chain).collect::<Vec<_>>()
    };
    engine.attached(engine.loads(&load("tango"))[0], out(5));
    engine.attached(engine.loads(&load("zulu"))[0], tcx(0));
    assert_eq!(list(), ["zulu", "chain"]);
    engine.attached(engine.loads(&of_namespace(load("xray")))[0], tcx(900));
    assert_eq!(list(), ["xray", "zulu", "chain"]);
    let tulip = engine.attached(engine.loads(&of_namespace(load("tulip")))[0], out(900));
    assert_eq!(list(), ["xray", "chain", "zulu"]);
    // The order stays: changing it back would skip the machine's link for a moment.
    engine.detach(tulip).unwrap();
    assert_eq!(list(), ["xray", "chain", "zulu"]);
    engine.attached(engine.loads(&load("yankee"))[0], tcx(1));
    assert_eq!(list(), ["xray", "chain", "zulu", "yankee"]);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(list(), ["xray", "chain", "zulu", "yankee"]);
    assert!(is_fine(&engine) && engine.check_all().mended.is_empty());
}

crate::on_both_kernels!(
    tenants_come_first_on_the_way_out,
    tcx_links_of_the_machine_come_last_on_the_way_out,
    intent_of_tenant_never_precedes_the_machine,
    tcx_links_of_a_namespace_run_after_the_chain,
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
        for _ in 0..16 {
            attached("bravo", other, bench.xdp(10)).unwrap();
        }
        let full = attached("bravo", other, bench.xdp(10)).unwrap_err();
        assert!(matches!(full, EngineError::KeptPlaces { limit: 16, .. }), "{full}");
        assert_eq!(full.kind(), Reason::Conflict);
        for _ in 0..16 {
            attached("alpha", kept_for, bench.xdp(10)).unwrap();
        }
        let names = engine.names(&bench.left(), XDP);
        assert_eq!(names.iter().filter(|name| *name == "alpha").count(), 16, "{names:?}");
        for _ in 0..31 {
            attached("yankee", other, bench.tcx(10)).unwrap();
        }
        let full = attached("yankee", other, bench.tcx(10)).unwrap_err();
        assert!(matches!(full, EngineError::KeptPlaces { limit: 31, .. }), "{full}");
        for _ in 0..32 {
            attached("xray", kept_for, bench.tcx(10)).unwrap();
        }
    }
}
