//! Order of the programs at one hook of a cgroup.

use bpfman_model::{AttachPoint, LinkId, MapId, ProgramId, Reason, uapi::attach_type};
use bpfmand_engine::{Engine, UpdateLinkRequest};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::{KernelFacts as _, KernelObjects as _, LinkTarget, ListAnchor};

use crate::bench::{Ask as _, Bench, Testable};
use crate::intents::{attach, intent};
use crate::points_seen::{Group, python};

const PROGRAMS: [&str; 4] = ["one", "two", "three", "four"];

pub fn lacks_order<K: Testable>(bench: &Bench<K>) -> bool {
    let lacks = !bench.kernel.features().cgroup_order;
    if lacks {
        assert!(bench.kernel.features().version < (6, 17));
        println!("skipped: this kernel has no order among programs of a cgroup");
    }
    lacks
}

pub fn names<K: Testable>(bench: &Bench<K>, point: &AttachPoint) -> Vec<String> {
    let AttachPoint::Cgroup { path } = point else { panic!("{point}") };
    let contents = bench.kernel.group_contents(path, attach_type::CGROUP_INET_SOCK_CREATE).unwrap();
    let name = |(program, _): (ProgramId, _)| bench.kernel.program(program).unwrap().unwrap().name;
    contents.entries.into_iter().map(name).collect()
}

pub fn loaded<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> [ProgramId; 4] {
    engine.loads(&bench.request("ordered", &PROGRAMS)).try_into().unwrap()
}

fn order(id: LinkId, role: &str, before: &[&str], after: &[&str]) -> UpdateLinkRequest {
    UpdateLinkRequest { order: Some(intent(role, before, after)), ..UpdateLinkRequest::of(id) }
}

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
    let gate = attach(&engine, four, point.clone(), intent("gate", &[], &["two"])).unwrap().record.id;
    assert_eq!(now(), ["two", "four", "three", "one"]);
    assert!(engine.describe_link(waits.record.id).unwrap().waits_for.is_empty());

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

    drop(engine);
    let again = bench.engine();
    assert_eq!(now(), ["two", "one", "three"]);
    let lost = again.describe_link(first).unwrap();
    bench.kernel.end_link(lost.pin.as_ref().unwrap()).unwrap();
    again.check_link(first).unwrap();
    assert_eq!(now(), ["two", "one", "three"]);
}

fn impossible_order_is_refused_without_changes<K: Testable>(bench: &Bench<K>) {
    let (engine, group) = (bench.engine(), Group::new("refused"));
    let point = group.point();
    let [one, two, three, _] = loaded(bench, &engine);
    let first = engine.attached(one, point.clone());
    let links = engine.all_links().len();
    if !bench.kernel.features().cgroup_order {
        let error = attach(&engine, two, point.clone(), intent("", &["one"], &[])).unwrap_err();
        assert_eq!(error.kind(), Reason::Unsupported, "{error}");
        assert!(error.to_string().contains("order among programs of a cgroup"), "{error}");
        assert_eq!(names(bench, &point), ["one"]);
        return;
    }
    for (before, after, kind) in [
        (&["nobody"][..], &[][..], Reason::NotFound),
        (&["one"], &["one"], Reason::Conflict),
        (&[], &["foreign:nobody"], Reason::NotFound),
    ] {
        let error = attach(&engine, two, point.clone(), intent("", before, after)).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("sock_create of cgroup"), "{error}");
        assert_eq!((names(bench, &point), engine.all_links().len()), (vec!["one".to_owned()], links));
    }
    let second = engine.attached(two, point.clone());
    let error = attach(&engine, three, point.clone(), intent("", &["one"], &["two"])).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    let [named, other] = [first, second].map(|id| error.to_string().contains(&format!("link {id} at")));
    assert!(named != other, "{error} names one of them");
    assert_eq!(names(bench, &point), ["one", "two"]);
}

fn attach_as_third_party<K: Testable>(
    bench: &Bench<K>,
    program: ProgramId,
    point: &AttachPoint,
    anchor: ListAnchor,
) -> K::Handle {
    let AttachPoint::Cgroup { path } = point else { panic!("{point}") };
    let attach_type = attach_type::CGROUP_INET_SOCK_CREATE;
    let target = LinkTarget::Cgroup { path, attach_type, anchor, expected_revision: None };
    bench.kernel.attach(&bench.kernel.open_program(program).unwrap().unwrap(), &target).unwrap()
}

fn third_party_programs_stay_and_can_be_anchors<K: Testable>(bench: &Bench<K>) {
    if lacks_order(bench) {
        return;
    }
    let (engine, group) = (bench.engine(), Group::new("others"));
    let point = group.point();
    let [one, two, three, _] = loaded(bench, &engine);
    let theirs = attach_as_third_party(bench, three, &point, ListAnchor::Last);
    engine.attached(one, point.clone());
    attach(&engine, two, point.clone(), intent("", &["foreign:three"], &[])).unwrap();
    assert_eq!(names(bench, &point), ["two", "three", "one"]);
    drop(theirs);
}

fn order_broken_by_a_returning_program_is_reported<K: Testable>(bench: &Bench<K>) {
    if lacks_order(bench) {
        return;
    }
    let (engine, group) = (bench.engine(), Group::new("returning"));
    let point = group.point();
    let [one, two, three, four] = loaded(bench, &engine);
    let attach_third_party = |anchor| attach_as_third_party(bench, three, &point, anchor);
    let theirs = attach_third_party(ListAnchor::Last);
    let before = attach(&engine, one, point.clone(), intent("", &["foreign:three"], &[])).unwrap().record.id;
    let after = attach(&engine, two, point.clone(), intent("", &[], &["foreign:three"])).unwrap().record.id;
    engine.attached(four, point.clone());
    assert_eq!(names(bench, &point)[..3], ["one", "three", "two"]);
    let warnings = |link| engine.describe_link(link).unwrap().warnings;
    let broken = || engine.broken_orders().into_iter().map(|(link, _)| link).collect::<Vec<_>>();
    assert_eq!((warnings(before), warnings(after), broken()), (vec![], vec![], vec![]));
    drop(theirs);
    assert_eq!((warnings(before), warnings(after), broken()), (vec![], vec![], vec![]));
    let theirs = attach_third_party(ListAnchor::Last);
    assert_eq!((warnings(before), broken()), (vec![], vec![after]));
    let [told] = &warnings(after)[..] else { panic!() };
    assert!(told.contains("to run after third-party program \"three\", and runs before it"), "{told}");
    drop(theirs);
    let _theirs = attach_third_party(ListAnchor::First);
    assert_eq!((warnings(after), broken()), (vec![], vec![before]));
    let listed = engine.all_links().into_iter().find(|link| link.record.id == before).unwrap();
    assert!(listed.warnings[0].contains("to run before third-party program \"three\", and runs after it"));
}

/// Attaches `early` with BPF_F_PREORDER, with or without a link, and `plain` without that flag, until stdin closes;
/// `early` also to the group above, if there is one.
const OTHERS: &str = r#"
import ctypes, os, struct, sys
libc, keep = ctypes.CDLL(None, use_errno=True), []
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(bytes(attributes).ljust(168, b'\0'), 168)
    result = libc.syscall(int(sys.argv[3]), command, buffer, 168)
    return result if result >= 0 else -ctypes.get_errno()
def pointer(data):
    keep.append(ctypes.create_string_buffer(data))
    return ctypes.addressof(keep[-1])
def load(name):
    code = struct.pack('<BBhiBBhi', 0xb7, 0, 0, 1, 0x95, 0, 0, 0)
    attributes = bytearray(168)
    struct.pack_into('<IIQQ', attributes, 0, 9, 2, pointer(code), pointer(b'GPL'))
    attributes[48:48 + len(name)] = name
    struct.pack_into('<I', attributes, 68, 2)
    return bpf(5, attributes)
group = os.open(sys.argv[1], os.O_RDONLY)
programs = [load(b'early'), load(b'plain')]
if sys.argv[2] == 'link':
    first = bpf(28, struct.pack('<IIIIIIQ', programs[0], group, 2, 64, 0, 0, 0))
else:
    first = bpf(8, struct.pack('<IIII', group, programs[0], 2, 2 | 64))
if len(sys.argv) > 4 and first >= 0:
    above = os.open(sys.argv[4], os.O_RDONLY)
    first = bpf(28, struct.pack('<IIIIIIQ', programs[0], above, 2, 64, 0, 0, 0))
print(first if first < 0 else bpf(28, struct.pack('<IIIIIIQ', programs[1], group, 2, 0, 0, 0, 0)), flush=True)
sys.stdin.read()
"#;

pub struct Others(std::process::Child);

impl Drop for Others {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Returns the kernel's errno if it has no BPF_F_PREORDER.
pub fn others(group: &Group, early: &str, above: Option<&Group>) -> Result<Others, i32> {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let call = if cfg!(target_arch = "x86_64") { "321" } else { "280" };
    let mut child = Command::new("python3")
        .args(["-I", "-S", "-c", OTHERS])
        .arg(&group.folder)
        .args([early, call])
        .args(above.map(|above| &above.folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (others, result) = (Others(child), line.trim().parse::<i32>().unwrap());
    if result < 0 { Err(-result) } else { Ok(others) }
}

#[test]
fn linux_program_that_runs_before_all_others_is_no_anchor() {
    let bench = crate::linux::bench("preorder");
    if lacks_order(&bench) {
        return;
    }
    let engine: Engine<LinuxKernel> = bench.engine();
    let [one, two, three, _] = loaded(&bench, &engine);
    for early in ["link", "program"] {
        let group = Group::new(&format!("preorder_{early}"));
        let _others = match others(&group, early, None) {
            Ok(others) => others,
            // EINVAL: Linux before 6.15.
            Err(22) => {
                assert!(bench.kernel.features().version < (6, 15));
                return println!("skipped: this kernel has no BPF_F_PREORDER");
            }
            Err(error) => panic!("{early}: errno {error}"),
        };
        let point = group.point();
        let links = engine.all_links().len();
        let refused = |program, before: &[&str]| {
            let error = attach(&engine, program, point.clone(), intent("", before, &[])).unwrap_err();
            assert!(error.to_string().contains("BPF_F_PREORDER"), "{early}: {error}");
            assert_eq!(error.kind(), Reason::Invalid, "{error}");
        };
        refused(one, &["foreign:early"]);
        assert_eq!(
            (names(&bench, &point), engine.all_links().len()),
            (vec!["early".to_owned(), "plain".to_owned()], links)
        );
        let first =
            attach(&engine, one, point.clone(), intent("", &["foreign:plain"], &[])).unwrap().record.id;
        assert_eq!(names(&bench, &point), ["early", "one", "plain"], "{early}");
        let before = attach(&engine, two, point.clone(), intent("", &["one"], &[])).unwrap().record.id;
        assert_eq!(names(&bench, &point), ["early", "two", "one", "plain"], "{early}");
        refused(three, &["foreign:early", "one"]);
        let last =
            attach(&engine, three, point.clone(), intent("", &[], &["foreign:early"])).unwrap().record.id;
        assert_eq!(names(&bench, &point), ["early", "two", "one", "three", "plain"], "{early}");
        let error = engine.update_link(&order(last, "", &["foreign:early"], &[])).unwrap_err();
        assert!(error.to_string().contains("BPF_F_PREORDER"), "{early}: {error}");
        engine.update_link(&order(last, "", &["two"], &[])).unwrap();
        assert_eq!(names(&bench, &point), ["early", "three", "two", "one", "plain"], "{early}");
        for link in [first, before, last] {
            engine.detach(link).unwrap();
        }
    }
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
    impossible_order_is_refused_without_changes,
    third_party_programs_stay_and_can_be_anchors,
    order_broken_by_a_returning_program_is_reported,
);
