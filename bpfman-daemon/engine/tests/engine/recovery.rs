//! Starts on a kernel that other processes have changed.

use std::path::Path;

use bpfman_model::{Direction, HookKind, ProgramType};

use crate::bench::{Ask as _, Bench, Testable, pins, tracepoint};
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;

fn fill<K: Testable>(bench: &Bench<K>) -> Vec<String> {
    let engine = bench.engine();
    let names = ["alpha", "bravo", "xray", "trace"];
    let [alpha, bravo, xray, trace] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
    engine.attached(alpha, bench.xdp(1));
    engine.attached(bravo, bench.xdp(2));
    if bench.kernel.features().tcx {
        engine.attached(xray, bench.tcx(1));
    }
    engine.attached(trace, tracepoint("sched_switch"));
    pins(&*bench.kernel, Path::new(""))
}

fn pin_of<K: Testable>(bench: &Bench<K>, folder: &str) -> String {
    pins(&*bench.kernel, Path::new("")).into_iter().find(|pin| pin.starts_with(folder)).unwrap()
}

fn start_when_the_kernel_has_let_go<K: Testable>(bench: &Bench<K>) -> bpfmand_engine::Engine<K> {
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    loop {
        let (engine, report) = bench.start();
        if report.problems.is_empty() {
            return engine;
        }
        assert!(std::time::Instant::now() < deadline, "{report:?}");
    }
}

fn a_second_start_changes_nothing<K: Testable>(bench: &Bench<K>) {
    let before = fill(bench);
    let records = bench.records();
    for _ in 0..3 {
        let (engine, report) = bench.start();
        assert_eq!((report.adopted, report.reloaded, report.reattached, report.settled), (4, 0, 0, 0));
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
        drop(engine);
        assert_eq!(pins(&*bench.kernel, Path::new("")), before);
        assert_eq!(bench.records(), records);
    }
}

fn a_pin_that_someone_removed_is_put_back<K: Testable>(bench: &Bench<K>) {
    let before = fill(bench);
    for folder in ["prog_", "xdp/", "links/"] {
        let pin = pin_of(bench, folder);
        bench.kernel.unpin(Path::new(&pin)).unwrap();
        let engine = start_when_the_kernel_has_let_go(bench);
        let states: Vec<_> = engine.all_links().into_iter().map(|link| link.standing).collect();
        assert!(states.iter().all(Standing::is_running), "{pin}: {states:?}");
        assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo"]);
        let members = engine.chain(&bench.left(), XDP).unwrap();
        let counts = engine.map_pins(members.members[0].program.id)["counts"];
        assert!(members.entry.unwrap().map_ids.iter().any(|id| id.0 == counts), "{pin}: one map of counts");
        drop(engine);
        let now = pins(&*bench.kernel, Path::new(""));
        assert_eq!(now.len(), before.len(), "{pin}: {now:?}");
    }
}

fn a_chain_that_was_swapped_without_a_record_is_put_back<K: Testable>(bench: &Bench<K>) {
    fill(bench);
    let engine = bench.engine();
    let before = engine.chain(&bench.left(), XDP).unwrap();
    let stranger = engine.loads(&bench.request("refused", &["tame"]))[0];
    drop(engine);
    {
        let kernel = &*bench.kernel;
        let link = kernel.open_pin(Path::new(&pin_of(bench, "xdp/"))).unwrap().unwrap();
        let expected = kernel.open_program(kernel.link_of(&link).unwrap().program).unwrap().unwrap();
        let program = kernel.open_program(stranger).unwrap().unwrap();
        kernel.replace(&link, &program, &expected).unwrap();
    }
    let (engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems.len()), (1, 0), "{report:?}");
    let after = engine.chain(&bench.left(), XDP).unwrap();
    assert_eq!((after.members, after.entry.unwrap().tag), (before.members, before.entry.unwrap().tag));
}

fn third_party_program_in_link_is_reported_and_kept<K: Testable>(bench: &Bench<K>) {
    fill(bench);
    let kernel = &*bench.kernel;
    let theirs = crate::kernel_rules::program(kernel, ProgramType::Xdp, 2, None);
    let link = kernel.open_pin(Path::new(&pin_of(bench, "xdp/"))).unwrap().unwrap();
    let expected = kernel.open_program(kernel.link_of(&link).unwrap().program).unwrap().unwrap();
    kernel.replace(&link, &theirs, &expected).unwrap();
    let id = kernel.program_of(&theirs).unwrap().id;
    let (_engine, report) = bench.start();
    assert_eq!((report.reattached, report.problems.len()), (0, 1), "{report:?}");
    assert_eq!(kernel.link_of(&link).unwrap().program, id);
    let named = format!("someone put program {id} \"rule\" into its link");
    assert!(report.problems[0].contains(&named), "{report:?}");
}

fn folders_of_unfinished_operations_are_cleared<K: Testable>(bench: &Bench<K>) {
    let before = fill(bench);
    {
        let kernel = &*bench.kernel;
        let program = kernel.open_pin(Path::new(&pin_of(bench, "prog_"))).unwrap().unwrap();
        for folder in ["pending/999999", "pending/nonsense", "pending/999998/maps_1"] {
            kernel.make_folder(Path::new(folder)).unwrap();
            kernel.pin(&program, &Path::new(folder).join("prog_1")).unwrap();
        }
        let key = kernel.find_hook(&bench.interface("right"), XDP).unwrap();
        let target = bpfmand_kernel::LinkTarget::Xdp {
            home: bench.home(),
            netns: Some(&bench.netns),
            ifindex: key.ifindex,
            mode: bpfmand_kernel::XdpMode::Generic,
        };
        let alpha = kernel
            .program_ids()
            .unwrap()
            .into_iter()
            .find(|id| {
                before.contains(&format!("prog_{id}"))
                    && kernel.program(*id).unwrap().unwrap().name == "alpha"
            })
            .unwrap();
        let alpha = kernel.open_program(alpha).unwrap().unwrap();
        let link = kernel.attach(&alpha, &target).unwrap();
        kernel.pin(&link, Path::new("pending/999999/link")).unwrap();
    }
    let (engine, report) = bench.start();
    assert_eq!((report.settled, report.problems.len()), (3, 0), "{report:?}");
    assert_eq!(pins(&*bench.kernel, Path::new("")), before);
    assert!(bench.kernel.list_folder(Path::new("pending")).unwrap().is_empty());
    let alpha = engine.chain(&bench.left(), XDP).unwrap().members[0].program.id;
    let right = match bench.xdp(0) {
        bpfman_model::AttachPoint::Xdp { priority, proceed_on, .. } => {
            bpfman_model::AttachPoint::Xdp { interface: bench.interface("right"), priority, proceed_on }
        }
        other => other,
    };
    engine.attached(alpha, right);
}

fn a_pending_folder_with_a_record_is_moved_into_place<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let before = pins(&*bench.kernel, Path::new(""));
    drop(engine);
    // State of a daemon that was killed between record and rename.
    let record = String::from_utf8(bench.records()[0].1.clone()).unwrap();
    let operation = record.split("\"operation\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let folder = Path::new("pending").join(operation);
    let kernel = &*bench.kernel;
    kernel.make_folder(&folder).unwrap();
    kernel.rename(Path::new(&format!("prog_{alpha}")), &folder.join(format!("prog_{alpha}"))).unwrap();
    kernel.rename(Path::new(&format!("maps/{alpha}")), &folder.join(format!("maps_{alpha}"))).unwrap();
    let (engine, report) = bench.start();
    assert_eq!((report.settled, report.adopted, report.problems.len()), (1, 1, 0), "{report:?}");
    assert_eq!(pins(kernel, Path::new("")), before);
    engine.unload(alpha).unwrap();
    assert_eq!(pins(kernel, Path::new("")), Vec::<String>::new());
}

fn removed_interface_is_reported_and_links_detachable<K: Testable>(
    bench: &Bench<K>,
    remove: impl Fn(&Bench<K>),
) {
    fill(bench);
    let engine = bench.engine();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    engine.attached(tango, bench.tc(Direction::Egress, 1));
    remove(bench);
    let network = |engine: &bpfmand_engine::Engine<K>| {
        engine.all_links().into_iter().filter(|link| link.hook.is_some()).collect::<Vec<_>>()
    };
    for link in network(&engine) {
        assert!(link.standing == Standing::Gone, "{}: {}", link.program.name, link.standing);
    }
    for link in network(&engine) {
        engine.detach(link.record.id).unwrap();
    }
    assert_eq!(engine.all_links().len(), 1);
    assert!(pins(&*bench.kernel, Path::new("xdp")).is_empty());
}

crate::on_both_kernels!(
    a_second_start_changes_nothing,
    a_pin_that_someone_removed_is_put_back,
    a_chain_that_was_swapped_without_a_record_is_put_back,
    third_party_program_in_link_is_reported_and_kept,
    folders_of_unfinished_operations_are_cleared,
    a_pending_folder_with_a_record_is_moved_into_place,
);

mod interfaces {
    use crate::bench::Bench;

    #[test]
    fn simulated_a_removed_interface_is_told() {
        for tc_by_clsact in [false, true] {
            let bench = Bench { tc_by_clsact, ..crate::simulated::bench() };
            super::removed_interface_is_reported_and_links_detachable(&bench, |bench| {
                bench.kernel.remove_interface(Some(&bench.netns), "left");
            });
        }
    }

    #[test]
    fn linux_a_removed_interface_is_told() {
        for tc_by_clsact in [false, true] {
            let bench = Bench { tc_by_clsact, ..crate::linux::bench(&format!("interfaces-{tc_by_clsact}")) };
            super::removed_interface_is_reported_and_links_detachable(&bench, |bench| {
                let namespace = bench.netns.file_name().unwrap().to_str().unwrap();
                crate::linux::remove_interface(namespace, "left");
            });
        }
    }
}
