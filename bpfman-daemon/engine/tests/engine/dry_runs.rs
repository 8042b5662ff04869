//! Dry runs return the kernel's answers, and leave nothing behind.

use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{AttachPoint, Direction, LoadRequest, OrderIntent, ProgramId, ProgramType, Reason};
use bpfmand_engine::{DryRunAttachment, DryRunOutcome, DryRunRequest, Engine};
use bpfmand_kernel::Kernel;

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use crate::on_both_kernels;

fn attachment(program: &str, point: AttachPoint) -> DryRunAttachment {
    DryRunAttachment {
        program: program.to_owned(),
        point,
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: BTreeMap::new(),
        reader: Default::default(),
    }
}

fn trial(load: LoadRequest, attachments: Vec<DryRunAttachment>, replaces: &[ProgramId]) -> DryRunRequest {
    DryRunRequest { load, attachments, replaces: replaces.iter().copied().collect(), group: None }
}

/// Returns pins, bytecode and records: without open descriptors, these include all programs and links.
fn all<K: Kernel>(bench: &Bench<K>, engine: &Engine<K>) -> (Vec<String>, usize, Vec<String>) {
    let bytecode = std::fs::read_dir(bench.folder.path().join("bytecode")).unwrap().count();
    let ids = engine.ids();
    let links = engine.all_links();
    let mut records: Vec<String> = ids.iter().map(|id| format!("program {id}")).collect();
    records.extend(links.iter().map(|link| format!("{link:?}")));
    (pins(&*bench.kernel, Path::new("")), bytecode, records)
}

/// An object lives by a pin, a descriptor or a hook: if all three are unchanged, nothing is left in the kernel.
fn held() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("anon_inode:bpf")).count()
}

fn names(outcome: &DryRunOutcome) -> Vec<&str> {
    outcome.chains.iter().map(|chain| chain.name.as_str()).collect()
}

fn dry_run_builds_chains_with_members_and_leaves_nothing<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let is_real = !bench.kernel.features().release.ends_with("-sim");
    let ours = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
    engine.attached(ours[0], bench.xdp(10));
    engine.attached(ours[1], bench.xdp(20));
    let (before, before_held) = (all(bench, &engine), held());
    let load = || bench.request("second", &["alpha", "tango"]);
    let points =
        || vec![attachment("alpha", bench.xdp(15)), attachment("tango", bench.tc(Direction::Ingress, 1))];
    let outcome = engine.dry_run(&trial(load(), points(), &[])).unwrap();
    assert!(outcome.accepted(), "{outcome:?}");
    let [alpha, tango] = &outcome.programs[..] else { panic!("{outcome:?}") };
    assert_eq!((alpha.name.as_str(), tango.name.as_str()), ("alpha", "tango"));
    let left = bench.netns.display();
    assert_eq!(names(&outcome), [format!("xdp:left@{left}"), format!("tc:left:ingress@{left}")]);
    let [xdp, tc] = &outcome.chains[..] else { panic!("{outcome:?}") };
    assert_eq!((xdp.members, xdp.strategy), (3, "splice"));
    assert_eq!(tc.members, 1);
    if is_real {
        for part in outcome.programs.iter().chain([xdp]) {
            assert!(part.jited_bytes > 0 && !part.load_time.is_zero(), "{part:?}");
            assert!(part.verified_insns > 0 || bench.kernel.features().version < (5, 16), "{part:?}");
        }
    }
    assert_eq!(outcome.composition.len(), 64, "others share a hook: {outcome:?}");
    assert_eq!(all(bench, &engine), before);
    assert_eq!(held(), before_held);

    let instead = engine.dry_run(&trial(load(), points(), &ours)).unwrap();
    assert!(instead.accepted(), "{instead:?}");
    assert_eq!(instead.chains[0].members, 1, "both are replaced");
    assert_eq!(instead.composition, "");
    let one = engine.dry_run(&trial(load(), points(), &ours[..1])).unwrap();
    assert_eq!(one.chains[0].members, 2);
    assert_ne!(one.composition, outcome.composition);
    assert_eq!(all(bench, &engine), before);
    assert!(engine.verify_chain(&bench.left(), bpfman_model::HookKind::Xdp, None).unwrap().matches());
}

fn refused_dry_run_has_the_verifier_log<K: Testable>(bench: &Bench<K>) {
    if bench.kernel.features().release.ends_with("-sim") {
        // The simulated verifier refuses programs by name, which the tests of faults cover.
        return;
    }
    let engine = bench.engine();
    let before = all(bench, &engine);
    let request = bench.request("refused", &["wild", "tame"]);
    let outcome = engine.dry_run(&trial(request, vec![attachment("tame", bench.xdp(1))], &[])).unwrap();
    assert!(!outcome.accepted());
    let [wild, tame] = &outcome.programs[..] else { panic!("{outcome:?}") };
    let error = wild.failure.as_ref().unwrap();
    assert_eq!(error.kind(), Reason::KernelRefused);
    assert!(!wild.verifier_line().is_empty(), "{wild:?}");
    assert!(error.verifier_log().unwrap().contains(wild.verifier_line().split("; ").next().unwrap()));
    assert!(tame.failure.is_none(), "one behind a refused one is tried too");
    assert_eq!((outcome.chains.len(), outcome.chains[0].strategy), (1, "direct"));
    assert_eq!(all(bench, &engine), before);
}

fn points_are_looked_up_and_named<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let before = all(bench, &engine);
    let absent = AttachPoint::Xdp {
        interface: bench.interface("absent"),
        priority: 1,
        proceed_on: bpfman_model::ProceedOn::default_for(bpfman_model::VerdictFamily::Xdp),
    };
    let outcome = engine
        .dry_run(&trial(
            bench.request("programs", &["alpha", "trace"]),
            vec![
                attachment("alpha", absent),
                attachment("alpha", bench.tc(Direction::Egress, 1)),
                attachment("trace", tracepoint("sched_switch")),
            ],
            &[],
        ))
        .unwrap();
    let [none, wrong, trace] = &outcome.chains[..] else { panic!("{outcome:?}") };
    assert!(none.name.starts_with("xdp:absent@"), "{none:?}");
    assert!(none.failure.as_ref().unwrap().to_string().contains("\"absent\" does not exist"), "{none:?}");
    assert!(wrong.failure.as_ref().unwrap().to_string().contains("alpha"), "{wrong:?}");
    assert!(trace.failure.is_none() && trace.members == 0, "{trace:?}");
    assert!(!outcome.accepted() && outcome.programs.iter().all(|part| part.failure.is_none()));
    assert_eq!(all(bench, &engine), before);

    for (request, says) in [
        (
            trial(bench.request("programs", &["alpha"]), vec![attachment("bravo", bench.xdp(1))], &[]),
            "\"bravo\"",
        ),
        (
            trial(bench.request("programs", &["alpha"]), vec![attachment("alpha", bench.xdp(-1))], &[]),
            "negative",
        ),
        (trial(bench.request("programs", &[]), Vec::new(), &[]), "no program"),
    ] {
        let error = engine.dry_run(&request).unwrap_err();
        assert_eq!(error.kind(), Reason::Invalid);
        assert!(error.to_string().contains(says), "{error}");
    }
    let missing = engine.dry_run(&trial(bench.request("programs", &["nobody"]), Vec::new(), &[])).unwrap();
    assert!(missing.failure.unwrap().to_string().contains("nobody"));
}

fn occupied_hook_is_reported_before_building<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let theirs = crate::kernel_rules::program(&*bench.kernel, ProgramType::Xdp, 2, None);
    let ifindex = bench.kernel.find_hook(&bench.left(), bpfman_model::HookKind::Xdp).unwrap().ifindex;
    let (home, netns) = (bench.home(), Some(&*bench.netns));
    let mode = bpfmand_kernel::XdpMode::Generic;
    let target = bpfmand_kernel::LinkTarget::Xdp { home, netns, ifindex, mode };
    let _held = bench.kernel.attach(&theirs, &target).unwrap();
    let request = trial(bench.request("programs", &["alpha"]), vec![attachment("alpha", bench.xdp(1))], &[]);
    let outcome = engine.dry_run(&request).unwrap();
    assert!(!outcome.accepted());
    assert_eq!(outcome.chains[0].failure.as_ref().unwrap().kind(), Reason::Conflict);
}

on_both_kernels!(
    dry_run_builds_chains_with_members_and_leaves_nothing,
    refused_dry_run_has_the_verifier_log,
    points_are_looked_up_and_named,
    occupied_hook_is_reported_before_building,
);

#[test]
fn a_trial_that_fails_anywhere_leaves_nothing() {
    let mut calls = 0;
    for number in 1.. {
        let bench = crate::simulated::bench();
        let engine = bench.engine();
        let ours = engine.loads(&bench.request("programs", &["alpha", "bravo"]));
        engine.attached(ours[0], bench.xdp(10));
        engine.attached(ours[1], bench.xdp(20));
        let before = (all(&bench, &engine), bench.kernel.snapshot());
        let request = trial(
            bench.request("second", &["alpha", "tango"]),
            vec![attachment("alpha", bench.xdp(15)), attachment("tango", bench.tc(Direction::Ingress, 1))],
            &ours[1..],
        );
        bench.kernel.fail_call(number);
        let outcome = engine.dry_run(&request);
        let reached = !bench.kernel.failure_pending();
        bench.kernel.fail_call(0);
        assert_eq!((all(&bench, &engine), bench.kernel.snapshot()), before, "call {number}");
        let records = {
            drop(engine);
            bench.records()
        };
        // As after a kill at this call: descriptors kept all new objects alive.
        let (engine, report) = bench.start();
        assert_eq!((report.problems, report.settled), (Vec::new(), 0));
        drop(engine);
        assert_eq!(bench.records(), records);
        if !reached {
            assert!(outcome.unwrap().accepted(), "without a fault it is accepted");
            calls = number;
            break;
        }
    }
    assert!(calls > 20, "{calls} calls are no trial");
}
