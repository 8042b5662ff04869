//! The state folder is lost or an older copy: running programs continue, and can be adopted or removed.

use std::path::{Path, PathBuf};

use bpfman_model::{Direction, HookKind, LinkId, OrderIntent, Reason, Sharing};
use bpfmand_engine::{AdoptRequest, AdoptWhat, Engine, StrayKind};
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable, pins, quick_folder};
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

/// Creates a chain of two programs joined by a tail call. The kernel clears its array if the pin is removed.
fn cut_chain<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> LinkId {
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let attach = |program, priority| {
        let sharing = Sharing { isolated: true, ..Sharing::default() };
        let request = bpfman_model::AttachRequest {
            sharing,
            ..bpfman_model::AttachRequest::new(program, bench.xdp(priority))
        };
        engine.attach(&request).unwrap().record.id
    };
    attach(alpha, 1);
    attach(bravo, 2)
}

fn seen<K: Kernel>(bench: &Bench<K>) -> (Vec<String>, Vec<String>) {
    let kernel = &*bench.kernel;
    let all = pins(kernel, Path::new(""));
    let links = all.iter().filter_map(|pin| kernel.link_of(&kernel.open_pin(Path::new(pin)).unwrap()?).ok());
    let links = links.map(|facts| format!("{} {} {:?}", facts.id, facts.program, facts.ifindex)).collect();
    (links, all)
}

fn lose_state<K: Kernel>(bench: Bench<K>) -> Bench<K> {
    Bench { folder: quick_folder(), ..bench }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn adopt<K: Kernel>(bench: &Bench<K>, link: bpfman_model::KernelLinkId, priority: i32) -> AdoptRequest {
    AdoptRequest {
        what: AdoptWhat::Link(link),
        interface: Some(bench.left()),
        priority,
        proceed_on: None,
        order: OrderIntent::default(),
        metadata: Default::default(),
        caller_uid: 0,
        owner: Default::default(),
    }
}

fn pins_of<K: Kernel>(engine: &Engine<K>) -> Vec<PathBuf> {
    engine.strays().unwrap().into_iter().map(|stray| stray.pin).collect()
}

fn programs_without_records_run_and_can_be_removed<K: Testable>(bench: Bench<K>) {
    let engine = bench.engine();
    cut_chain(&bench, &engine);
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
    let has_tcx = bench.kernel.features().tcx;
    if has_tcx {
        engine.attached(xray, bench.tcx(1));
    }
    drop(engine);
    let before = seen(&bench);
    let bench = lose_state(bench);
    let count = if has_tcx { 7 } else { 6 };
    for _ in 0..2 {
        let (engine, report) = bench.start();
        assert_eq!(seen(&bench), before, "nothing that runs was touched");
        assert_eq!(engine.strays().unwrap().len(), count, "{:?}", engine.strays());
        assert_eq!(report.problems.len(), count, "each is told: {report:?}");
        assert!(report.problems.iter().all(|problem| problem.contains("bpfman stray remove")), "{report:?}");
    }
    let (engine, _) = bench.start();
    // A new chain does not replace the pin of the old chain's link.
    let [charlie, tulip] = engine.loads(&bench.request("programs", &["charlie", "tulip"]))[..] else {
        panic!()
    };
    let points = [(charlie, bench.xdp(1)), (tulip, bench.tc(Direction::Ingress, 1))];
    for (program, point) in points.into_iter().take(if bench.tc_by_clsact || !has_tcx { 1 } else { 2 }) {
        let error = engine.try_attach(program, point).unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict, "{error}");
    }
    assert!(engine.all_links().is_empty());
    let error = engine.remove_stray(Path::new("links/4711")).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    for pin in pins_of(&engine) {
        engine.remove_stray(&pin).unwrap();
    }
    assert_eq!(pins_of(&engine), Vec::<PathBuf>::new());
    engine.attached(charlie, bench.xdp(1));
    engine.attached(tulip, bench.tc(Direction::Ingress, 1));
    engine.unload(charlie).unwrap();
    engine.unload(tulip).unwrap();
    drop(engine);
    assert_eq!(seen(&bench), (Vec::new(), Vec::new()));
    assert_eq!(bench.start().1.problems, Vec::<String>::new());
}

fn a_stray_chain_is_adopted_with_what_it_runs_on<K: Testable>(bench: Bench<K>) {
    let engine = bench.engine();
    cut_chain(&bench, &engine);
    drop(engine);
    let (links, _) = seen(&bench);
    let bench = lose_state(bench);
    let (engine, _) = bench.start();
    let strays = engine.strays().unwrap();
    let link = strays.iter().find_map(|stray| match stray.kind {
        StrayKind::Link { id, .. } => Some(id),
        _ => None,
    });
    let adopted = engine.adopt(&adopt(&bench, link.unwrap(), 50)).unwrap();
    assert_eq!(adopted.standing, Standing::Running);
    assert_eq!(seen(&bench).0, links, "the same link runs the same program");
    // The adopted chain is now reached by a tail call, and still needs its own arrays.
    let charlie = engine.loads(&bench.request("programs", &["charlie"]))[0];
    let beside = engine.attached(charlie, bench.xdp(10));
    let chains = |bench: &Bench<K>| -> Vec<String> {
        let all = pins(&*bench.kernel, Path::new("chains"));
        all.into_iter().filter(|pin| pin.contains("array_")).collect()
    };
    assert!(!chains(&bench).is_empty());
    let arrays = chains(&bench);
    drop(engine);
    let (engine, _) = bench.start();
    assert_eq!(chains(&bench), arrays);
    assert_eq!(engine.names(&bench.left(), XDP).len(), 2);
    engine.detach(beside).unwrap();
    engine.detach(adopted.record.id).unwrap();
    for pin in pins_of(&engine) {
        engine.remove_stray(&pin).unwrap();
    }
    engine.unload(charlie).unwrap();
    drop(engine);
    bench.engine();
    assert_eq!(seen(&bench), (Vec::new(), Vec::new()));
}

fn an_older_copy_of_the_records_ends_nothing<K: Testable>(bench: Bench<K>) {
    bench.kernel.add_interface(&bench.netns, "later");
    let engine = bench.engine();
    let [alpha, bravo, xray, yankee, tango] =
        engine.loads(&bench.request("programs", &["alpha", "bravo", "xray", "yankee", "tango"]))[..]
    else {
        panic!()
    };
    engine.attached(alpha, bench.xdp(1));
    drop(engine);
    let copy = quick_folder();
    copy_folder(bench.folder.path(), copy.path());
    let engine = bench.engine();
    let newest = engine.attached(bravo, bench.xdp(2));
    let later = bpfman_model::AttachPoint::Xdp {
        interface: bench.interface("later"),
        priority: 1,
        proceed_on: bpfman_model::ProceedOn::default_for(bpfman_model::VerdictFamily::Xdp),
    };
    engine.attached(bravo, later.clone());
    let has_tcx = bench.kernel.features().tcx;
    let tcx = if has_tcx { engine.attached(xray, bench.tcx(1)) } else { newest };
    drop(engine);
    let before = seen(&bench);
    let bench = Bench { folder: copy, ..bench };
    let (engine, report) = bench.start();
    assert_eq!(seen(&bench), before, "nothing that runs was touched: {report:?}");
    let strays = engine.strays().unwrap();
    assert_eq!(strays.len(), if has_tcx { 3 } else { 2 }, "{strays:?}");
    // Link ids from the lost period are not used again.
    let beside = if has_tcx { (yankee, bench.tcx(1)) } else { (tango, bench.tc(Direction::Ingress, 1)) };
    let other = engine.attached(beside.0, beside.1);
    assert!(other > tcx && other > newest, "{other}");
    assert_eq!(engine.describe_link(other).unwrap().standing, Standing::Running);
    assert_eq!(engine.try_attach(bravo, later.clone()).unwrap_err().kind(), Reason::Conflict);
    let newer = strays.iter().find(|stray| matches!(stray.kind, StrayKind::NewerChain { .. })).unwrap();
    assert_ne!(
        engine.all_links().iter().find(|link| link.program.id == alpha).unwrap().standing,
        Standing::Running
    );
    engine.remove_stray(&newer.pin).unwrap();
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha"]);
    for pin in pins_of(&engine) {
        engine.remove_stray(&pin).unwrap();
    }
    engine.attached(bravo, later);
    assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
    drop(engine);
    bench.engine();
}

mod simulated {
    use crate::simulated::bench;
    #[test]
    fn programs_without_records_run_and_can_be_removed() {
        super::programs_without_records_run_and_can_be_removed(bench());
    }
    #[test]
    fn filters_without_records_go_on_and_can_be_removed() {
        super::programs_without_records_run_and_can_be_removed(crate::bench::Bench {
            tc_by_clsact: true,
            ..bench()
        });
    }
    #[test]
    fn a_stray_chain_is_adopted_with_what_it_runs_on() {
        super::a_stray_chain_is_adopted_with_what_it_runs_on(bench());
    }
    #[test]
    fn an_older_copy_of_the_records_ends_nothing() {
        super::an_older_copy_of_the_records_ends_nothing(bench());
    }
}

mod linux {
    use crate::linux::bench;
    #[test]
    fn programs_without_records_run_and_can_be_removed() {
        super::programs_without_records_run_and_can_be_removed(bench("stray_remove"));
    }
    #[test]
    fn a_stray_chain_is_adopted_with_what_it_runs_on() {
        super::a_stray_chain_is_adopted_with_what_it_runs_on(bench("stray_adopt"));
    }
    #[test]
    fn an_older_copy_of_the_records_ends_nothing() {
        super::an_older_copy_of_the_records_ends_nothing(bench("older_records"));
    }
}
