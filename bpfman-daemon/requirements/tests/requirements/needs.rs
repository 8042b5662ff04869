use std::path::Path;
use std::process::Command;

use bpfmand_object::{KernelBtf, ObjectFile};
use bpfmand_requirements::{KernelNeed, KernelView, LinuxVersion, NeedKind, ObjectNeeds, needs_of};

fn object() -> ObjectFile {
    compiled("needs")
}

fn compiled(source: &str) -> ObjectFile {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{source}-{}.o", std::process::id()));
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x86",
    };
    let done = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", &format!("-D__TARGET_ARCH_{arch}")])
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(["-c", &format!("tests/{source}.c"), "-o"])
        .arg(&out)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = std::fs::read(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    ObjectFile::parse(bytes).unwrap()
}

fn need<'a>(needs: &'a ObjectNeeds, kind: NeedKind, name: &str) -> &'a KernelNeed {
    let found = needs.needs.iter().find(|need| need.kind == kind && need.name == name);
    found.unwrap_or_else(|| panic!("{} {name}: {:#?}", kind.name(), needs.needs))
}

#[test]
fn each_requirement_has_its_user_and_kernel_version() {
    let mut needs = needs_of(&object());
    let of = |kind, name| need(&needs, kind, name);
    let ring = of(NeedKind::MapType, "ringbuf");
    assert_eq!(ring.since.unwrap().version, LinuxVersion(5, 8));
    assert_eq!(ring.wanted_by, ["events".to_owned()].into());
    let reserve = of(NeedKind::Helper, "bpf_ringbuf_reserve");
    assert_eq!(reserve.wanted_by, ["sends_events".to_owned()].into());
    assert_eq!((reserve.since.unwrap().commit, reserve.is_optional), ("457f44363a88", false));
    assert!(of(NeedKind::Attachment, "kprobe").wanted_by.len() == 6);
    of(NeedKind::ProbedFunction, "tcp_connect");
    of(NeedKind::Tracepoint, "sched_switch");
    let family = of(NeedKind::Type, "struct sock.__sk_common.skc_family");
    assert!(!family.is_optional);
    let missing = of(NeedKind::Type, "struct sock.no_such_field");
    assert_eq!(missing.wanted_by.len(), 2);
    assert!(!missing.is_optional, "one program cannot do without");
    assert!(!of(NeedKind::Kfunc, "bpf_no_such_function").is_optional);
    assert!(of(NeedKind::Kfunc, "bpf_maybe_no_such_function").is_optional);
    // Programs that are loaded only on request do not determine the version.
    let optional = of(NeedKind::Attachment, "lsm");
    assert!(optional.is_optional && of(NeedKind::Feature, "programs that may sleep (.s)").is_optional);
    let frags = of(NeedKind::Feature, "packets in several buffers (.frags)");
    assert_eq!(frags.since.unwrap().version, LinuxVersion(5, 18));
    assert_eq!(needs.fixed_offsets, ["reads_at_a_fixed_offset"]);
    assert_eq!(needs.unsupported, [("for_nobody".to_owned(), "fsession/vfs_read".to_owned())]);
    assert_eq!(needs.damaged, []);
    let frags = frags.clone();
    assert_eq!(needs.deciding(), None);
    let unknown: Vec<&str> = needs.without_version().map(|need| need.name.as_str()).collect();
    assert_eq!(unknown, ["bpf_no_such_function"]);
    needs.needs.retain(|need| need.name != "bpf_no_such_function");
    assert_eq!(needs.deciding(), None, "one program is of a type that bpfman does not know");
    needs.unsupported.clear();
    let (version, decided_by) = needs.deciding().unwrap();
    assert_eq!(version, LinuxVersion(5, 18));
    assert_eq!(decided_by, [&frags]);
}

#[test]
fn hooks_and_options_have_versions_of_their_own() {
    let needs = needs_of(&compiled("newer"));
    for (kind, name, by, version) in [
        (NeedKind::Hook, "cgroup_inet4_connect", "connect4", Some((4, 17))),
        (NeedKind::Hook, "cgroup_inet4_getpeername", "getpeername4", Some((5, 8))),
        (NeedKind::Hook, "cgroup_unix_connect", "connect_unix", Some((6, 7))),
        (NeedKind::Hook, "cgroup_inet_sock_release", "sock_release", Some((5, 9))),
        (NeedKind::Iterator, "task_vma", "areas", Some((5, 12))),
        (NeedKind::Iterator, "of_tomorrow", "of_tomorrow", None),
        (NeedKind::Feature, "iterators that may sleep (iter.s)", "tasks", Some((5, 18))),
        (NeedKind::Feature, "probes of processes that may sleep (uprobe.s)", "sleeps", Some((6, 0))),
        (NeedKind::Feature, "programs that may sleep (.s)", "waits", Some((5, 10))),
        (NeedKind::Feature, "BPF_F_MMAPABLE", "mapped", Some((5, 5))),
        (NeedKind::Feature, "map flag 0x40000000", "unknown", None),
        (NeedKind::MapType, "ringbuf", "rings", Some((5, 8))),
    ] {
        let found = need(&needs, kind, name);
        let version = version.map(|(major, minor)| LinuxVersion(major, minor));
        assert_eq!(found.since.map(|since| since.version), version, "{name}");
        assert_eq!(found.wanted_by, [by.to_owned()].into(), "{name}");
    }
    let unknown: Vec<&str> = needs.without_version().map(|need| need.name.as_str()).collect();
    assert_eq!(unknown, ["of_tomorrow", "map flag 0x40000000"]);
    assert_eq!(needs.lowest(), None);
    let mut known = needs;
    known.needs.retain(|need| need.since.is_some());
    assert_eq!(known.lowest(), Some(LinuxVersion(6, 7)), "of cgroup/connect_unix");
}

#[test]
fn missing_features_are_named_with_their_users() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: this kernel has no BTF");
        return;
    };
    let (object, types) = (object(), KernelBtf::parse(bytes).unwrap());
    let needs = needs_of(&object);
    let lacks =
        KernelView { types: Some(&types), has_modules: true, ..KernelView::default() }.lacks(&object, &needs);
    // Uncertain: reads after another test, as in libbpf's own macros.
    let (certain, doubts): (Vec<_>, Vec<_>) = lacks.into_iter().partition(|lack| lack.is_certain);
    let types = doubts.iter().filter(|lack| !lack.what.starts_with("feature "));
    let doubted: Vec<&str> = types.flat_map(|lack| &lack.wanted_by).map(String::as_str).collect();
    assert_eq!(doubted, ["asks_for_the_newer_one"], "{doubts:#?}");
    let lacks = certain;
    let mut who: Vec<&str> = lacks.iter().flat_map(|lack| &lack.wanted_by).map(String::as_str).collect();
    who.sort_unstable();
    who.dedup();
    assert_eq!(who, ["calls_what_is_not_there", "reads_what_is_not_there"], "{lacks:#?}");
    assert_eq!(lacks.len(), 2, "{lacks:#?}");
    let field = lacks.iter().find(|lack| lack.what.contains("no_such_field")).unwrap();
    assert!(field.what.starts_with("struct sock.no_such_field"), "{field:?}");
    assert!(lacks.iter().any(|lack| lack.what == "kfunc bpf_no_such_function"), "{lacks:#?}");
}

#[test]
fn functions_that_are_gone_are_lacking_with_their_new_names() {
    let object = compiled("newer");
    let needs = needs_of(&object);
    let known = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let lack = |view: KernelView<'_>, by: &str| {
        let mut lacks = view.lacks(&object, &needs).into_iter();
        lacks.find(|lack| lack.what == "function do_unlinkat" && lack.wanted_by == [by])
    };
    let version = Some(LinuxVersion(7, 0));
    let of_7 = known(&["filename_unlinkat", "vfs_unlink"]);
    let view = KernelView { functions: Some(&of_7), version, ..KernelView::default() };
    let gone = lack(view, "on_old_name").unwrap();
    assert!(gone.is_certain && gone.is_for_attaching, "{gone:?}");
    assert!(gone.why.ends_with("since Linux 7.0 it is called filename_unlinkat"), "{gone:?}");
    let of_6 = known(&["do_unlinkat"]);
    assert_eq!(lack(KernelView { functions: Some(&of_6), version, ..view }, "on_old_name"), None);
    let nothing = KernelView { version, ..KernelView::default() };
    assert_eq!(lack(nothing, "on_old_name"), None, "nothing lists this kernel's functions");
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("SKIPPED(BTF): functions_that_are_gone_are_lacking_with_their_new_names");
        return;
    };
    let types = KernelBtf::parse(bytes).unwrap();
    for (has_modules, functions) in [(true, Some(&of_7)), (false, None)] {
        let view = KernelView { types: Some(&types), has_modules, functions, ..KernelView::default() };
        let lacks = view.lacks(&object, &needs);
        let of = |by: &str| lacks.iter().find(|lack| lack.wanted_by == [by]).unwrap();
        let (loaded, probed) = (of("for_no_function"), of("at_no_function"));
        assert_eq!((loaded.is_certain, loaded.is_for_attaching), (has_modules, false), "{loaded:?}");
        assert_eq!((probed.is_certain, probed.is_for_attaching), (has_modules, true), "{probed:?}");
    }
}

#[test]
fn without_types_the_version_decides() {
    let object = object();
    let needs = needs_of(&object);
    let lacks =
        |version| KernelView { version: Some(version), ..KernelView::default() }.lacks(&object, &needs);
    let of_5_4: Vec<String> = lacks(LinuxVersion(5, 4)).into_iter().map(|lack| lack.what).collect();
    for what in ["map type ringbuf", "helper bpf_probe_read_kernel", "attachment kprobe"] {
        assert!(of_5_4.iter().any(|lack| lack == what), "{what}: {of_5_4:?}");
    }
    let of_6_1 = lacks(LinuxVersion(6, 1));
    assert!(of_6_1.iter().all(|lack| lack.why.contains("no types of itself")), "{of_6_1:#?}");
    assert!(of_6_1.iter().any(|lack| lack.is_certain) && of_6_1.iter().any(|lack| !lack.is_certain));
    assert!(of_6_1.iter().any(|lack| lack.what == "type struct sock.__sk_common.skc_family"));
}
