//! Programs of sockmaps and sockets: they behave like other programs, and their verdicts apply.

use std::process::Command;

use bpfman_model::{AttachPoint, LoadRequest, MapId, Reason, TenantRules};
use bpfmand_engine::{Engine, EngineError, HookCheck, LinkDetails, Standing, WantedMap};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::sim::SimOptions;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::replacements::replacement;
use crate::simulated::{bench as simulated_bench, bench_of};

const PROGRAMS: [&str; 3] = ["nothing_sent", "whole_stream", "no_stream"];

pub fn connections() -> AttachPoint {
    AttachPoint::Sockmap { map: "connections".to_owned() }
}

fn lacks_links<K: Testable>(bench: &Bench<K>) -> bool {
    let lacks = bench.kernel.features().version < (6, 10);
    if lacks {
        println!("skipped: Linux before 6.10 has no links on sockmaps");
    }
    lacks
}

fn attached<K: Testable>(bench: &Bench<K>, engine: &Engine<K>) -> Vec<LinkDetails> {
    let programs = engine.loads(&bench.request("sockets", &PROGRAMS));
    let at = |program| engine.try_attach(program, connections()).unwrap();
    let links: Vec<_> = programs.into_iter().map(at).collect();
    assert!(links.iter().all(|link| link.standing == Standing::Running));
    links
}

fn programs_of_a_map_live_as_others_do<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let before = attached(bench, &bench.engine());
    let engine = bench.engine();
    for link in &before {
        let id = link.record.id;
        let now = engine.describe_link(id).unwrap();
        assert_eq!((now.standing, now.kernel_link), (Standing::Running, link.kernel_link), "a new daemon");
        bench.kernel.end_link(link.pin.as_ref().unwrap()).unwrap();
        assert!(matches!(engine.check_link(id).unwrap(), HookCheck::Mended(_)));
        let mended = engine.describe_link(id).unwrap();
        assert_eq!(mended.standing, Standing::Running);
        engine.replace_program(&replacement(bench, mended.program.id, "sockets")).unwrap();
        let replaced = engine.describe_link(id).unwrap();
        assert_eq!(
            (replaced.standing, replaced.kernel_link),
            (Standing::Running, mended.kernel_link),
            "swapped"
        );
        assert_ne!(replaced.program.id, mended.program.id);
    }
    before.iter().for_each(|link| engine.detach(link.record.id).unwrap());
    engine.ids().into_iter().for_each(|program| engine.unload(program).unwrap());
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

fn a_map_takes_one_program_at_each_hook<K: Testable>(bench: &Bench<K>) {
    if lacks_links(bench) {
        return;
    }
    let engine = bench.engine();
    let [stream, data] = engine.loads(&bench.request("sockets", &["no_stream", "no_data"]))[..] else {
        panic!()
    };
    let link = engine.attached(stream, connections());
    let before = pins(&*bench.kernel, "".as_ref());
    for other in [stream, data] {
        let error = engine.try_attach(other, connections()).unwrap_err();
        assert_eq!(error.kind(), Reason::Conflict, "{error}");
        assert_eq!(pins(&*bench.kernel, "".as_ref()), before);
    }
    engine.detach(link).unwrap();
    engine.attached(data, connections());
}

fn map_other_than_sockmap_is_refused<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let program = engine.loads(&bench.request("sockets", &["nothing_sent"]))[0];
    let other = engine.loads(&bench.request("points", &["tcp_events"]))[0];
    let before = pins(&*bench.kernel, "".as_ref());
    let at = |name: &str| AttachPoint::Sockmap { map: name.to_owned() };
    for (program, point, kind, says) in [
        (program, at("runs"), Reason::Invalid, "map \"runs\" of program"),
        (program, at("nothing"), Reason::NotFound, "has no map \"nothing\""),
        (program, AttachPoint::Cgroup { path: "/".parse().unwrap() }, Reason::Precondition, "sk_msg"),
        (other, at("runs"), Reason::Precondition, "sock_ops"),
    ] {
        let error = engine.try_attach(program, point).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((pins(&*bench.kernel, "".as_ref()), engine.all_links().len()), (before.clone(), 0));
    }
    let tenant = Some(TenantRules::of_containers());
    let denied = engine.load(&LoadRequest { tenant, ..bench.request("sockets", &["nothing_sent"]) });
    assert_eq!(denied.unwrap_err().kind(), Reason::Denied);
    let mut request = bench.request("sockets", &["no_stream"]);
    request.programs[0].target = Some("connect4".to_owned());
    let error = engine.load(&request).unwrap_err();
    assert!(error.to_string().contains("one of stream_parser, stream_verdict, verdict"), "{error}");
}

crate::on_both_kernels!(
    programs_of_a_map_live_as_others_do,
    a_map_takes_one_program_at_each_hook,
    map_other_than_sockmap_is_refused,
);

#[test]
fn maps_of_sockets_get_their_programs_back_after_a_reboot() {
    let bench = simulated_bench();
    let before = attached(&bench, &bench.engine());
    bench.kernel.reboot();
    let engine = bench.engine();
    for link in before {
        assert_eq!(engine.describe_link(link.record.id).unwrap().standing, Standing::Running);
    }
}

#[test]
fn older_kernels_without_such_links_are_named() {
    let bench = bench_of(SimOptions::linux_6_1());
    let engine = bench.engine();
    let program = engine.loads(&bench.request("sockets", &["nothing_sent"]))[0];
    let error: EngineError = engine.try_attach(program, connections()).unwrap_err();
    assert_eq!(error.kind(), Reason::Unsupported);
    assert!(error.to_string().contains("Linux 6.10 or later"), "{error}");
}

/// Python has a function `bpf(command, attributes)`, for calls that no tool makes.
pub fn python(bench: &Bench<LinuxKernel>, lines: &str) -> String {
    let script = format!(
        "
import ctypes, platform, struct
number = {{'x86_64': 321, 'aarch64': 280}}[platform.machine()]
call = ctypes.CDLL(None, use_errno=True).syscall
def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, len(attr))
    answer = call(number, command, buffer, len(attr))
    assert answer >= 0, os.strerror(ctypes.get_errno())
    return answer
{lines}"
    );
    crate::python::run(&bench.netns, None, &script)
}

fn exchange(bench: &Bench<LinuxKernel>, map: MapId) -> String {
    let lines = format!("map = bpf(14, struct.pack('III', {map}, 0, 0))");
    let exchange = "
server = socket.create_server(('127.0.0.1', 0))
inside = socket.create_connection(server.getsockname())
outside, _ = server.accept()
key, value = ctypes.c_uint32(0), ctypes.c_uint64(inside.fileno())
bpf(2, struct.pack('IIQQQ', map, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
try:
    inside.send(b'x')
    print('sent', end=' ')
except OSError as error:
    print(error.strerror, end=' ')
outside.send(b'y')
inside.settimeout(1)
try:
    print('received' if inside.recv(1) else 'closed')
except TimeoutError:
    print('nothing')";
    python(bench, &format!("{lines}{exchange}"))
}

#[test]
fn linux_programs_of_maps_of_sockets_decide() {
    let bench = crate::linux::bench("sockmaps");
    if lacks_links(&bench) {
        return;
    }
    let name = bench.netns.file_name().unwrap().to_str().unwrap();
    assert!(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]).status().unwrap().success());
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("sockets", &["nothing_sent", "no_stream", "no_data"]));
    let wanted = WantedMap::OfProgram { program: loaded[0], name: "connections".to_owned() };
    let map = engine.find_map(&wanted).unwrap().id();
    assert_eq!(exchange(&bench, map), "sent received");
    let seen = ["Permission denied received", "sent nothing", "sent nothing"];
    for (program, seen) in loaded.iter().zip(seen) {
        let link = engine.attached(*program, connections());
        assert_eq!(exchange(&bench, map), seen, "attached");
        engine.detach(link).unwrap();
        assert_eq!(exchange(&bench, map), "sent received", "detached");
    }
    // A link would replace a program that was attached without one.
    let by_others = format!(
        "map, program = bpf(14, struct.pack('III', {map}, 0, 0)), bpf(13, struct.pack('III', {}, 0, 0))\n\
         bpf(8, struct.pack('IIII', map, program, 7, 0))",
        loaded[0]
    );
    python(&bench, &by_others);
    let error = engine.try_attach(loaded[0], connections()).unwrap_err();
    assert_eq!((error.kind(), engine.all_links().len()), (Reason::Conflict, 0), "{error}");
    assert_eq!(exchange(&bench, map), "Permission denied received", "theirs stays");
}

/// Other processes open the programs and attach them to sockets.
#[test]
fn linux_programs_that_openers_attach_decide() {
    let bench = crate::linux::bench("openers");
    let name = bench.netns.file_name().unwrap().to_str().unwrap();
    assert!(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]).status().unwrap().success());
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("sockets", &["no_packets", "no_socket_chosen"]));
    // SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF.
    for (program, option) in loaded.iter().zip([50, 52]) {
        let lines = format!(
            "
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
receiver.bind(('127.0.0.1', 0))
receiver.settimeout(1)
def exchange():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', receiver.getsockname())
    try:
        return 'received' if receiver.recv(1) else 'emptied'
    except OSError:
        return 'nothing'
before = exchange()
program = bpf(13, struct.pack('III', {program}, 0, 0))
receiver.setsockopt(socket.SOL_SOCKET, {option}, struct.pack('I', program))
print(before, exchange())"
        );
        assert_eq!(python(&bench, &lines), "received nothing");
        let error = engine.try_attach(*program, connections()).unwrap_err();
        assert!(matches!(error, EngineError::WrongPoint { .. }), "{error}");
    }
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.ids(), loaded, "a new daemon has them");
    let new = engine.replace_program(&replacement(&bench, loaded[0], "sockets")).unwrap();
    assert_eq!(new.programs.len(), 1);
    engine.ids().into_iter().for_each(|program| engine.unload(program).unwrap());
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}
