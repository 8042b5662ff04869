//! Fallbacks for each optional kernel feature, with its probe switched off on the real kernel.

use std::collections::BTreeSet;
use std::path::Path;

use bpfman_model::{
    AttachPoint, BytecodeSource, Direction, HookKind, LoadRequest, MapSpec, NetfilterFamily, NetfilterHook,
    NetfilterPlace, ProcessScope, ProgramId, ProgramType, Reason, TenantRules, map_type,
};
use bpfmand_engine::{Engine, EngineError, TracePacket};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, MapEntry, MapPlace, PROBES, Probe, SYSCALL_WRAPPERS};

use crate::bench::{Ask as _, Bench, pins};
use crate::extensions::{extension, filter};
use crate::intents::{attach, intent};
use crate::libxdp::Loader;
use crate::linux::{bench, bench_without};
use crate::objects::object;
use crate::points::netfilter;
use crate::points_seen::Group;
use crate::struct_ops::{PROGRAMS, steady};

type With<'a> = (&'a Bench<LinuxKernel>, &'a Engine<LinuxKernel>);

const INGRESS: HookKind = HookKind::Tc(Direction::Ingress);

/// The flag is true if the kernel itself has the feature.
type Look = fn(With<'_>, bool);

const FALLBACKS: [(&str, Look); 28] = [
    ("tcx", |with, there| {
        refuses(with, "xray", "programs", (with.0.tcx(1), there));
        let (bench, engine) = with;
        let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
        engine.attached(tango, bench.tc(Direction::Ingress, 1));
        assert_eq!(engine.show_chain(&bench.left(), INGRESS).unwrap().mode, "clsact");
    }),
    ("perf_links", |with, there| {
        refuses(with, "trace", "programs", (crate::bench::tracepoint("sched_switch"), there));
    }),
    ("frames_by_16", |with, there| {
        let ways = |with| chained(with, &["wide", "deep"]);
        assert_eq!(ways(with), ["function", "inline"]);
        if there {
            let bench = bench("frames");
            assert_eq!(ways((&bench, &bench.engine())), ["inline", "inline"]);
        }
    }),
    ("long_jumps", |with, there| {
        let calls =
            |with: With<'_>| chained(with, &["far", "wide"]).iter().filter(|way| *way == "function").count();
        assert_eq!(calls(with), 1);
        if there {
            let bench = bench("jumps");
            assert_eq!(calls((&bench, &bench.engine())), 0);
        }
    }),
    ("freplace", |(bench, engine), there| {
        let extended = filter(bench, engine);
        let error = engine.load(&extension(bench, "drops", extended)).unwrap_err();
        assert_eq!((error.kind(), engine.ids()), (Reason::Unsupported, vec![extended]), "{error}");
        engine.unload(extended).unwrap();
        if !there {
            println!("skipped: xdp-loader has no dispatcher where the kernel lacks freplace");
            return;
        }
        Loader::new(bench).load("xdpfilt_alw_eth", 20);
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        let error = engine.try_attach(alpha, bench.xdp(40)).unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict, "{error}");
    }),
    ("device_bound", |(bench, engine), there| {
        let driver = engine.load(&bench.request("fallbacks", &["asks_driver"]));
        match (driver, there) {
            (Err(error), _) => {
                let kinds = [Reason::Unsupported, Reason::KernelRefused, Reason::NotFound, Reason::Invalid];
                assert!(kinds.contains(&error.kind()) && engine.ids().is_empty(), "{error}");
            }
            (Ok(loaded), true) => {
                let error = engine.try_attach(loaded.programs[0].id, bench.xdp(1)).unwrap_err();
                assert_eq!(error.kind(), Reason::Unsupported, "{error}");
            }
            (Ok(_), false) => panic!("a program that asks the driver was loaded"),
        }
    }),
    ("kprobes", |with, there| {
        let probe = AttachPoint::Kprobe { function: "do_nothing".to_owned(), offset: 0 };
        refuses_as(with, ("probes_kernel", ProgramType::Kprobe), "fallbacks", (probe, there));
    }),
    ("uprobes", |with, there| {
        let target = "libc".to_owned();
        let (function, offset, scope) = (Some("strtold".to_owned()), 0, ProcessScope::default());
        let point = AttachPoint::Uprobe { target, function, offset, scope };
        refuses(with, "probe", "programs", (point, there));
    }),
    ("kprobe_multi", |with, there| refuses(with, "many_entries", "points", (kernel_functions(), there))),
    ("kprobe_session", |with, there| refuses(with, "many_sessions", "points", (kernel_functions(), there))),
    ("uprobe_multi", |with, there| {
        let (target, functions) = ("libc".to_owned(), vec!["strtold".to_owned()]);
        let point = AttachPoint::UprobeMulti { target, functions, scope: ProcessScope::default() };
        refuses(with, "many_functions", "points", (point, there));
    }),
    ("uprobe_session", |with, there| {
        let (target, functions) = ("libc".to_owned(), vec!["strtold".to_owned()]);
        let point = AttachPoint::UprobeMulti { target, functions, scope: ProcessScope::default() };
        refuses(with, "library_sessions", "openers", (point, there));
    }),
    ("sockmap_links", |with, there| {
        let point = AttachPoint::Sockmap { map: "connections".to_owned() };
        refuses(with, "nothing_sent", "sockets", (point, there));
    }),
    ("netkit", |with, there| {
        let point = AttachPoint::Netkit { interface: with.0.left() };
        refuses(with, "no_primary", "openers", (point, there));
    }),
    ("struct_ops_links", |with, _| {
        let (bench, engine) = with;
        let programs = engine.loads(&bench.request("struct_ops", &PROGRAMS));
        let before = pins(&*bench.kernel, Path::new(""));
        let error = engine.try_attach(programs[0], steady()).unwrap_err();
        assert!(matches!(error, EngineError::Kernel(KernelError::Unsupported { .. })), "{error:?}");
        assert_eq!((engine.all_links().len(), pins(&*bench.kernel, Path::new(""))), (0, before));
    }),
    ("trampoline_cookies", |with, _| refuses_tenants(with, "keep_return")),
    ("raw_cookies", |with, _| refuses_tenants(with, "raw_switch")),
    ("netfilter", |with, there| refuses(with, "no_packet", "points", (netfilter(with.0, 0), there))),
    ("netfilter_defragment", |with, there| {
        let (family, hook) = (NetfilterFamily::Ipv4, NetfilterHook::Input);
        let place = NetfilterPlace { family, hook, priority: 0, defragment: true };
        let whole = AttachPoint::Netfilter { netns: Some(with.0.netns.clone()), place };
        refuses(with, "no_packet", "points", (whole, there));
    }),
    ("netfilter_held", |with, there| refuses(with, "no_packet", "points", (netfilter(with.0, 0), there))),
    ("cgroup_order", |(bench, engine), _| {
        let group = Group::new("unordered");
        let [one, two] = engine.loads(&bench.request("ordered", &["one", "two"])).try_into().unwrap();
        engine.attached(one, group.point());
        let error = attach(engine, two, group.point(), intent("", &["one"], &[])).unwrap_err();
        assert!(matches!(error, EngineError::Kernel(KernelError::Unsupported { .. })), "{error:?}");
        engine.attached(two, group.point());
    }),
    ("netns_cookies", |(bench, engine), _| {
        let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
        engine.attached(alpha, bench.xdp(1));
        assert_eq!(bench.home().cookie, 0);
        engine.hold_namespaces().unwrap();
    }),
    ("xdp_contexts", |with, there| {
        let told = |(bench, engine): With<'_>| {
            let alpha = engine.loads(&bench.request("programs", &["alpha"]))[0];
            engine.attached(alpha, bench.xdp(1));
            let packet = TracePacket { data: vec![0; 64], mark: 0 };
            engine
                .trace_chain(&bench.left(), HookKind::Xdp, &[packet], bpfmand_engine::TraceLimits::default())
                .unwrap()
                .told_where
        };
        assert!(!told(with));
        if there {
            let bench = bench("contexts");
            assert!(told((&bench, &bench.engine())));
        }
    }),
    ("map_batches", |with, there| {
        // Reading and copying one by one gives the same.
        let walked = |(bench, _): With<'_>| {
            let spec = MapSpec::sized("walked", map_type::HASH, 4, 8, 1000);
            let (from, to) = (
                bench.kernel.create_map(&spec, None).unwrap(),
                bench.kernel.create_map(&spec, None).unwrap(),
            );
            for number in 0..700_u32 {
                let key = number.to_ne_bytes().to_vec();
                let entry = MapEntry { key, value: vec![7; 8] };
                bench.kernel.write_entry(&from, &entry).unwrap();
            }
            assert_eq!(bench.kernel.copy_map(&from, &to).unwrap(), 700);
            let page = bench.kernel.map_page(&to, &MapPlace::default()).unwrap();
            // Batches start small; one by one, a page is filled.
            assert!(!page.cut_short && page.keys.len() == 4 * page.count);
            page.count
        };
        assert_eq!(walked(with), 700);
        if there {
            let bench = bench("batches");
            assert!(walked((&bench, &bench.engine())) < 700);
        }
    }),
    ("btf_float", |with, there| assert_kind(with, 16, there)),
    ("btf_decl_tag", |with, there| assert_kind(with, 17, there)),
    ("btf_type_tag", |with, there| assert_kind(with, 18, there)),
    ("btf_enum64", |with, there| assert_kind(with, 19, there)),
];

fn kernel_functions() -> AttachPoint {
    let function = format!("{}getppid", SYSCALL_WRAPPERS.unwrap());
    AttachPoint::KprobeMulti { functions: vec![function.parse().unwrap()] }
}

/// Expects a refusal of the attachment, or of the load if the kernel lacks the program type.
fn refuses(with: With<'_>, program: &'static str, file: &'static str, (point, there): (AttachPoint, bool)) {
    let program_type = with.0.request(file, &[program]).programs[0].program_type;
    refuses_as(with, (program, program_type), file, (point, there));
}

fn refuses_as(
    (bench, engine): With<'_>,
    (program, program_type): (&'static str, ProgramType),
    file: &'static str,
    (point, there): (AttachPoint, bool),
) {
    let mut request = bench.request(file, &[program]);
    request.programs[0].program_type = program_type;
    let loaded = match engine.load(&request) {
        Ok(loaded) => loaded,
        // A kernel that does not know the type, or lacks its probe, reports it at load.
        Err(error) => {
            let kinds = [Reason::Unsupported, Reason::KernelRefused];
            assert!(!there || error.kind() == Reason::Unsupported, "{error}");
            assert!(kinds.contains(&error.kind()) && engine.ids().is_empty(), "{error}");
            return;
        }
    };
    let before = pins(&*bench.kernel, Path::new(""));
    let error = engine.try_attach(loaded.programs[0].id, point).unwrap_err();
    assert!(matches!(error, EngineError::Kernel(KernelError::Unsupported { .. })), "{error:?}");
    assert_eq!(error.kind(), Reason::Unsupported);
    assert_eq!((engine.all_links().len(), pins(&*bench.kernel, Path::new(""))), (0, before));
}

fn refuses_tenants((bench, engine): With<'_>, program: &str) {
    let tenant = Some(TenantRules::of_containers());
    let error = engine.load(&LoadRequest { tenant, ..bench.request("points", &[program]) }).unwrap_err();
    assert_eq!((error.kind(), engine.ids().len()), (Reason::Unsupported, 0), "{error}");
}

fn chained((bench, engine): With<'_>, programs: &[&str]) -> Vec<String> {
    for (priority, program) in (1..).zip(engine.loads(&bench.request("fallbacks", programs))) {
        engine.attached(program, bench.xdp(priority));
    }
    let view = engine.show_chain(&bench.left(), HookKind::Xdp).unwrap();
    view.members.iter().map(|member| member.way.name().to_owned()).collect()
}

/// The program loads without the BTF, and with it if the kernel supports it.
fn assert_kind(with: With<'_>, kind: u32, there: bool) {
    let kinds = |(bench, engine): With<'_>| {
        let mut request = bench.request("fallbacks", &["many_kinds"]);
        let path = bench.folder.path().join("kinds.o");
        std::fs::write(&path, with_enum64(object("fallbacks"))).unwrap();
        request.source = BytecodeSource::File(path);
        kinds_of(bench, engine.loads(&request)[0])
    };
    assert!(!kinds(with).contains(&kind));
    if there {
        let bench = bench("kinds");
        assert!(kinds((&bench, &bench.engine())).contains(&kind));
    }
}

/// Not every clang emits BTF_KIND_ENUM64: this converts the array of eight bytes into one.
fn with_enum64(object: &[u8]) -> Vec<u8> {
    let mut bytes = object.to_vec();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    // An array is name, kind, 0, type, index type, length; an enum64 is name, kind, size and its only value.
    let is_array = |at: &usize| [0, 4, 8, 20].map(|part| word(at + part)) == [0, 3 << 24, 0, 8];
    let array = (0..bytes.len() - 24).find(is_array).unwrap();
    for (part, value) in [19 << 24 | 1, 8, 1, 0, 0].into_iter().enumerate() {
        let at = array + 4 + 4 * part;
        bytes[at..at + 4].copy_from_slice(&u32::to_ne_bytes(value));
    }
    bytes
}

fn kinds_of(bench: &Bench<LinuxKernel>, program: ProgramId) -> BTreeSet<u32> {
    let handle = bench.kernel.open_program(program).unwrap().unwrap();
    let btf = bench.kernel.program_btf(&handle).unwrap().unwrap();
    let words: Vec<u32> =
        btf.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
    // Header: its length, the offset of the types behind it, and their length in bytes.
    let first = (words[1] + words[2]) as usize / 4;
    let end = first + words[3] as usize / 4;
    let (mut at, mut kinds) = (first, BTreeSet::new());
    while at < end {
        let (kind, parts) = (words[at + 1] >> 24 & 31, (words[at + 1] & 0xffff) as usize);
        kinds.insert(kind);
        at += 3 + match kind {
            1 | 14 | 17 => 1,
            3 => 3,
            4 | 5 | 15 | 19 => 3 * parts,
            6 | 13 => 2 * parts,
            _ => 0,
        };
    }
    assert_eq!(at, end);
    kinds
}

#[test]
fn linux_each_feature_of_the_kernel_can_be_done_without() {
    let named: Vec<&str> = FALLBACKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, PROBES.iter().map(|probe| probe.name).collect::<Vec<_>>());
    for ((name, seen), probe) in FALLBACKS.into_iter().zip(PROBES) {
        let there = bench(&format!("{name}-there")).kernel.features().has(probe);
        println!("without {name}; the kernel {} it", if there { "has" } else { "lacks" });
        let bench = bench_without(name, &[name]);
        assert!(!bench.kernel.features().has(probe));
        seen((&bench, &bench.engine()), there);
    }
}

#[test]
fn linux_probed_features_exist_since_their_kernel_version() {
    let bench = bench("versions");
    let features = bench.kernel.features();
    let brought = [
        ("tcx", (6, 6)),
        ("perf_links", (5, 15)),
        ("device_bound", (6, 3)),
        ("uprobe_multi", (6, 6)),
        ("raw_cookies", (6, 10)),
        ("uprobe_session", (6, 13)),
        ("sockmap_links", (6, 10)),
        ("struct_ops_links", (6, 4)),
        ("netfilter", (6, 4)),
        ("netfilter_defragment", (6, 6)),
        ("netns_cookies", (5, 14)),
        ("xdp_contexts", (5, 15)),
        ("map_batches", (5, 6)),
        ("btf_float", (5, 13)),
        ("btf_decl_tag", (5, 16)),
        ("btf_type_tag", (5, 17)),
        ("btf_enum64", (6, 0)),
    ];
    for (name, since) in brought {
        let has = features.has(Probe::named(name).unwrap());
        assert_eq!(has, features.version >= since, "{name} on {}", features.release);
    }
    // These were backported to older stable kernels.
    assert!(features.long_jumps || features.version < (6, 6), "{}", features.release);
    assert!(features.cgroup_order || features.version < (6, 17), "{}", features.release);
    // These depend on build options too.
    for (name, since) in [("kprobe_multi", (5, 18)), ("kprobe_session", (6, 10)), ("frames_by_16", (6, 12))] {
        let has = features.has(Probe::named(name).unwrap());
        assert!(!has || features.version >= since, "{name} on {}", features.release);
    }
}
