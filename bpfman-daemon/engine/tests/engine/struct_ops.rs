//! struct_ops: a TCP congestion control algorithm with four programs and one map.

use std::process::Command;

use bpfman_model::{AttachPoint, BytecodeSource, LoadRequest, Reason, TenantRules};
use bpfmand_engine::{Engine, EngineError, HookCheck, LinkDetails, Standing};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimOptions;
use bpfmand_object::{BtfFeatures, ObjectFile};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::objects::object;
use crate::simulated::{bench as simulated_bench, bench_of};
use crate::whole_loads::version;

pub const PROGRAMS: [&str; 4] = ["take", "threshold", "window", "grow"];

pub fn steady() -> AttachPoint {
    AttachPoint::StructOps { map: "steady".to_owned() }
}

pub fn kernel_types() -> Vec<u8> {
    let object = ObjectFile::parse(object("kernel_types")).unwrap();
    object.btf(BtfFeatures::ALL).unwrap().to_vec()
}

/// Names are unique in the kernel, and tests run in parallel.
fn algorithm() -> String {
    format!("bpfman_{:06x}", std::process::id() & 0xff_ffff)
}

/// The name has the same length as the object's own.
fn request_of<K: Testable>(bench: &Bench<K>, name: &str, programs: &[&str]) -> LoadRequest {
    const OWN: &[u8] = b"bpfman_steady";
    let mut bytes = object("struct_ops").to_vec();
    let at = bytes.windows(OWN.len()).position(|window| window == OWN).unwrap();
    bytes[at..at + OWN.len()].copy_from_slice(name.as_bytes());
    let path = bench.folder.path().join(format!("{name}.o"));
    std::fs::write(&path, bytes).unwrap();
    LoadRequest { source: BytecodeSource::File(path), ..bench.request("struct_ops", programs) }
}

fn request<K: Testable>(bench: &Bench<K>, programs: &[&str]) -> LoadRequest {
    request_of(bench, &algorithm(), programs)
}

fn lacks_links<K: Testable>(bench: &Bench<K>) -> bool {
    let lacks = bench.kernel.features().version < (6, 4);
    if lacks {
        println!("skipped: Linux before 6.4 has no struct_ops links");
    }
    lacks
}

fn attached<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> LinkDetails {
    let programs = engine.loads(&request(bench, &PROGRAMS));
    let link = engine.try_attach(programs[1], steady()).unwrap();
    assert_eq!(link.standing, Standing::Running);
    link
}

fn structures_of_functions_live_as_other_links_do<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let before = attached(bench, &bench.engine());
    let engine = bench.engine();
    let id = before.record.id;
    let now = engine.describe_link(id).unwrap();
    assert_eq!((now.standing, now.kernel_link), (Standing::Running, before.kernel_link), "a new daemon");
    bench.kernel.end_link(before.pin.as_ref().unwrap()).unwrap();
    assert!(matches!(engine.check_link(id).unwrap(), HookCheck::Mended(_)));
    let mended = engine.describe_link(id).unwrap();
    assert_eq!(mended.standing, Standing::Running);
    let old = engine.ids();
    let mut new = version(bench, &old, "struct_ops", &PROGRAMS);
    new.load.source = request(bench, &PROGRAMS).source;
    engine.replace_load(&new).unwrap();
    let replaced = engine.describe_link(id).unwrap();
    assert_eq!((replaced.standing, replaced.kernel_link), (Standing::Running, mended.kernel_link), "swapped");
    assert!(engine.ids().iter().all(|program| !old.contains(program)));
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.describe_link(id).unwrap().standing, Standing::Running, "a new daemon");
    engine.detach(id).unwrap();
    engine.ids().into_iter().for_each(|program| engine.unload(program).unwrap());
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

fn incomplete_struct_ops_are_refused<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let engine = bench.engine();
    let refused = |request: &LoadRequest, kind, says: &str| {
        let error = engine.load(request).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(&request(bench, &["take", "grow"]), Reason::Invalid, "needs program window, threshold too");
    let mut other = request(bench, &PROGRAMS);
    other.programs[0].target = Some("tcp_congestion_ops.no_such".to_owned());
    refused(&other, Reason::Invalid, "a member tcp_congestion_ops.no_such");
    let tenant = Some(TenantRules::of_containers());
    refused(&LoadRequest { tenant, ..request(bench, &PROGRAMS) }, Reason::Denied, "struct_ops");
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
    let loaded = engine.loads(&request(bench, &PROGRAMS));
    let twice = engine.loads(&request(bench, &PROGRAMS));
    let at = |name: &str| AttachPoint::StructOps { map: name.to_owned() };
    let link = engine.attached(loaded[0], steady());
    let before = pins(&*bench.kernel, "".as_ref());
    for (program, point, kind, says) in [
        (loaded[0], steady(), Reason::Conflict, "already"),
        (loaded[1], steady(), Reason::Conflict, "by the same name"),
        (twice[0], steady(), Reason::Conflict, "by the same name"),
        (loaded[0], at("nothing"), Reason::NotFound, "has no map \"nothing\""),
        (loaded[0], AttachPoint::Cgroup { path: "/".parse().unwrap() }, Reason::Precondition, "struct_ops"),
    ] {
        let error = engine.try_attach(program, point).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(pins(&*bench.kernel, "".as_ref()), before);
    }
    engine.detach(link).unwrap();
    engine.attached(twice[0], steady());
}

fn a_function_that_the_kernel_calls_stays<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let engine = bench.engine();
    let programs = engine.loads(&request(bench, &PROGRAMS));
    let link = engine.attached(programs[1], steady());
    let before = pins(&*bench.kernel, "".as_ref());
    let error = engine.unload(programs[0]).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid, "{error}");
    assert!(error.to_string().contains(&format!("detach link {link} first")), "{error}");
    assert_eq!(pins(&*bench.kernel, "".as_ref()), before);
    // Unloading the link's program ends the link, and the kernel no longer calls the others.
    engine.unload(programs[1]).unwrap();
    engine.unload(programs[0]).unwrap();
    assert_eq!(engine.ids().len(), 2);
}

fn functions_are_in_a_structure_of_their_own<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let engine = bench.engine();
    let owner = engine.loads(&request(bench, &PROGRAMS))[0];
    let before = pins(&*bench.kernel, "".as_ref());
    let sharing = LoadRequest { map_owner: Some(owner), ..request(bench, &PROGRAMS) };
    let error = engine.load(&sharing).unwrap_err().to_string();
    assert!(error.contains("map \"steady\" holds functions"), "{error}");
    assert_eq!(pins(&*bench.kernel, "".as_ref()), before);
}

crate::on_both_kernels!(
    a_function_that_the_kernel_calls_stays,
    functions_are_in_a_structure_of_their_own,
    structures_of_functions_live_as_other_links_do,
    incomplete_struct_ops_are_refused,
);

#[test]
fn structures_of_functions_are_back_after_a_reboot() {
    let bench = simulated_bench();
    let before = attached(&bench, &bench.engine());
    bench.kernel.reboot();
    let engine = bench.engine();
    assert_eq!(engine.describe_link(before.record.id).unwrap().standing, Standing::Running);
}

#[test]
fn remaining_struct_ops_programs_survive_reboot() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let programs = engine.loads(&request(&bench, &PROGRAMS));
    engine.unload(programs[0]).unwrap();
    drop(engine);
    bench.kernel.reboot();
    let (engine, report) = bench.start();
    assert_eq!((report.reloaded, report.problems), (3, Vec::new()));
    assert_eq!(engine.ids().len(), 3);
}

#[test]
fn kernels_without_links_of_structures_are_named() {
    let bench = bench_of(SimOptions { btf: Some(kernel_types()), ..SimOptions::linux_6_1() });
    let engine = bench.engine();
    // Without links nothing could keep the struct_ops map in use.
    let programs = engine.loads(&request(&bench, &PROGRAMS));
    let error: EngineError = engine.try_attach(programs[0], steady()).unwrap_err();
    assert_eq!((error.kind(), engine.all_links().len()), (Reason::Unsupported, 0));
    assert!(error.to_string().contains("Linux 6.4 or later"), "{error}");
}

fn sent_by(bench: &Bench<LinuxKernel>, algorithm: &str) -> String {
    let lines = format!(
        "
server = socket.create_server(('127.0.0.1', 0))
client = socket.socket()
try:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b'{algorithm}')
except FileNotFoundError:
    print('unknown')
else:
    client.connect(server.getsockname())
    other, _ = server.accept()
    client.sendall(b'x' * 100000)
    client.close()
    received = b''
    while piece := other.recv(1 << 16):
        received += piece
    print(len(received))"
    );
    crate::python::run(&bench.netns, None, &lines)
}

fn taken(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>) -> u64 {
    let program = engine.ids()[0];
    let maps = bench.kernel.program(program).unwrap().unwrap().map_ids;
    let map = bench.kernel.open_map(maps[0]).unwrap();
    let entries = bench.kernel.map_entries(&map, 1).unwrap();
    u64::from_ne_bytes(entries[0].value[..8].try_into().unwrap())
}

#[test]
fn linux_congestion_control_exists_only_while_attached() {
    let bench = crate::linux::bench("congestion");
    if lacks_links(&bench) {
        return;
    }
    let name = bench.netns.file_name().unwrap().to_str().unwrap();
    assert!(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]).status().unwrap().success());
    let algorithm = algorithm();
    let available = || {
        let list = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
        list.split_whitespace().any(|known| known == algorithm)
    };
    let engine = bench.engine();
    let programs = engine.loads(&request(&bench, &PROGRAMS));
    assert!(!available());
    assert_eq!(sent_by(&bench, &algorithm), "unknown", "before");
    let link = engine.attached(programs[0], steady());
    assert!(available());
    assert_eq!((sent_by(&bench, &algorithm), taken(&bench, &engine)), ("100000".to_owned(), 1), "attached");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(
        (sent_by(&bench, &algorithm), taken(&bench, &engine)),
        ("100000".to_owned(), 2),
        "no daemon needed"
    );
    let mut new = version(&bench, &programs, "struct_ops", &PROGRAMS);
    new.load.source = request(&bench, &PROGRAMS).source;
    engine.replace_load(&new).unwrap();
    assert_eq!((sent_by(&bench, &algorithm), taken(&bench, &engine)), ("100000".to_owned(), 1), "replaced");
    // A new version with another name would be another algorithm.
    new.programs = engine.ids();
    new.load.source = request_of(&bench, "bpfman_gauche", &PROGRAMS).source;
    let error = engine.replace_load(&new).unwrap_err();
    assert!(error.to_string().contains("has to stay the same"), "{error}");
    assert_eq!(sent_by(&bench, &algorithm), "100000", "the old one stays");
    engine.detach(link).unwrap();
    assert!(!available());
    assert_eq!(sent_by(&bench, &algorithm), "unknown", "detached");
}
