use std::path::Path;
use std::process::Command;

use bpfmand_object::{KernelBtf, ObjectFile};
use bpfmand_requirements::{KernelNeed, KernelView, LinuxVersion, NeedKind, ObjectNeeds, needs_of};

fn object() -> ObjectFile {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("needs-{}.o", std::process::id()));
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x86",
    };
    let done = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", &format!("-D__TARGET_ARCH_{arch}")])
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(["-c", "tests/needs.c", "-o"])
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
    of(NeedKind::Function, "tcp_connect");
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
    let (version, decided_by) = needs.deciding().unwrap();
    assert_eq!(version, LinuxVersion(5, 18));
    assert_eq!(decided_by, [&frags]);
}

#[test]
fn what_this_kernel_lacks_is_named_with_who_wants_it() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: this kernel has no BTF");
        return;
    };
    let (object, types) = (object(), KernelBtf::parse(bytes).unwrap());
    let needs = needs_of(&object);
    let lacks = KernelView { types: Some(&types), has_modules: true, version: None }.lacks(&object, &needs);
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
