//! Adoption: permissions, links that are never adopted, and failures to undo.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};

use bpfman_model::{Direction, HookKey, HookKind, Interface, KernelLinkId, ProgramType, Reason};
use bpfmand_engine::{AdoptRequest, AdoptWhat, Engine, StepObserver};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{LinkTarget, ListAnchor};

use crate::adoption::{at_xdp, request, runs, stranger, watch};
use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::cases::cases;
use crate::kernel_rules::program;
use crate::scenes::own;

const SOMEBODY: u32 = 1234;

fn by_pin(path: &Path, caller_uid: u32) -> AdoptRequest {
    AdoptRequest { what: AdoptWhat::Pin(path.to_owned()), caller_uid, ..request(KernelLinkId(0), 5) }
}

fn only_root_may_name_links_and_pins_of_others<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    watch(bench, &engine, alpha);
    let theirs = stranger(bench, &at_xdp(bench), ProgramType::Xdp, 2);
    let before = pins(&*bench.kernel, Path::new(""));
    let by_id = AdoptRequest { caller_uid: SOMEBODY, ..request(theirs.id, 5) };
    // The answers do not reveal whether root's path exists.
    let mut answers = Vec::new();
    for path in ["/proc/self/ns/net", "/sys/fs/bpf/nothing-is-here"] {
        let error = engine.adopt(&by_pin(Path::new(path), SOMEBODY)).unwrap_err();
        assert_eq!(error.kind(), Reason::Denied, "{error}");
        answers.push(error.to_string().replace(path, ""));
    }
    assert_eq!(answers[0], answers[1]);
    let error = engine.adopt(&by_id).unwrap_err();
    assert_eq!(error.kind(), Reason::Denied, "{error}");
    assert!(error.to_string().contains("only root"), "{error}");
    assert_eq!((pins(&*bench.kernel, Path::new("")), engine.all_links().len()), (before, 1));
    assert_eq!(runs(bench, &theirs), theirs.program);
}

fn the_link_of_our_own_tc_chain_is_not_adopted<K: Testable>(bench: &Bench<K>) {
    if !bench.kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    engine.attached(tulip, bench.tc(Direction::Ingress, 2));
    let ours = engine.chain(&bench.left(), HookKind::Tc(Direction::Ingress)).unwrap().kernel_link.unwrap();
    let before = pins(&*bench.kernel, Path::new(""));
    let error = engine.adopt(&request(ours, 5)).unwrap_err();
    assert!(error.to_string().contains("is the one by which bpfman"), "{error}");
    assert_eq!((error.kind(), engine.all_links().len()), (Reason::Conflict, 2));
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
}

crate::on_both_kernels!(
    only_root_may_name_links_and_pins_of_others,
    the_link_of_our_own_tc_chain_is_not_adopted,
);

#[test]
fn linux_a_pin_of_ones_own_is_adopted() {
    let bench = crate::linux::bench("own_pin");
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    watch(&bench, &engine, alpha);
    let theirs = stranger(&bench, &at_xdp(&bench), ProgramType::Xdp, 2);
    bench.kernel.pin(&theirs.link, Path::new("stranger")).unwrap();
    let root = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let pin = root
        .lines()
        .filter(|line| line.starts_with("bpffs "))
        .filter_map(|line| Some(PathBuf::from(line.split(' ').nth(1)?).join("stranger")))
        .find(|pin| pin.exists())
        .unwrap();
    // A user's symbolic link to a pin of root is not the user's pin.
    let around = bench.folder.path().join("around");
    std::os::unix::fs::symlink(&pin, &around).unwrap();
    std::os::unix::fs::lchown(&around, Some(SOMEBODY), None).unwrap();
    for path in [&pin, &around] {
        let error = engine.adopt(&by_pin(path, SOMEBODY)).unwrap_err();
        assert_eq!(error.kind(), Reason::Denied, "{error}");
    }
    std::os::unix::fs::chown(&pin, Some(SOMEBODY), None).unwrap();
    let adopted = engine.adopt(&by_pin(&pin, SOMEBODY)).unwrap();
    assert_eq!((adopted.kernel_link, adopted.standing.name()), (Some(theirs.id), "ok"));
}

#[test]
fn simulated_concurrent_adoptions_of_a_program_make_one_record() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let kernel = &*bench.kernel;
    let theirs = program(kernel, ProgramType::Tc, -1, None);
    let left = Interface { name: "left".to_owned(), netns: None };
    let HookKey { netns, ifindex, .. } = kernel.find_hook(&left, HookKind::Xdp).unwrap();
    let home = netns.into();
    let links = [Direction::Ingress, Direction::Egress].map(|direction| {
        let anchor = ListAnchor::Last;
        let target =
            LinkTarget::Tcx { home, netns: None, ifindex, direction, anchor, expected_revision: None };
        kernel.attach(&theirs, &target).unwrap()
    });
    for round in 0..32 {
        let start = Barrier::new(links.len());
        std::thread::scope(|threads| {
            for link in &links {
                let wanted = AdoptRequest {
                    interface: Some(own("left")),
                    ..request(kernel.link_of(link).unwrap().id, 5)
                };
                let (engine, start) = (&engine, &start);
                threads.spawn(move || {
                    start.wait();
                    engine.adopt(&wanted).unwrap();
                });
            }
        });
        let adopted = engine.all_links();
        assert_eq!(adopted.len(), 2);
        for link in adopted {
            engine.detach(link.record.id).unwrap();
        }
        assert_eq!(engine.ids(), [], "round {round}");
    }
}

struct NotUndone(Mutex<Option<Arc<SimKernel>>>);

impl StepObserver for NotUndone {
    fn before(&self, operation: &'static str, step: &'static str) {
        if (operation, step) == ("adopt", "record")
            && let Some(kernel) = self.0.lock().unwrap().take()
        {
            kernel.fail_call(1);
            std::panic::resume_unwind(Box::new("the adoption ended"));
        }
    }
}

fn half_adopted(check: impl Fn(&Bench<SimKernel>, Engine<SimKernel>, KernelLinkId)) {
    let case = cases().into_iter().find(|case| case.name == "adopt a program that needs a check").unwrap();
    let ending = Arc::new(NotUndone(Mutex::default()));
    let bench = crate::simulated::bench();
    let engine = bench.watched(Arc::clone(&ending) as Arc<dyn StepObserver>);
    let scene = (case.before)(&bench, &engine);
    *ending.0.lock().unwrap() = Some(Arc::clone(&bench.kernel));
    catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene))).unwrap_err();
    check(&bench, engine, scene.theirs.unwrap());
}

fn is_given_back(bench: &Bench<SimKernel>, link: KernelLinkId) -> bool {
    let kernel = &*bench.kernel;
    let handle = kernel.open_link(link).unwrap().unwrap();
    let running = kernel.link_of(&handle).unwrap().program;
    if kernel.program(running).unwrap().unwrap().name == "rule" {
        return true;
    }
    let pending = pins(kernel, Path::new("pending"));
    for needed in ["/adopted_", "/prog_", "/chain/program_0", "/chain/array_0"] {
        assert!(pending.iter().any(|pin| pin.contains(needed)), "{needed} is not in {pending:?}");
    }
    false
}

#[test]
fn simulated_failed_undo_of_an_adoption_keeps_the_links_program() {
    half_adopted(|bench, engine, theirs| {
        assert!(!is_given_back(bench, theirs));
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        assert!(is_given_back(bench, theirs));
        engine.attached(alpha, bench.xdp(1));
        assert!(is_given_back(bench, theirs));
        drop(engine);
        let engine = bench.engine();
        assert!(is_given_back(bench, theirs));
        assert!(pins(&*bench.kernel, Path::new("pending")).is_empty());
        drop(engine);
    });
}

#[test]
fn simulated_failed_undo_of_adoption_is_left_to_the_next_start() {
    let mut kept = 0;
    for call in 1.. {
        let mut is_over = false;
        let over = std::cell::RefCell::new(&mut is_over);
        let seen = std::cell::Cell::new(0);
        half_adopted(|bench, engine, theirs| {
            drop(engine);
            let engine = Engine::open(Arc::clone(&bench.kernel), bench.options()).unwrap();
            bench.kernel.fail_call(call);
            let _ = engine.recover();
            **over.borrow_mut() = bench.kernel.failure_pending();
            bench.kernel.fail_call(0);
            if !is_given_back(bench, theirs) {
                seen.set(1);
            }
            drop(engine);
            let _engine = bench.engine();
            assert!(is_given_back(bench, theirs), "call {call}");
            assert!(pins(&*bench.kernel, Path::new("pending")).is_empty(), "call {call}");
        });
        kept += seen.get();
        if is_over {
            break;
        }
    }
    assert!(kept > 0, "some start could not undo it");
}
