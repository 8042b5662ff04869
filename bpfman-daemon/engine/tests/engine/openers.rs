//! Programs that the daemon loads, keeps and replaces, and that other processes open and use.

use std::process::Command;

use bpfman_model::{AttachPoint, LoadRequest, MapId, ProcessScope, ProgramId, Reason, TenantRules};
use bpfmand_engine::{Engine, EngineError, Standing};
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::{KernelError, prelude::*};

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;
use crate::sockmaps::{connections, python};

const OPENED: [&str; 9] = [
    "to_device",
    "to_cpu",
    "no_way_in",
    "no_way_out",
    "no_way_on",
    "no_segment",
    "no_action",
    "called",
    "no_migration",
];

fn programs_that_openers_attach_live_as_others_do<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let mut loaded = Vec::new();
    for name in OPENED {
        match engine.load(&bench.request("openers", &[name])) {
            Ok(done) => loaded.push(done.programs[0].id),
            // A kernel may be built without a type, and older ones lack some.
            Err(EngineError::Kernel(KernelError::Refused { source, .. })) => {
                println!("skipped: this kernel takes no {name}: {source}");
            }
            Err(error) => panic!("{name}: {error}"),
        }
        let tenant = Some(TenantRules::of_containers());
        let denied = engine.load(&LoadRequest { tenant, ..bench.request("openers", &[name]) });
        assert_eq!(denied.unwrap_err().kind(), Reason::Denied);
    }
    assert!(loaded.len() >= 6);
    for program in &loaded {
        let error = engine.try_attach(*program, connections()).unwrap_err();
        assert!(matches!(error, EngineError::WrongPoint { .. }), "{error}");
    }
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.ids(), loaded, "a new daemon has them");
    for program in loaded {
        engine.replace_program(&replacement(bench, program, "openers")).unwrap();
    }
    engine.ids().into_iter().for_each(|program| engine.unload(program).unwrap());
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

crate::on_both_kernels!(programs_that_openers_attach_live_as_others_do);

pub fn runs(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>, program: ProgramId) -> u64 {
    let map = bench.kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = bench.kernel.map_entries(&map, 32).unwrap();
    entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap())).sum()
}

pub fn load_one(engine: &Engine<LinuxKernel>, bench: &Bench<LinuxKernel>, name: &str) -> Option<ProgramId> {
    match engine.load(&bench.request("openers", &[name])) {
        Ok(loaded) => Some(loaded.programs[0].id),
        Err(error) => {
            println!("skipped: this kernel takes no {name}: {error}");
            None
        }
    }
}

#[test]
fn linux_maps_of_devices_and_cpus_take_programs_for_them() {
    let bench = crate::linux::bench("devmaps");
    if bench.kernel.features().version < (5, 9) {
        println!("skipped: Linux before 5.9 has no programs in maps of CPUs");
        return;
    }
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("openers", &["to_device", "to_cpu"]));
    // BPF_MAP_TYPE_DEVMAP: an interface and a program; BPF_MAP_TYPE_CPUMAP: a queue length and a program.
    let put = |map_type: u32, first: &str, program: ProgramId| {
        let lines = format!(
            "
map = bpf(0, struct.pack('IIIII', {map_type}, 4, 8, 1, 0))
program = bpf(13, struct.pack('III', {program}, 0, 0))
key, value = ctypes.c_uint32(0), ctypes.create_string_buffer(struct.pack('Ii', {first}, program), 8)
try:
    bpf(2, struct.pack('IIQQQ', map, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
    print('taken')
except AssertionError as error:
    print(error)"
        );
        python(&bench, &lines)
    };
    let left = "socket.if_nametoindex('left')";
    assert_eq!(put(14, left, programs[0]), "taken");
    assert_eq!(put(16, "64", programs[1]), "taken");
    // The kernel distinguishes programs by the attach type at load.
    assert_ne!(put(14, left, programs[1]), "taken");
    assert_ne!(put(16, "64", programs[0]), "taken");
}

#[test]
fn linux_a_route_runs_the_program_that_it_was_made_with() {
    let bench = crate::linux::bench("routes");
    let netns = bench.netns.file_name().unwrap().to_str().unwrap();
    let engine = bench.engine();
    for (name, way) in [("no_way_out", "out"), ("no_way_on", "xmit")] {
        let Some(program) = load_one(&engine, &bench, name) else { return };
        let pin = bench.libxdp_pins.ancestors().nth(2).unwrap().join(format!("prog_{program}"));
        let ip = |words: &[&str]| {
            let done = Command::new("ip").args(["-n", netns]).args(words).output().unwrap();
            (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
        };
        assert!(ip(&["link", "set", "left", "up"]).0 && ip(&["link", "set", "right", "up"]).0);
        ip(&["addr", "add", "10.77.0.1/24", "dev", "left"]);
        let pin = pin.display().to_string();
        let route = ["route", "replace", "10.78.0.0/24", "encap", "bpf", way, "pinned", &pin, "dev", "left"];
        let (made, why) = ip(&route);
        if !made {
            println!("skipped: ip makes no such route here: {why}");
            return;
        }
        let lines = "try:\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.78.0.9', 9))\n    print('sent')\nexcept OSError as error:\n    print(error.strerror)";
        python(&bench, lines);
        assert!(runs(&bench, &engine, program) > 0, "{name} did not run");
    }
}

#[test]
fn linux_an_action_runs_the_program_that_it_was_made_with() {
    let bench = crate::linux::bench("actions");
    let netns = bench.netns.file_name().unwrap().to_str().unwrap();
    let engine = bench.engine();
    let Some(program) = load_one(&engine, &bench, "no_action") else { return };
    let pin = bench.libxdp_pins.ancestors().nth(2).unwrap().join(format!("prog_{program}"));
    let tc = |words: &[&str]| Command::new("tc").args(["-n", netns]).args(words).output().unwrap();
    assert!(tc(&["qdisc", "add", "dev", "lo", "clsact"]).status.success());
    let pin = pin.display().to_string();
    let filter = ["filter", "add", "dev", "lo", "egress", "matchall", "action", "bpf", "object-pinned", &pin];
    let made = tc(&filter);
    if !made.status.success() {
        println!("skipped: tc makes no such action here: {}", String::from_utf8_lossy(&made.stderr));
        return;
    }
    crate::points_seen::up(&bench);
    python(&bench, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))");
    assert!(runs(&bench, &engine, program) > 0, "it did not run");
}

#[test]
fn linux_syscall_program_runs_when_it_is_run() {
    let bench = crate::linux::bench("called");
    if bench.kernel.features().version < (5, 14) {
        println!("skipped: Linux before 5.14 has no syscall programs");
        return;
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("openers", &["called"]))[0];
    let lines = format!(
        "
program = bpf(13, struct.pack('III', {program}, 0, 0))
request = ctypes.create_string_buffer(struct.pack('II', program, 0), 80)
assert call(number, 10, request, 80) == 0
print(struct.unpack_from('II', request)[1])"
    );
    assert_eq!(python(&bench, &lines), "42");
    assert_eq!(runs(&bench, &engine, program), 1);
}

#[test]
fn linux_a_writable_trace_point_takes_what_the_program_writes() {
    let bench = crate::linux::bench("writable");
    let engine = bench.engine();
    let mut request = bench.request("openers", &["fails_test_runs"]);
    request.global_data.insert("whose".to_owned(), std::process::id().to_ne_bytes().to_vec());
    let program = engine.load(&request).unwrap().programs[0].id;
    let packets = engine.loads(&bench.request("programs", &["alpha"]))[0];
    let packets = bench.kernel.open_program(packets).unwrap().unwrap();
    let tried = || test_run(&packets, &[0; 64], 1).map(drop).map_err(|error| error.to_string());
    tried().unwrap();
    let point = AttachPoint::RawTracepoint { name: "bpf_test_finish".to_owned() };
    let link = engine.attached(program, point);
    let error = tried().unwrap_err();
    assert!(error.contains("Argument list too long"), "{error}");
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running, "a new daemon");
    let program = engine.ids()[0];
    engine.replace_program(&replacement(&bench, program, "openers")).unwrap();
    engine.detach(link).unwrap();
    tried().unwrap();
    let other = AttachPoint::RawTracepoint { name: "sched_switch".to_owned() };
    let program = engine.load(&request).unwrap().programs[0].id;
    assert!(engine.try_attach(program, other).is_err(), "that one hands no buffer");
    let tenant = Some(TenantRules::of_containers());
    assert_eq!(engine.load(&LoadRequest { tenant, ..request }).unwrap_err().kind(), Reason::Denied);
}

#[test]
fn linux_a_session_of_a_library_runs_at_entry_and_return() {
    let bench = crate::linux::bench("sessions");
    let engine = bench.engine();
    let point = AttachPoint::UprobeMulti {
        target: "libc".to_owned(),
        functions: vec!["getpriority".to_owned()],
        scope: ProcessScope::default(),
    };
    let Some(program) = load_one(&engine, &bench, "library_sessions") else { return };
    if bench.kernel.features().version < (6, 13) {
        println!("skipped: Linux before 6.13 has no sessions of user-space functions");
        let error = engine.try_attach(program, point).unwrap_err();
        assert_eq!((error.kind(), engine.all_links().len()), (Reason::Unsupported, 0), "{error}");
        return;
    }
    let link = engine.attached(program, point);
    python(&bench, "os.getpriority(os.PRIO_PROCESS, 0)");
    let seen = runs(&bench, &engine, program);
    assert!(seen >= 2 && seen.is_multiple_of(2), "{seen}");
    engine.detach(link).unwrap();
}

#[test]
fn linux_system_calls_are_probed_by_their_names() {
    let bench = crate::linux::bench("calls");
    let engine = bench.engine();
    let point = || AttachPoint::Ksyscall { name: "getpriority".to_owned() };
    for name in ["call_begins", "call_ends"] {
        let Some(program) = load_one(&engine, &bench, name) else { return };
        let attached = engine.try_attach(program, point());
        if let Err(EngineError::Kernel(KernelError::Unsupported { .. })) = &attached {
            println!("skipped: this kernel has no kernel probes, or no links to them");
            return;
        }
        let link = attached.unwrap().record.id;
        python(&bench, "os.getpriority(os.PRIO_PROCESS, 0)");
        assert!(runs(&bench, &engine, program) > 0, "{name} did not run");
        let none = AttachPoint::Ksyscall { name: "no_such_call".to_owned() };
        assert_eq!(engine.try_attach(program, none).unwrap_err().kind(), Reason::NotFound);
        engine.detach(link).unwrap();
    }
}

#[test]
fn probes_of_system_calls_and_sessions_are_back_after_a_reboot() {
    let bench = simulated_bench();
    let engine = bench.engine();
    let [call, session] = engine.loads(&bench.request("openers", &["call_begins", "library_sessions"]))[..]
    else {
        panic!()
    };
    engine.attached(call, AttachPoint::Ksyscall { name: "getpriority".to_owned() });
    let (target, functions) = ("libc".to_owned(), vec!["getpriority".to_owned()]);
    engine.attached(session, AttachPoint::UprobeMulti { target, functions, scope: ProcessScope::default() });
    drop(engine);
    bench.kernel.reboot();
    let engine = bench.engine();
    let links = engine.all_links();
    assert!(links.len() == 2 && links.iter().all(|link| link.standing == Standing::Running));
}
