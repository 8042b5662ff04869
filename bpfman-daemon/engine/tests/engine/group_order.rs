//! Order among programs of one hook of a control group.

use bpfmand_core::{AttachPoint, LinkId, MapId, ProgramId, uapi::attach_type};
use bpfmand_engine::{Engine, ErrorKind, UpdateLinkRequest};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelObjects as _, LinkTarget, ListAnchor};

use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};
use crate::points_seen::{Group, python};

const PROGRAMS: [&str; 4] = ["one", "two", "three", "four"];

fn lacks_order<K: Testable>(bench: &Bench<K>) -> bool {
    let lacks = !bench.kernel.features().cgroup_order;
    if lacks {
        assert!(bench.kernel.features().version < (6, 17));
        println!("skipped: this kernel has no order among programs of a control group");
    }
    lacks
}

/// Names of the programs of a group as the kernel has them, first to last.
fn names<K: Testable>(bench: &Bench<K>, point: &AttachPoint) -> Vec<String> {
    let AttachPoint::Cgroup { path } = point else { panic!("{point}") };
    let contents = bench.kernel.group_contents(path, attach_type::CGROUP_INET_SOCK_CREATE).unwrap();
    let name = |(program, _): (ProgramId, _)| bench.kernel.program(program).unwrap().unwrap().name;
    contents.entries.into_iter().map(name).collect()
}

fn loaded<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> [ProgramId; 4] {
    engine.loads(&bench.request("ordered", &PROGRAMS)).try_into().unwrap()
}

fn order(id: LinkId, role: &str, before: &[&str], after: &[&str]) -> UpdateLinkRequest {
    UpdateLinkRequest { order: Some(intent(role, before, after)), ..UpdateLinkRequest::of(id) }
}

/// Programs come, change and go, and stand where they want to; a daemon that starts again finds them so.
fn programs_of_a_group_run_before_and_after_what_they_name<K: Testable>(bench: &Bench<K>) {
    if lacks_order(bench) {
        return;
    }
    let (engine, group) = (bench.engine(), Group::new("order"));
    let point = group.point();
    let [one, two, three, four] = loaded(bench, &engine);
    let now = || names(bench, &point);
    let first = engine.attached(one, point.clone());
    attach(&engine, two, point.clone(), intent("", &["one"], &[])).unwrap();
    assert_eq!(now(), ["two", "one"]);
    let waits =
        attach(&engine, three, point.clone(), intent("", &[&first.to_string()], &["role=gate"])).unwrap();
    assert_eq!(now(), ["two", "three", "one"]);
    let waiting: Vec<_> = waits.waits_for.iter().map(|one| format!("{} {}", one.side, one.anchor)).collect();
    assert_eq!(waiting, ["--after role=gate"]);
    // Who comes later takes the place that another one waits for.
    let gate = attach(&engine, four, point.clone(), intent("gate", &[], &["two"])).unwrap().record.id;
    assert_eq!(now(), ["two", "four", "three", "one"]);
    assert!(engine.describe_link(waits.record.id).unwrap().waits_for.is_empty());

    // A link moves, is there all the time, and keeps its number and its pin.
    let before = engine.describe_link(first).unwrap();
    engine.update_link(&order(first, "", &["role=gate"], &[])).unwrap_err();
    assert_eq!(now(), ["two", "four", "three", "one"], "three wants to be before one and after the gate");
    engine.update_link(&order(waits.record.id, "", &[], &["one"])).unwrap();
    assert_eq!(now(), ["two", "four", "one", "three"]);
    engine.update_link(&order(first, "", &["two"], &[])).unwrap_err();
    engine.update_link(&order(gate, "gate", &["two"], &[])).unwrap();
    assert_eq!(now(), ["four", "two", "one", "three"]);
    assert_eq!(engine.describe_link(first).unwrap().kernel_link, before.kernel_link, "it did not move");
    engine.detach(gate).unwrap();
    assert_eq!(now(), ["two", "one", "three"]);

    // A new daemon leaves what it finds, and puts back what is lost at its place.
    drop(engine);
    let again = bench.engine();
    assert_eq!(now(), ["two", "one", "three"]);
    let lost = again.describe_link(first).unwrap();
    bench.kernel.end_link(lost.pin.as_ref().unwrap()).unwrap();
    again.check_link(first).unwrap();
    assert_eq!(now(), ["two", "one", "three"]);
}

fn what_cannot_be_is_refused_and_nothing_changes<K: Testable>(bench: &Bench<K>) {
    let (engine, group) = (bench.engine(), Group::new("refused"));
    let point = group.point();
    let [one, two, three, _] = loaded(bench, &engine);
    let first = engine.attached(one, point.clone());
    let links = engine.all_links().len();
    if !bench.kernel.features().cgroup_order {
        let error = attach(&engine, two, point.clone(), intent("", &["one"], &[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains("order among programs of a control group"), "{error}");
        assert_eq!(names(bench, &point), ["one"]);
        return;
    }
    for (before, after, kind) in [
        (&["nobody"][..], &[][..], ErrorKind::NotFound),
        (&["one"], &["one"], ErrorKind::Conflict),
        (&[], &["foreign:nobody"], ErrorKind::NotFound),
    ] {
        let error = attach(&engine, two, point.clone(), intent("", before, after)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("sock_create of control group"), "{error}");
        assert_eq!((names(bench, &point), engine.all_links().len()), (vec!["one".to_owned()], links));
    }
    // Between two that stand the other way round: one of them would have to move.
    let second = engine.attached(two, point.clone());
    let error = attach(&engine, three, point.clone(), intent("", &["one"], &["two"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let [named, other] = [first, second].map(|id| error.to_string().contains(&format!("link {id} at")));
    assert!(named != other, "{error} names one of them");
    assert_eq!(names(bench, &point), ["one", "two"]);
}

fn programs_of_others_stay_and_can_be_named<K: Testable>(bench: &Bench<K>) {
    if lacks_order(bench) {
        return;
    }
    let (engine, group) = (bench.engine(), Group::new("others"));
    let point = group.point();
    let [one, two, three, _] = loaded(bench, &engine);
    let AttachPoint::Cgroup { path } = &point else { panic!() };
    let stranger = bench.kernel.open_program(three).unwrap().unwrap();
    let (attach_type, anchor) = (attach_type::CGROUP_INET_SOCK_CREATE, ListAnchor::Last);
    let target = LinkTarget::Cgroup { path, attach_type, anchor, expected_revision: None };
    let theirs = bench.kernel.attach(&stranger, &target).unwrap();
    engine.attached(one, point.clone());
    attach(&engine, two, point.clone(), intent("", &["foreign:three"], &[])).unwrap();
    assert_eq!(names(bench, &point), ["two", "three", "one"]);
    drop(theirs);
}

#[test]
fn linux_programs_of_a_group_run_in_the_order_that_is_asked_for() {
    let bench = crate::linux::bench("trail");
    if lacks_order(&bench) {
        return;
    }
    let (engine, group): (Engine<LinuxKernel>, _) = (bench.engine(), Group::new("trail"));
    let [one, two, three, four] = loaded(&bench, &engine);
    for (program, before) in [(one, None), (two, Some("one")), (three, Some("two")), (four, Some("one"))] {
        let intent = intent("", before.as_slice(), &[]);
        attach(&engine, program, group.point(), intent).unwrap();
    }
    python(&bench.netns, Some(&group), "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
    let map = bench.kernel.open_map(MapId(engine.map_pins(one)["trail"])).unwrap();
    let entries = bench.kernel.map_entries(&map, 32).unwrap();
    let values: Vec<u64> =
        entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap())).collect();
    assert_eq!(values[1..=4], [3, 2, 4, 1], "{values:?}");
}

crate::on_both_kernels!(
    programs_of_a_group_run_before_and_after_what_they_name,
    what_cannot_be_is_refused_and_nothing_changes,
    programs_of_others_stay_and_can_be_named,
);
