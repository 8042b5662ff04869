use bpfman_application::application::ClusterBpfApplication;
use bpfman_application::check;
use bpfman_application::spec::ApplicationSpec;
use bpfman_model::ProgramType;
use serde_json::{Value, json};

/// Types that the published API does not have.
const BEYOND: &[ProgramType] =
    ProgramType::ALL.split_at(10).1.split_at(ProgramType::MANIFEST_NAMES.len() - 10).0;

fn manifest() -> Value {
    serde_norway::from_str(include_str!("../points.yaml")).unwrap()
}

fn structure(manifest: &Value) -> Vec<String> {
    let spec = serde_json::from_value::<ClusterBpfApplication>(manifest.clone()).unwrap().spec;
    check::application(&ApplicationSpec::from(spec)).iter().map(ToString::to_string).collect()
}

/// Returns the index of a type's program, and the manifest with one value replaced.
fn changed(kind: ProgramType, pointer: &str, value: Value) -> (usize, Value) {
    let at = BEYOND.iter().position(|one| *one == kind).unwrap();
    let mut manifest = manifest();
    let program = &mut manifest["spec"]["programs"][at];
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    match program.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[field.parse::<usize>().unwrap()] = value,
        parent => parent[field] = value,
    }
    (at, manifest)
}

#[test]
fn every_type_is_taken() {
    assert_eq!(check::manifest(&manifest()), []);
    assert_eq!(structure(&manifest()), [""; 0]);
}

/// The local check covers API servers too old for the schema, and rules that a schema cannot express.
#[test]
fn each_field_is_held_against_its_rule() {
    use ProgramType as T;
    let long = "x".repeat(129);
    let functions = |count: usize, name: &str| json!(vec![name; count]);
    for (kind, pointer, value, says) in [
        (
            T::RawTracepoint,
            "/rawTracepoint/links/0/name",
            json!("sched/sched_switch"),
            "name: \"sched/sched_switch\" is no raw trace point",
        ),
        (T::BtfTracepoint, "/target", json!(long), "target: it has 129 characters: 1 to 128 are allowed"),
        (T::SkLookup, "/target", json!("x"), "target: it does not belong to type SkLookup"),
        (
            T::BtfTracepoint,
            "/loadedFor/links",
            json!([{ "mode": "Attach" }, { "mode": "Attach" }]),
            "loadedFor.links: it has 2 entries",
        ),
        (
            T::CgroupSock,
            "/cgroup/links/0/path",
            json!("web.service"),
            "cgroup.links[0].path: \"web.service\" is no cgroup",
        ),
        (
            T::CgroupSock,
            "/cgroup/links/0/path",
            json!("/a/../b"),
            "cgroup.links[0].path: \"/a/../b\" is no cgroup",
        ),
        (
            T::CgroupSock,
            "/cgroup/links/0/order",
            json!({ "before": [""] }),
            "cgroup.links[0].order.before[0]: \"\" names no program",
        ),
        (
            T::CgroupSock,
            "/netns",
            json!({}),
            "netns: it does not belong to type CgroupSock: only the block cgroup is allowed",
        ),
        (
            T::Syscall,
            "/cgroup",
            json!({}),
            "cgroup: it does not belong to type Syscall: it is loaded and attached nowhere",
        ),
        (
            T::SkLookup,
            "/netns/links/1/networkNamespaces",
            json!({ "pods": {} }),
            "netns.links[1]: netnsPath and networkNamespaces are both given",
        ),
        (
            T::SkLookup,
            "/netns/links/1/netnsPath",
            json!("blue"),
            "netns.links[1].netnsPath: \"blue\" is no absolute path",
        ),
        (
            T::SkLookup,
            "/netns/links/2/networkNamespaces/pods",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] }),
            "netns.links[2].networkNamespaces.pods.matchExpressions[0].operator: ",
        ),
        (
            T::Netfilter,
            "/netfilter/links/1/priority",
            json!(-400),
            "netfilter.links[1].priority: -400 is before fragments",
        ),
        (
            T::Netfilter,
            "/netfilter/links/0/priority",
            json!(i32::MAX),
            "netfilter.links[0].priority: 2147483647 is the kernel's own",
        ),
        (
            T::KprobeMulti,
            "/kprobeMulti/links/0/functions",
            json!([]),
            "functions: it has 0 entries: 1 to 1000 are allowed",
        ),
        (
            T::KprobeMulti,
            "/kprobeMulti/links/0/functions",
            functions(101, "tcp_*"),
            "functions: 101 of its entries are patterns",
        ),
        (
            T::KprobeMulti,
            "/kprobeMulti/links/0/functions/1",
            json!("a b"),
            "functions[1]: \"a b\" is neither a kernel function nor a pattern",
        ),
        (
            T::UprobeMulti,
            "/uprobeMulti/links/0/functions",
            functions(1001, "malloc"),
            "functions: it has 1001 entries",
        ),
        (
            T::UprobeMulti,
            "/uprobeMulti/links/0/target",
            json!(""),
            "uprobeMulti.links[0].target: it is empty",
        ),
        (
            T::UprobeMulti,
            "/uprobeMulti/links/0/pid",
            json!(0),
            "uprobeMulti.links[0].pid: 0 is no process id",
        ),
        (
            T::UprobeMulti,
            "/uprobeMulti/links/1/containers/pods",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] }),
            "containers.pods.matchExpressions[0].operator",
        ),
        (
            T::PerfEvent,
            "/perfEvent/links/0/period",
            json!(5),
            "perfEvent.links[0]: frequency and period are both given",
        ),
        (
            T::PerfEvent,
            "/perfEvent/links/0",
            json!({ "event": "cpu-clock" }),
            "perfEvent.links[0]: neither frequency nor period",
        ),
        (T::PerfEvent, "/perfEvent/links/0/frequency", json!(0), "perfEvent.links[0].frequency: 0 is never"),
        (
            T::PerfEvent,
            "/perfEvent/links/0/event",
            json!("CPU clock"),
            "perfEvent.links[0].event: \"CPU clock\" is no perf event",
        ),
        (T::SkMsg, "/sockmap/links/0/map", json!("a/b"), "sockmap.links[0].map: \"a/b\" is no name of a map"),
        (
            T::StructOps,
            "/structOps/links/0/map",
            json!(""),
            "structOps.links[0].map: \"\" is no name of a map",
        ),
        (T::Usdt, "/usdt/links/0/provider", json!(""), "usdt.links[0].provider: it is empty"),
        (
            T::Ksyscall,
            "/ksyscall/links/0/name",
            json!("open at"),
            "ksyscall.links[0].name: \"open at\" is no name of a system call",
        ),
        (
            T::Netkit,
            "/netkit/links/0/interface",
            json!("a/b"),
            "netkit.links[0].interface: \"a/b\" is no name of an interface",
        ),
    ] {
        let (at, manifest) = changed(kind, pointer, value);
        let found = structure(&manifest);
        assert_eq!(found.len(), 1, "{pointer}: {found:?}");
        assert!(
            found[0].starts_with(&format!("spec.programs[{at}].")) && found[0].contains(says),
            "{found:?} lacks {says:?}"
        );
    }
}

#[test]
fn words_that_are_none_are_named_with_those_that_are() {
    for (pointer, word, says) in [
        ("/netfilter/links/0/family", "IPv4", "family: \"IPv4\" is not allowed: ipv4, ipv6"),
        (
            "/netfilter/links/0/hook",
            "ingress",
            "hook: \"ingress\" is not allowed: prerouting, input, forward",
        ),
    ] {
        let (_, manifest) = changed(ProgramType::Netfilter, pointer, json!(word));
        let found: Vec<String> = check::manifest(&manifest).iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(says), "{found:?} lacks {says:?}");
    }
    let (_, manifest) = changed(ProgramType::SkLookup, "/type", json!("SkLockup"));
    let found = check::manifest(&manifest)[0].to_string();
    assert!(found.contains("\"SkLockup\" is not allowed") && found.contains("SkLookup"), "{found}");
}

#[test]
fn a_namespace_has_none_of_these_types() {
    let mut manifest = manifest();
    manifest["kind"] = json!("BpfApplication");
    let found = check::manifest(&manifest);
    for kind in BEYOND {
        let says = format!("\"{}\" is not allowed", kind.manifest_name().unwrap());
        assert!(found.iter().any(|problem| problem.message.starts_with(&says)), "{says}");
    }
}
