//! CPU limits, on the simulated kernel with counters that tests set.

use std::time::Duration;

use bpfman_model::{
    CpuAction, CpuExcess, CpuLimit, CpuShare, InterfaceMatch, LinkId, MatchRequest, ProgramId, ProgramUid,
};
use bpfmand_engine::{CpuOutcome, Engine, OverLimit, excesses};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_splice::{CounterLayout, SpliceHook, TimeLayout};

use crate::bench::{Ask as _, Bench, pins};
use crate::replacements::replacement;

type Sim = Bench<SimKernel>;

const WINDOW: Duration = Duration::from_secs(10);

const fn limit(action: CpuAction) -> CpuLimit {
    CpuLimit { share: CpuShare(50_000), action }
}

fn limited(bench: &Sim, engine: &Engine<SimKernel>, name: &str, action: CpuAction) -> ProgramId {
    let mut request = bench.request("programs", &[name]);
    request.cpu = Some(limit(action));
    engine.loads(&request)[0]
}

fn window(bench: &Sim, engine: &Engine<SimKernel>, ran: &[(ProgramId, Duration)]) -> Vec<OverLimit> {
    let before = engine.read_cpu().unwrap();
    for (program, time) in ran {
        bench.kernel.ran(*program, u64::try_from(time.as_nanos()).unwrap());
    }
    let after = engine.read_cpu().unwrap();
    excesses(&engine.cpu_between(&before, &after), WINDOW, |_| None)
}

fn uid(engine: &Engine<SimKernel>, id: ProgramId) -> ProgramUid {
    engine.describe_program(id).unwrap().managed.unwrap().record.uid
}

fn excess(engine: &Engine<SimKernel>, id: ProgramId) -> Option<CpuExcess> {
    engine.describe_program(id).unwrap().managed.unwrap().excess
}

pub fn links(engine: &Engine<SimKernel>, id: ProgramId) -> Vec<LinkId> {
    engine.describe_program(id).unwrap().managed.unwrap().links
}

#[test]
fn over_limit_program_is_detached_until_attached_again() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let hot = limited(&bench, &engine, "alpha", CpuAction::Detach);
    let cold = limited(&bench, &engine, "bravo", CpuAction::Detach);
    engine.attached(hot, bench.xdp(10));
    let right = bpfman_model::AttachPoint::Xdp {
        interface: bench.interface("right"),
        priority: 10,
        proceed_on: bpfman_model::ProceedOn::default_for(bpfman_model::VerdictFamily::Xdp),
    };
    engine.attached(cold, right);
    assert_eq!(window(&bench, &engine, &[(hot, Duration::from_millis(500))]), []);
    let [found] = &window(&bench, &engine, &[(hot, Duration::from_millis(501))])[..] else { panic!() };
    assert_eq!((found.program, found.excess.used), (uid(&engine, hot), CpuShare(50_100)));
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { attachments: 1 });
    assert_eq!((links(&engine, hot), links(&engine, cold).len()), (vec![], 1));
    assert_eq!(excess(&engine, hot).unwrap().done, CpuAction::Detach);
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Gone);

    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    let programs = engine.list(&bpfman_model::Selector::default()).unwrap();
    let of = |name: &str| {
        let named = |managed: &bpfmand_engine::ManagedProgram| managed.record.name == name;
        programs.iter().find(|program| program.managed.as_ref().is_some_and(named)).unwrap().id
    };
    let (hot, cold) = (of("alpha"), of("bravo"));
    assert_eq!((links(&engine, hot), links(&engine, cold).len()), (vec![], 1));
    let told = excess(&engine, hot).unwrap();
    assert_eq!((told.used, told.limit), (CpuShare(50_100), limit(CpuAction::Detach)));
    engine.attached(hot, bench.xdp(10));
    assert_eq!((links(&engine, hot).len(), excess(&engine, hot)), (1, None));
}

#[test]
fn selector_does_not_attach_again_after_detach_for_cost() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let hot = limited(&bench, &engine, "alpha", CpuAction::Detach);
    let attach = bpfman_model::AttachRequest::new(hot, bench.xdp(10));
    let interfaces = InterfaceMatch::parse(["left"], [], [], [bench.netns.as_path()]).unwrap();
    engine.attach_matching(&MatchRequest { attach, interfaces }).unwrap();
    assert!(!links(&engine, hot).is_empty());
    let [found] = &window(&bench, &engine, &[(hot, WINDOW)])[..] else { panic!() };
    assert!(matches!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { .. }));
    assert_eq!(engine.list_matching().unwrap().len(), 0);
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert_eq!(links(&engine, hot), []);
}

#[test]
fn previous_version_returns_once_and_the_costly_one_never() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let old = limited(&bench, &engine, "alpha", CpuAction::Previous);
    engine.attached(old, bench.xdp(10));
    let hot = engine.replace_program(&replacement(&bench, old, "second")).unwrap().programs[0].id;
    let [found] = &window(&bench, &engine, &[(hot, WINDOW)])[..] else { panic!() };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::TookBack);
    assert_eq!((links(&engine, old).len(), excess(&engine, old).unwrap().done), (1, CpuAction::Previous));
    let [found] = &window(&bench, &engine, &[(old, WINDOW)])[..] else { panic!() };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { attachments: 1 });
    assert_eq!((links(&engine, old), excess(&engine, old).unwrap().done), (vec![], CpuAction::Detach));
    let lone = limited(&bench, &engine, "bravo", CpuAction::Previous);
    engine.attached(lone, bench.xdp(10));
    let [found] = &window(&bench, &engine, &[(lone, WINDOW)])[..] else { panic!() };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { attachments: 1 });
}

#[test]
fn a_warning_lasts_as_long_as_the_excess_and_changes_nothing() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let hot = limited(&bench, &engine, "alpha", CpuAction::Warn);
    let link = engine.attached(hot, bench.xdp(10));
    let [found] = &window(&bench, &engine, &[(hot, WINDOW)])[..] else { panic!() };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Warned);
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::StillOver);
    engine.forget_warnings_but(&[found.program]);
    assert_eq!((links(&engine, hot), excess(&engine, hot).unwrap().done), (vec![link], CpuAction::Warn));
    engine.forget_warnings_but(&[]);
    assert_eq!(excess(&engine, hot), None);
}

#[test]
fn a_hot_member_of_a_chain_goes_and_the_others_stay() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let cold = engine.loads(&bench.request("programs", &["bravo"]))[0];
    let hot = limited(&bench, &engine, "alpha", CpuAction::Detach);
    let stays = engine.attached(cold, bench.xdp(10));
    engine.attached(hot, bench.xdp(20));
    let shown = engine.show_chain(&bench.left(), bpfman_model::HookKind::Xdp).unwrap();
    assert!(shown.members.iter().all(|member| member.time.is_some()), "each member's time is taken");
    let entry = shown.entry.unwrap().id;
    let before = engine.read_cpu().unwrap();
    a_second_of_packets(&bench, entry);
    let after = engine.read_cpu().unwrap();
    let uses = engine.cpu_between(&before, &after);
    let of = |id| uses.iter().find(|one| one.program == uid(&engine, id)).unwrap().nanoseconds;
    assert!(of(cold) < 20_000_000 && of(hot) > 980_000_000, "{uses:?}");
    let [found] = &excesses(&uses, WINDOW, |_| None)[..] else { panic!() };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { attachments: 1 });
    assert_eq!((links(&engine, hot), links(&engine, cold)), (vec![], vec![stays]));
    let shown = engine.show_chain(&bench.left(), bpfman_model::HookKind::Xdp).unwrap();
    assert_eq!((shown.strategy, shown.members.len()), ("direct", 1), "nobody is measured any more");
}

/// The second member takes 100 times as long as the first.
fn a_second_of_packets(bench: &Sim, entry: ProgramId) {
    write(bench, "/times", TimeLayout::new(2).value_size(), &[1, 10_000, 1, 1_000_000, 1, 0]);
    let layout = CounterLayout::new(SpliceHook::Xdp, 2);
    let mut cells = vec![0; layout.slots * layout.columns];
    cells[layout.cell(2, 2)] = 1_000;
    write(bench, "/counters", layout.value_size(), &cells);
    bench.kernel.ran(entry, 1_000_000_000);
}

fn write(bench: &Sim, map: &str, size: usize, cells: &[u64]) {
    let pins = pins(&*bench.kernel, std::path::Path::new("chains"));
    let pin = pins.iter().find(|pin| pin.ends_with(map)).unwrap();
    let map = bench.kernel.open_pin(std::path::Path::new(pin)).unwrap().unwrap();
    let mut row: Vec<u8> = cells.iter().flat_map(|cell| cell.to_ne_bytes()).collect();
    row.resize(size, 0);
    let key = bench.kernel.find_hook(&bench.left(), bpfman_model::HookKind::Xdp).unwrap();
    bench.kernel.write_per_cpu(&map, CounterLayout::row(key.ifindex.0), &row).unwrap();
}

#[test]
fn kill_before_the_rollback_costs_another_window() {
    let mut failed = 0;
    for call in 1.. {
        let (bench, old, hot) = replaced();
        let engine = bench.engine();
        let [found] = window(&bench, &engine, &[(hot, WINDOW)]).try_into().unwrap();
        bench.kernel.fail_call(call);
        let result = engine.limit_cpu(&found);
        let pending = bench.kernel.failure_pending();
        bench.kernel.fail_call(0);
        if pending {
            assert_eq!(result.unwrap(), CpuOutcome::TookBack);
            break;
        }
        if result.is_err() {
            failed += 1;
            assert_eq!(links(&engine, hot).len(), 1, "it runs on");
            drop(engine);
            let engine = bench.engine();
            assert_eq!(engine.limit_cpu(&found).unwrap(), CpuOutcome::TookBack);
            assert_eq!(links(&engine, old).len(), 1);
        }
    }
    assert!(failed > 3, "{failed}");
}

fn replaced() -> (Sim, ProgramId, ProgramId) {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let old = limited(&bench, &engine, "alpha", CpuAction::Previous);
    engine.attached(old, bench.xdp(10));
    let hot = engine.replace_program(&replacement(&bench, old, "second")).unwrap().programs[0].id;
    drop(engine);
    (bench, old, hot)
}

#[test]
fn failed_rollback_of_a_version_does_not_prevent_detaching() {
    let mut detached = 0;
    for call in 1.. {
        let (bench, old, hot) = replaced();
        let engine = bench.engine();
        let [found] = window(&bench, &engine, &[(hot, WINDOW)]).try_into().unwrap();
        let failing = || {
            bench.kernel.fail_call(call);
            let result = engine.limit_cpu(&found);
            let pending = bench.kernel.failure_pending();
            bench.kernel.fail_call(0);
            (result, pending)
        };
        let (first, pending) = failing();
        if pending {
            break;
        }
        if first.is_ok() || links(&engine, hot).is_empty() {
            continue;
        }
        match failing() {
            // The second attempt makes fewer calls, so that none of them failed: the rollback was done.
            (Ok(CpuOutcome::TookBack), false) => assert_eq!(links(&engine, old).len(), 1),
            (Ok(outcome), false) => {
                detached += usize::from(outcome == CpuOutcome::Detached { attachments: 1 });
                assert_eq!(links(&engine, hot), []);
            }
            _ => {}
        }
    }
    assert!(detached > 3, "{detached}");
}

#[test]
fn short_lived_program_between_two_checks_is_charged_fully() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let second = 1_000_000_000;
    let took = |before: &_, after: &_| {
        let uses = engine.cpu_between(before, after);
        uses.iter().map(|one| (one.nanoseconds, one.is_loaded)).collect::<Vec<_>>()
    };
    let before = engine.read_cpu().unwrap();
    let one = limited(&bench, &engine, "alpha", CpuAction::Detach);
    engine.attached(one, bench.xdp(10));
    bench.kernel.ran(one, second);
    let after = engine.read_cpu().unwrap();
    assert_eq!(took(&before, &after), [(second, true)]);
    let before = after;
    bench.kernel.ran(one, second);
    let mut replacement = replacement(&bench, one, "second");
    replacement.keep_old = false;
    let two = engine.replace_program(&replacement).unwrap().programs[0].id;
    bench.kernel.ran(two, second);
    let after = engine.read_cpu().unwrap();
    assert_eq!(took(&before, &after), [(2 * second, true)]);
    let before = after;
    bench.kernel.ran(two, second);
    engine.unload(two).unwrap();
    let after = engine.read_cpu().unwrap();
    assert_eq!(took(&before, &after), [(second, false)]);
    engine.end_of_readings();
    let three = limited(&bench, &engine, "alpha", CpuAction::Detach);
    bench.kernel.ran(three, second);
    engine.unload(three).unwrap();
    let before = engine.read_cpu().unwrap();
    assert_eq!(took(&before, &engine.read_cpu().unwrap()), []);
}

#[test]
fn chain_rebuilt_between_two_checks_is_charged_to_its_members() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let cold = engine.loads(&bench.request("programs", &["bravo"]))[0];
    let hot = limited(&bench, &engine, "alpha", CpuAction::Detach);
    engine.attached(cold, bench.xdp(10));
    let link = engine.attached(hot, bench.xdp(20));
    let before = engine.read_cpu().unwrap();
    let entry = engine.show_chain(&bench.left(), bpfman_model::HookKind::Xdp).unwrap().entry.unwrap().id;
    a_second_of_packets(&bench, entry);
    engine.detach(link).unwrap();
    engine.attached(hot, bench.xdp(20));
    let after = engine.read_cpu().unwrap();
    let uses = engine.cpu_between(&before, &after);
    let of_hot = uses.iter().find(|one| one.program == uid(&engine, hot)).unwrap().nanoseconds;
    assert!(of_hot > 980_000_000, "{uses:?}");
}

#[test]
fn linux_slow_member_is_charged_its_own_time_and_detached_alone() {
    const BATCH: usize = 5_000;
    const SAMPLES: u64 = 20;
    let bench = crate::linux::bench("charged_for_what_it_takes");
    let engine = bench.engine();
    let trivial = engine.loads(&bench.request("timed", &["trivial"]))[0];
    let mut request = bench.request("timed", &["slow"]);
    request.cpu = Some(CpuLimit { share: CpuShare(1), action: CpuAction::Detach });
    let slow = engine.loads(&request)[0];
    let stays = engine.attached(trivial, bench.xdp(1));
    engine.attached(slow, bench.xdp(2));
    let _clock = bench.kernel.count_runs().unwrap();
    let before = engine.read_cpu().unwrap();
    let samples = || {
        let chain = engine.show_chain(&bench.left(), bpfman_model::HookKind::Xdp).unwrap();
        chain.members.iter().map(|member| member.time.unwrap().samples).min().unwrap()
    };
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while samples() < SAMPLES {
        assert!(std::time::Instant::now() < deadline, "{} samples", samples());
        crate::linux::send_packets(&bench, BATCH);
    }
    let after = engine.read_cpu().unwrap();
    let uses = engine.cpu_between(&before, &after);
    let of = |id: ProgramId| {
        let uid = engine.describe_program(id).unwrap().managed.unwrap().record.uid;
        uses.iter().find(|one| one.program == uid).unwrap().nanoseconds
    };
    println!("trivial {} ns, slow {} ns", of(trivial), of(slow));
    assert!(of(slow) > 10 * of(trivial), "{uses:?}");
    let [found] = &excesses(&uses, after.since(&before), |_| None)[..] else { panic!("{uses:?}") };
    assert_eq!(engine.limit_cpu(found).unwrap(), CpuOutcome::Detached { attachments: 1 });
    let links = engine.list_links(None, None, &Default::default()).unwrap();
    assert_eq!(links.iter().map(|link| link.record.id).collect::<Vec<_>>(), [stays]);
    assert!(links[0].standing.is_running());
}
