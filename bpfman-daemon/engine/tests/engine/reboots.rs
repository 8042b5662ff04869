//! After a reboot the kernel is empty and counts ids from 1: programs and attachments are restored from the store.

use std::path::Path;

use bpfman_model::{Direction, HookKind, Selector};
use bpfmand_engine::{Engine, ManagedProgram};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::{SimKernel, SimOptions};

use crate::bench::{Ask as _, Bench, pins, tracepoint};
use crate::simulated::{bench, bench_of};

fn managed(engine: &Engine<SimKernel>) -> Vec<ManagedProgram> {
    let ours = Selector { managed_only: true, ..Selector::default() };
    let mut all: Vec<_> = engine.list(&ours).unwrap().into_iter().filter_map(|p| p.managed).collect();
    all.sort_by_key(|program| program.record.uid);
    all
}

fn lasting(engine: &Engine<SimKernel>) -> Vec<String> {
    managed(engine)
        .iter()
        .map(|p| {
            format!(
                "{} {} {:?} {:?} {}",
                p.record.uid, p.record.name, p.links, p.record.global_data, p.standing
            )
        })
        .collect()
}

fn links(engine: &Engine<SimKernel>) -> Vec<String> {
    engine
        .all_links()
        .iter()
        .map(|l| {
            format!("{} {} {:?} {:?} {}", l.record.id, l.program.name, l.record.point, l.position, l.standing)
        })
        .collect()
}

/// They get the first ids of the new boot, so that new ids collide with old ones.
pub fn others_load_first(bench: &Bench<SimKernel>, count: usize) -> Vec<bpfmand_kernel::sim::SimHandle> {
    use bpfman_model::{BoundText, Insn};
    let text = BoundText::of_one_function(
        "other",
        "GPL",
        vec![Insn::new(0xb7, 0, 0, 0, 2), Insn::new(0x95, 0, 0, 0, 0)],
    );
    let load = bpfmand_kernel::ProgramLoad::new("other", &text, bpfman_model::ProgramType::Xdp.into());
    (0..count).map(|_| bench.kernel.load_program(&load).unwrap().program).collect()
}

fn fill(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) {
    let names = ["alpha", "bravo", "tango", "tulip", "xray", "yankee", "trace"];
    let mut request = bench.request("programs", &names);
    request.global_data.insert("verdict".to_owned(), 1_u32.to_ne_bytes().to_vec());
    let [alpha, bravo, tango, tulip, xray, yankee, trace] = engine.loads(&request)[..] else { panic!() };
    let mut shared = bench.request("programs", &["charlie"]);
    shared.map_owner = Some(alpha);
    let charlie = engine.loads(&shared)[0];
    engine.loads(&bench.request("sharing", &["host"]));
    engine.loads(&bench.request("sharing", &["guest"]));
    let mut tenant = bench.request("squatter", &["squatter"]);
    tenant.metadata.insert("bpfman.io/ProgramNamespace".to_owned(), "evil".to_owned());
    engine.loads(&tenant);
    for (program, point) in [
        (alpha, bench.xdp(5)),
        (bravo, bench.xdp(5)),
        (charlie, bench.xdp(1)),
        (tango, bench.tc(Direction::Ingress, 1)),
        (tulip, bench.tc(Direction::Ingress, 1)),
        (tulip, bench.tc(Direction::Egress, 1)),
        (xray, bench.tcx(3)),
        (yankee, bench.tcx(2)),
        (trace, tracepoint("sched_switch")),
    ] {
        engine.attached(program, point);
    }
}

fn check_restored(bench: &Bench<SimKernel>, engine: &Engine<SimKernel>) {
    let by_name = |wanted: &str| {
        let id = engine
            .ids()
            .into_iter()
            .find(|id| engine.describe_program(*id).unwrap().managed.unwrap().record.name == wanted);
        id.unwrap_or_else(|| panic!("{wanted} is listed"))
    };
    let maps = |name: &str| engine.map_pins(by_name(name));
    assert_eq!(maps("charlie")["counts"], maps("alpha")["counts"], "an owner's maps");
    assert_eq!(maps("bravo")["counts"], maps("alpha")["counts"], "maps of one object");
    assert_eq!(maps("host")["everyone"], maps("guest")["everyone"], "a map shared by name");
    let chain = engine.chain(&bench.left(), HookKind::Xdp).unwrap();
    assert_eq!(
        chain.members.iter().map(|m| m.program.name.as_str()).collect::<Vec<_>>(),
        ["charlie", "alpha", "bravo"]
    );
    let entry = chain.entry.unwrap();
    assert!(entry.map_ids.iter().any(|id| id.0 == maps("alpha")["counts"]));
    assert!(pins(&*bench.kernel, Path::new("pending")).is_empty());
}

fn everything_comes_back(bench: &Bench<SimKernel>, others: usize) {
    let engine = bench.engine();
    fill(bench, &engine);
    let (programs, attachments) = (lasting(&engine), links(&engine));
    let ids = engine.ids();
    check_restored(bench, &engine);
    drop(engine);
    for boot in 0..2 {
        bench.kernel.reboot();
        let _others = others_load_first(bench, others + boot);
        let (engine, report) = bench.start();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!((report.adopted, report.reloaded), (0, ids.len()));
        assert_eq!(lasting(&engine), programs);
        assert_eq!(links(&engine), attachments);
        assert_eq!(engine.ids().len(), ids.len(), "every program has an id of its own");
        check_restored(bench, &engine);
        drop(engine);
        let (_, report) = bench.start();
        assert_eq!(
            (report.adopted, report.reloaded, report.reattached, report.settled),
            (ids.len(), 0, 0, 0)
        );
    }
}

#[test]
fn everything_comes_back_after_a_reboot() {
    everything_comes_back(&bench(), 0);
}

#[test]
fn everything_comes_back_where_new_ids_meet_old_ones() {
    for others in [1, 2, 3, 5, 7] {
        everything_comes_back(&bench(), others);
    }
}

#[test]
fn everything_comes_back_at_clsact() {
    everything_comes_back(&Bench { tc_by_clsact: true, ..bench() }, 2);
}

#[test]
fn everything_comes_back_on_an_older_kernel() {
    let bench = bench_of(SimOptions::linux_6_1());
    let engine = bench.engine();
    let [tango, tulip] = engine.loads(&bench.request("programs", &["tango", "tulip"]))[..] else { panic!() };
    engine.attached(tango, bench.tc(Direction::Ingress, 1));
    engine.attached(tulip, bench.tc(Direction::Ingress, 0));
    let attachments = links(&engine);
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    assert_eq!(links(&engine), attachments);
}

#[test]
fn restoration_cut_short_is_completed_by_the_next_start() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct After(AtomicUsize);
    impl bpfmand_engine::StepObserver for After {
        fn before(&self, _: &'static str, _: &'static str) {
            if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
                std::panic::resume_unwind(Box::new("the daemon ended"));
            }
        }
    }

    let mut step = 1;
    loop {
        let bench = bench();
        let engine = bench.engine();
        fill(&bench, &engine);
        let (programs, attachments) = (lasting(&engine), links(&engine));
        drop(engine);
        bench.kernel.reboot();
        let _others = others_load_first(&bench, step % 4);
        let observer = Arc::new(After(AtomicUsize::new(step)));
        if catch_unwind(AssertUnwindSafe(|| drop(bench.watched(observer)))).is_ok() {
            break;
        }
        let (engine, report) = bench.start();
        assert_eq!(report.problems, Vec::<String>::new(), "step {step}");
        assert_eq!(lasting(&engine), programs, "step {step}");
        assert_eq!(links(&engine), attachments, "step {step}");
        assert_eq!(engine.ids().len(), programs.len(), "step {step}: an id of its own each");
        check_restored(&bench, &engine);
        step += 1;
    }
    assert!(step > 10, "{step} steps");
}

#[test]
fn sharers_of_a_gone_owner_still_share_after_a_reboot() {
    let bench = bench();
    let engine = bench.engine();
    let owner = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let mut request = bench.request("programs", &["bravo"]);
    request.map_owner = Some(owner);
    engine.loads(&request);
    engine.loads(&request);
    engine.unload(owner).unwrap();
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    let [first, second] = engine.ids()[..] else { panic!("two programs") };
    assert_eq!(engine.map_pins(first)["counts"], engine.map_pins(second)["counts"]);
    assert_eq!(pins(&*bench.kernel, Path::new("maps")).len(), 1);
    engine.unload(first).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("maps")).len(), 1);
    engine.unload(second).unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("")), Vec::<String>::new());
}
