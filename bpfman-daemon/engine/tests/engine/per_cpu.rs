//! Attachments with one kernel link per CPU: all of them exist, or none.

use std::path::Path;

use bpfman_model::{AttachPoint, KernelLinkId, PerfEventPlace, Reason, SampleRate};
use bpfmand_engine::{Engine, EngineError, HookCheck, HookPart, LinkDetails, Standing, find_attached};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Kernel, KernelError};

use crate::bench::{Ask as _, Bench, Testable, pins, quick_folder};
use crate::points::clock;
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;

fn attached<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> LinkDetails {
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let link = engine.try_attach(program, clock(None)).unwrap();
    assert_eq!(link.standing, Standing::Running);
    link
}

fn members<K: Kernel>(bench: &Bench<K>, link: &LinkDetails) -> Vec<KernelLinkId> {
    let folder = link.pin.clone().unwrap();
    let pinned = pins(&*bench.kernel, &folder);
    let open = |pin: &String| bench.kernel.open_pin(Path::new(pin)).unwrap().unwrap();
    pinned.iter().map(|pin| bench.kernel.link_of(&open(pin)).unwrap().id).collect()
}

fn expected_pins(link: &LinkDetails, cpus: &[u32]) -> Vec<String> {
    let mut pins: Vec<_> = cpus.iter().map(|cpu| format!("links/{}/cpu_{cpu}", link.record.id)).collect();
    pins.sort();
    pins
}

fn live<K: Kernel>(bench: &Bench<K>, links: &[KernelLinkId]) -> usize {
    links.iter().filter(|id| bench.kernel.open_link(**id).unwrap().is_some()).count()
}

fn a_link_a_cpu_is_pinned_until_it_is_detached<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let link = attached(bench, &engine);
    let links = members(bench, &link);
    let cpus = bench.kernel.online_cpus().unwrap();
    assert_eq!(pins(&*bench.kernel, Path::new("links")), expected_pins(&link, &cpus));
    assert_eq!(live(bench, &links), cpus.len());
    assert_eq!(link.kernel_link.as_ref(), links.first());
    engine.detach(link.record.id).unwrap();
    assert_eq!(live(bench, &links), 0);
    assert_eq!(bench.kernel.list_folder(Path::new("links")).unwrap(), [""; 0], "the folder goes too");
    engine.unload(link.program.id).unwrap();
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

fn links_of_all_cpus_outlive_the_daemon<K: Testable>(bench: &Bench<K>) {
    let before = attached(bench, &bench.engine());
    let links = members(bench, &before);
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (0, Vec::new()));
    let now = engine.describe_link(before.record.id).unwrap();
    assert_eq!((now.standing.clone(), &now.record), (Standing::Running, &before.record));
    assert_eq!(members(bench, &now), links);
}

fn links_that_lost_pins_are_all_made_again<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let link = attached(bench, &engine);
    let (id, folder) = (link.record.id, link.pin.clone().unwrap());
    for lost in ["one", "all", "folder"] {
        let before = members(bench, &engine.describe_link(id).unwrap());
        match lost {
            "one" => bench.kernel.end_link(&folder.join("cpu_0")).unwrap(),
            "all" => {
                let all = pins(&*bench.kernel, &folder);
                all.iter().for_each(|pin| bench.kernel.end_link(Path::new(pin)).unwrap());
            }
            _ => bench.kernel.end_link(&folder).unwrap(),
        }
        let seen = engine.describe_link(id).unwrap().standing;
        let torn = matches!(seen, Standing::Torn { lacks: HookPart::CpuLinks, .. });
        assert!(torn || seen == Standing::Unpinned, "{lost}: {seen}");
        assert!(matches!(engine.check_link(id).unwrap(), HookCheck::Mended(_)), "{lost}");
        let now = engine.describe_link(id).unwrap();
        assert_eq!(now.standing, Standing::Running, "{lost}");
        assert_eq!(live(bench, &before), 0, "{lost}: links of before run on");
        assert_eq!(members(bench, &now).len(), bench.kernel.online_cpus().unwrap().len());
        assert_eq!(engine.check_link(id).unwrap(), HookCheck::Right, "{lost}");
    }
    // An empty folder does not count as a pin for a start or a new version.
    let empty = || {
        pins(&*bench.kernel, &folder).iter().for_each(|pin| bench.kernel.end_link(Path::new(pin)).unwrap())
    };
    empty();
    engine.replace_program(&replacement(bench, link.program.id, "points")).unwrap();
    drop(engine);
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (1, Vec::new()), "a start puts them back too");
    assert_eq!(engine.describe_link(id).unwrap().standing, Standing::Running);
    empty();
    engine.detach(id).unwrap();
    assert_eq!(bench.kernel.list_folder(Path::new("links")).unwrap(), [""; 0]);
}

fn a_new_version_runs_on_all_cpus<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let link = attached(bench, &engine);
    let before = members(bench, &link);
    engine.replace_program(&replacement(bench, link.program.id, "points")).unwrap();
    let now = engine.describe_link(link.record.id).unwrap();
    assert_eq!(now.standing, Standing::Running);
    assert_ne!(now.program.id, link.program.id);
    assert_eq!((members(bench, &now).len(), live(bench, &before)), (before.len(), 0));
    drop(engine);
    assert_eq!(bench.engine().describe_link(now.record.id).unwrap().standing, Standing::Running);
}

fn the_way_out_ends_all_and_a_start_puts_them_back<K: Testable>(bench: &Bench<K>) {
    let link = attached(bench, &bench.engine());
    let links = members(bench, &link);
    let found = find_attached(&*bench.kernel);
    assert_eq!((found.ours.len(), found.left), (links.len(), Vec::new()));
    found.ours.iter().for_each(|thing| thing.detach(&*bench.kernel).unwrap());
    assert_eq!(live(bench, &links), 0);
    let again = find_attached(&*bench.kernel);
    assert_eq!((again.ours, again.left), (Vec::new(), Vec::new()));
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems), (1, Vec::new()));
    assert_eq!(engine.describe_link(link.record.id).unwrap().standing, Standing::Running);
}

fn half_of_the_links_are_undone_by_a_start<K: Testable>(bench: &Bench<K>) {
    let link = attached(bench, &bench.engine());
    let pending = Path::new("pending/4711");
    bench.kernel.make_folder(&pending.join("link")).unwrap();
    let pin = Path::new(&pins(&*bench.kernel, &link.pin.clone().unwrap())[0]).to_owned();
    bench.kernel.rename(&pin, &pending.join("link/cpu_0")).unwrap();
    let left = bench.kernel.open_pin(&pending.join("link/cpu_0")).unwrap().unwrap();
    let id = bench.kernel.link_of(&left).unwrap().id;
    drop(left);
    let (engine, report) = bench.start();
    assert_eq!((report.settled, report.reattached, report.problems), (1, 1, Vec::new()));
    assert_eq!(live(bench, &[id]), 0);
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), [""; 0]);
    assert_eq!(engine.describe_link(link.record.id).unwrap().standing, Standing::Running);
}

fn links_without_a_record_are_told_and_can_be_removed<K: Testable>(bench: Bench<K>) {
    let link = attached(&bench, &bench.engine());
    let links = members(&bench, &link);
    let bench = Bench { folder: quick_folder(), ..bench };
    let (engine, _) = bench.start();
    let pin = link.pin.unwrap();
    assert!(engine.strays().unwrap().iter().any(|stray| stray.pin == pin), "{:?}", engine.strays());
    assert_eq!(live(&bench, &links), links.len());
    engine.remove_stray(&pin).unwrap();
    assert_eq!(live(&bench, &links), 0);
}

fn impossible_sample_rate_is_refused_without_changes<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let before = pins(&*bench.kernel, "".as_ref());
    let AttachPoint::PerfEvent { place } = clock(None) else { panic!("an event") };
    let often = SampleRate::Frequency(1 << 40);
    for (place, kind, says) in [
        (PerfEventPlace { rate: often, ..place }, Reason::Invalid, "this machine takes at most"),
        (PerfEventPlace { rate: often, cpu: Some(0), ..place }, Reason::Invalid, "1099511627776 samples"),
        (PerfEventPlace { cpu: Some(5000), ..place }, Reason::NotFound, "CPU 5000 is not online"),
    ] {
        let error = engine.try_attach(program, AttachPoint::PerfEvent { place }).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((pins(&*bench.kernel, "".as_ref()), engine.all_links().len()), (before.clone(), 0));
    }
    assert_eq!(bench.kernel.list_folder(Path::new("pending")).unwrap(), [""; 0]);
}

crate::on_both_kernels!(
    a_link_a_cpu_is_pinned_until_it_is_detached,
    links_of_all_cpus_outlive_the_daemon,
    links_that_lost_pins_are_all_made_again,
    a_new_version_runs_on_all_cpus,
    the_way_out_ends_all_and_a_start_puts_them_back,
    half_of_the_links_are_undone_by_a_start,
    impossible_sample_rate_is_refused_without_changes,
);

#[test]
fn simulated_links_without_a_record_are_told_and_can_be_removed() {
    links_without_a_record_are_told_and_can_be_removed(simulated_bench());
}

#[test]
fn linux_links_without_a_record_are_told_and_can_be_removed() {
    links_without_a_record_are_told_and_can_be_removed(crate::linux::bench("per_cpu_strays"));
}

#[test]
fn cpus_that_come_later_and_go_are_followed() {
    let bench = simulated_bench();
    let engine = bench.engine();
    bench.kernel.switch_cpus([0, 1]);
    let link = attached(&bench, &engine);
    let id = link.record.id;
    for cpus in [vec![0, 1, 2, 3], vec![0], vec![0, 2]] {
        bench.kernel.switch_cpus(cpus.iter().copied());
        let seen = engine.describe_link(id).unwrap();
        assert!(seen.standing.to_string().contains("CPUs were switched on or off"), "{}", seen.standing);
        assert!(matches!(engine.check_link(id).unwrap(), HookCheck::Mended(_)));
        assert_eq!(pins(&*bench.kernel, Path::new("links")), expected_pins(&link, &cpus));
        assert_eq!(engine.describe_link(id).unwrap().standing, Standing::Running);
    }
    drop(engine);
    bench.kernel.reboot();
    bench.kernel.switch_cpus([0, 3]);
    assert_eq!(bench.engine().describe_link(id).unwrap().standing, Standing::Running);
    assert_eq!(pins(&*bench.kernel, Path::new("links")), expected_pins(&link, &[0, 3]));
}

#[test]
fn a_change_of_cpus_that_fails_anywhere_is_made_up_for() {
    let prepared = || {
        let bench = simulated_bench();
        bench.kernel.switch_cpus([0, 1]);
        let engine = bench.engine();
        let link = attached(&bench, &engine);
        bench.kernel.switch_cpus([0, 1, 2]);
        (bench, engine, link)
    };
    let (bench, engine, link) = prepared();
    bench.kernel.note_calls();
    engine.check_link(link.record.id).unwrap();
    let calls = bench.kernel.calls().len() as u64;
    assert!(calls > 20, "so few calls: {calls}");
    for (call, lasting, restarted) in
        (1..=calls).flat_map(|call| [(call, false, false), (call, false, true), (call, true, true)])
    {
        let (bench, mut engine, link) = prepared();
        let id = link.record.id;
        if lasting {
            bench.kernel.fail_from(call)
        } else {
            bench.kernel.fail_call(call)
        }
        let _failed = engine.check_link(id);
        bench.kernel.fail_call(0);
        if restarted {
            drop(engine);
            engine = bench.engine();
        } else {
            engine.detach(engine.attached(link.program.id, clock(Some(0)))).unwrap();
        }
        engine.check_link(id).unwrap();
        assert_eq!(engine.describe_link(id).unwrap().standing, Standing::Running, "call {call}");
        let kept = pins(&*bench.kernel, Path::new("links"));
        assert_eq!(kept, expected_pins(&link, &[0, 1, 2]), "call {call}");
        let links = bench.kernel.snapshot().links.len();
        assert_eq!(
            (links, bench.kernel.list_folder(Path::new("pending")).unwrap()),
            (3, vec![]),
            "call {call}"
        );
    }
}

#[test]
fn a_thread_of_before_a_reboot_is_not_sampled_again() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let AttachPoint::PerfEvent { place } = clock(None) else { panic!("an event") };
    let of_one = AttachPoint::PerfEvent { place: PerfEventPlace { pid: Some(7), ..place } };
    let link = engine.attached(program, of_one);
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert!(report.problems.iter().any(|problem| problem.contains("process")), "{report:?}");
    assert_ne!(engine.describe_link(link).unwrap().standing, Standing::Running);
}

#[test]
fn a_counter_that_the_machine_does_not_have_is_named() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let AttachPoint::PerfEvent { place } = clock(None) else { panic!("an event") };
    let cycles = PerfEventPlace { event: "cycles".parse().unwrap(), ..place };
    let error = engine.try_attach(program, AttachPoint::PerfEvent { place: cycles }).unwrap_err();
    assert!(matches!(error, EngineError::Kernel(KernelError::NoCounter { event: "cycles" })), "{error}");
    assert_eq!(error.kind(), Reason::Unsupported);
    assert_eq!(engine.all_links().len(), 0);
}
