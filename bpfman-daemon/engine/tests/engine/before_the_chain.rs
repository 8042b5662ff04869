//! tcx links of the daemon run before the single link of the tc chain, in whatever order they were attached.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bpfman_model::{Direction, HookKind, LinkId, ProgramId, Reason};
use bpfmand_engine::{Engine, StepObserver, UpdateLinkRequest};
use bpfmand_kernel::{Kernel, LinkTarget, ListAnchor};

use crate::among_others::{is_fine, key, names, open, runs, stranger};
use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};

const KNOWN: [&str; 6] = ["xray", "yankee", "zulu", "guard", "meter", "bpfman_bridge"];

pub fn list<K: Kernel>(bench: &Bench<K>) -> Vec<String> {
    let name = |name: String| if KNOWN.contains(&name.as_str()) { name } else { "chain".to_owned() };
    runs(bench).into_iter().map(name).collect()
}

pub fn tango<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> LinkId {
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(Direction::Ingress, 5))
}

fn tcx<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> [ProgramId; 3] {
    engine.loads(&bench.request("programs", &["xray", "yankee", "zulu"])).try_into().unwrap()
}

fn tcx_links_stand_before_the_chain_whoever_came_first<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let chain = tango(bench, &engine);
    let [xray, yankee, zulu] = tcx(bench, &engine);
    let late = engine.attached(xray, bench.tcx(500));
    assert_eq!(list(bench), ["xray", "chain"]);
    engine.attached(yankee, bench.tcx(100));
    assert_eq!(list(bench), ["yankee", "xray", "chain"]);
    stranger(bench, "guard", 1, ListAnchor::Last);
    engine.detach(chain).unwrap();
    engine.detach(late).unwrap();
    let xray = engine.attached(xray, bench.tcx(500));
    tango(bench, &engine);
    assert_eq!(list(bench), ["yankee", "xray", "guard", "chain"]);
    engine.attached(zulu, bench.tcx(900));
    assert_eq!(list(bench), ["yankee", "xray", "guard", "zulu", "chain"]);
    let first = UpdateLinkRequest { priority: Some(1), ..UpdateLinkRequest::of(xray) };
    engine.update_link(&first).unwrap();
    assert_eq!(list(bench), ["xray", "yankee", "guard", "zulu", "chain"]);
    assert!(is_fine(&engine));
    drop(engine);
    let engine = bench.engine();
    assert_eq!(list(bench), ["xray", "yankee", "guard", "zulu", "chain"]);
    assert!(engine.check_all().mended.is_empty());
}

fn detached_tcx_link_returns_before_the_chain<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    tango(bench, &engine);
    let [xray, yankee, _] = tcx(bench, &engine);
    let lost = engine.attached(xray, bench.tcx(500));
    stranger(bench, "guard", 1, ListAnchor::Last);
    bench.kernel.end_link(&Path::new("links").join(lost.to_string())).unwrap();
    assert_eq!(engine.check_all().mended.len(), 1);
    assert_eq!(list(bench), ["xray", "chain", "guard"]);
    let folder = Path::new("tc-ingress");
    let pin = bench.kernel.list_folder(folder).unwrap().remove(0);
    bench.kernel.end_link(&folder.join(pin)).unwrap();
    engine.attached(yankee, bench.tcx(900));
    assert_eq!(engine.check_all().mended.len(), 1);
    assert_eq!(list(bench), ["xray", "yankee", "guard", "chain"]);
    assert!(is_fine(&engine));
}

fn put_last<K: Testable>(bench: &Bench<K>, link: LinkId, program: ProgramId) {
    let pin = Path::new("links").join(link.to_string());
    bench.kernel.end_link(&pin).unwrap();
    let program = bench.kernel.open_program(program).unwrap().unwrap();
    let target = LinkTarget::Tcx {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: key(bench).ifindex,
        direction: Direction::Ingress,
        anchor: ListAnchor::Last,
        expected_revision: None,
    };
    let link = bench.kernel.attach(&program, &target).unwrap();
    bench.kernel.pin(&link, &pin).unwrap();
}

fn wrong_order_is_corrected_at_start_and_by_the_watcher<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    tango(bench, &engine);
    let [xray, yankee, _] = tcx(bench, &engine);
    let links = [engine.attached(xray, bench.tcx(1)), engine.attached(yankee, bench.tcx(2))];
    stranger(bench, "guard", 1, ListAnchor::Last);
    let spoil = || {
        put_last(bench, links[0], xray);
        put_last(bench, links[1], yankee);
        assert_eq!(list(bench), ["chain", "guard", "xray", "yankee"]);
    };
    spoil();
    assert_eq!(engine.check_all().mended.len(), 2);
    assert_eq!(list(bench), ["xray", "yankee", "chain", "guard"]);
    spoil();
    drop(engine);
    let engine = bench.engine();
    assert_eq!(list(bench), ["xray", "yankee", "chain", "guard"]);
    assert!(is_fine(&engine));
}

fn intent_on_third_party_program_moves_the_chain<K: Testable>(bench: &Bench<K>) {
    if !open(bench) {
        return;
    }
    let engine = bench.engine();
    let chain = tango(bench, &engine);
    let [xray, yankee, _] = tcx(bench, &engine);
    stranger(bench, "guard", 1, ListAnchor::Last);
    attach(&engine, xray, bench.tcx(5), intent("", &[], &["foreign:guard"])).unwrap();
    assert_eq!(list(bench), ["guard", "xray", "chain"]);
    assert!(is_fine(&engine));
    let before = UpdateLinkRequest {
        order: Some(intent("", &["foreign:guard"], &[])),
        ..UpdateLinkRequest::of(chain)
    };
    let error = engine.update_link(&before).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert!(error.to_string().contains("before the tc chain"), "{error}");
    for link in engine.all_links().iter().filter(|link| link.program.id == xray) {
        engine.detach(link.record.id).unwrap();
    }
    engine.attached(yankee, bench.tcx(7));
    assert_eq!(list(bench), ["guard", "yankee", "chain"]);
    engine.update_link(&before).unwrap();
    assert_eq!(list(bench), ["yankee", "chain", "guard"]);
    let error = attach(&engine, xray, bench.tcx(5), intent("", &[], &["foreign:guard"])).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert_eq!(list(bench), ["yankee", "chain", "guard"]);
}

crate::on_both_kernels!(
    tcx_links_stand_before_the_chain_whoever_came_first,
    detached_tcx_link_returns_before_the_chain,
    wrong_order_is_corrected_at_start_and_by_the_watcher,
    intent_on_third_party_program_moves_the_chain,
);

struct Witness {
    kernel: Arc<bpfmand_kernel::linux::LinuxKernel>,
    netns: std::path::PathBuf,
    key: bpfman_model::HookKey,
    seen: Mutex<Vec<Vec<String>>>,
}

impl StepObserver for Witness {
    fn before(&self, operation: &'static str, _: &'static str) {
        if operation == "move" {
            self.seen.lock().unwrap().push(names(&*self.kernel, &self.netns, &self.key));
        }
    }
}

#[test]
fn while_the_list_is_put_right_everything_runs_at_every_moment() {
    let bench = crate::linux::bench("order");
    if !open(&bench) {
        return;
    }
    let witness = Arc::new(Witness {
        kernel: Arc::clone(&bench.kernel),
        netns: bench.netns.clone(),
        key: key(&bench),
        seen: Mutex::default(),
    });
    let engine = bench.watched(Arc::clone(&witness) as Arc<dyn StepObserver>);
    tango(&bench, &engine);
    let [xray, ..] = tcx(&bench, &engine);
    let link = engine.attached(xray, bench.tcx(1));
    assert_eq!(witness.seen.lock().unwrap().len(), 0, "nothing moves for one that comes");
    let chain = runs(&bench)[1].clone();
    put_last(&bench, link, xray);
    assert_eq!(engine.check_order(&key(&bench)).unwrap().moved.len(), 1);
    assert_eq!(list(&bench), ["xray", "chain"]);
    let seen = witness.seen.lock().unwrap();
    assert!(seen.len() > 4, "{seen:?}");
    for names in seen.iter() {
        let bridges = names.iter().filter(|name| *name == "bpfman_bridge").count();
        let there = |wanted: &str| names.iter().any(|name| name == wanted);
        assert!(there("xray") || bridges > 0, "{seen:?}");
        assert!(there(&chain) || bridges > 0, "{seen:?}");
        assert!(names.len() >= 2, "{seen:?}");
    }
    assert!(matches!(key(&bench).kind, HookKind::Tcx(_)));
}
