//! Programs of each type on this machine's kernel: an action triggers the program, and its effect is observed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::{
    AttachPoint, AttachRequest, CallerGroup, LoadRequest, MapId, PerfEventPlace, ProcessScope, ProgramId,
    ProgramType, Reason, SampleRate, TaskScope, TenantRules,
};
use bpfmand_engine::{Engine, EngineError};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, SYSCALL_WRAPPERS};

use crate::bench::{Ask as _, Bench};
use crate::linux::bench;
use crate::points::netfilter;

pub struct Group {
    pub folder: PathBuf,
    path: String,
}

impl Group {
    pub fn new(test: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let path = format!("/engine-{}-{test}", std::process::id());
        let folder = PathBuf::from(format!("{}{path}", unified.split(' ').nth(4).unwrap()));
        std::fs::create_dir(&folder).unwrap();
        Self { folder, path }
    }

    pub fn point(&self) -> AttachPoint {
        AttachPoint::Cgroup { path: self.path.parse().unwrap() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_dir(&self.folder);
    }
}

/// Returns "done", or the name of the `errno` that ended the code.
pub fn python(netns: &Path, group: Option<&Group>, lines: &str) -> String {
    let lines = lines.trim().replace('\n', "\n    ");
    let program = format!(
        "try:\n    {lines}\n    print('done')\nexcept OSError as error:\n    \
         print(errno.errorcode.get(error.errno, error))\n"
    );
    crate::python::run(netns, group.map(|group| group.folder.as_path()), &program)
}

fn samples(kernel: &LinuxKernel, engine: &Engine<LinuxKernel>, program: ProgramId) -> Vec<u64> {
    const FIRST: usize = 20;
    let map = kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = kernel.map_entries(&map, 32).unwrap();
    let counts = entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap()));
    counts.skip(FIRST).take(8).collect()
}

fn runs(kernel: &LinuxKernel, engine: &Engine<LinuxKernel>, program: ProgramId) -> u64 {
    let map = kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = kernel.map_entries(&map, 32).unwrap();
    entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap())).sum()
}

struct Deed<'a> {
    lines: &'a str,
    without: &'a str,
    with: &'a str,
}

fn assert_seen(
    bench: &Bench<LinuxKernel>,
    program: &str,
    group: Option<&Group>,
    point: AttachPoint,
    deed: &Deed<'_>,
) {
    let engine = bench.engine();
    let loaded = engine.loads(&bench.request("points", &[program]))[0];
    let does = || python(&bench.netns, group, deed.lines);
    up(bench);
    assert_eq!(does(), deed.without, "before");
    let link = engine.attached(loaded, point);
    assert_eq!(does(), deed.with, "attached");
    assert!(runs(&bench.kernel, &engine, loaded) > 0, "it did not run");
    engine.detach(link).unwrap();
    // The kernel frees a link's id slightly before it removes the program from the hook.
    let still = || {
        let ran = runs(&bench.kernel, &engine, loaded);
        does() == deed.without && runs(&bench.kernel, &engine, loaded) == ran
    };
    assert!(wait_until(still), "it runs though it is detached");
}

pub fn up(bench: &Bench<LinuxKernel>) {
    let name = bench.netns.file_name().unwrap().to_str().unwrap();
    let done = Command::new("ip").args(["-n", name, "link", "set", "lo", "up"]).status().unwrap();
    assert!(done.success());
}

fn in_group(test: &str, program: &str, deed: &Deed<'_>) {
    let (bench, group) = (bench(test), Group::new(test));
    assert_seen(&bench, program, Some(&group), group.point(), deed);
}

const SEND: &str = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))";
const CONNECT: &str = "server = socket.create_server(('127.0.0.1', 0))\n\
                       client = socket.create_connection(server.getsockname(), timeout=20)";

#[test]
fn linux_cgroup_skb_drops_what_a_group_sends() {
    in_group("skb", "no_egress", &Deed { lines: SEND, without: "done", with: "EPERM" });
}

#[test]
fn linux_cgroup_sock_refuses_sockets() {
    let lines = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)";
    in_group("sock", "no_socket", &Deed { lines, without: "done", with: "EPERM" });
}

#[test]
fn linux_cgroup_sock_addr_refuses_connections() {
    in_group("addr", "no_connect", &Deed { lines: CONNECT, without: "done", with: "EPERM" });
}

#[test]
fn linux_cgroup_sockopt_refuses_options() {
    let lines = "socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)";
    in_group("sockopt", "no_option", &Deed { lines, without: "done", with: "EPERM" });
}

#[test]
fn linux_cgroup_sysctl_refuses_parameters() {
    let lines = "open('/proc/sys/kernel/ostype').read()";
    in_group("sysctl", "no_parameter", &Deed { lines, without: "done", with: "EPERM" });
}

#[test]
fn linux_cgroup_device_refuses_devices() {
    let lines = "open('/dev/zero', 'rb').close()";
    in_group("device", "no_device", &Deed { lines, without: "done", with: "EPERM" });
}

#[test]
fn linux_sock_ops_hears_of_connections() {
    in_group("sockops", "tcp_events", &Deed { lines: CONNECT, without: "done", with: "done" });
}

#[test]
fn linux_lsm_cgroup_refuses_sockets() {
    if lacks_trampolines(&bench("trampolines")) {
        return;
    }
    let lines = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)";
    in_group("lsm", "no_socket_by_lsm", &Deed { lines, without: "done", with: "EPERM" });
}

#[test]
fn linux_sk_lookup_hides_listeners() {
    let bench = bench("lookup");
    let point = AttachPoint::Netns { netns: Some(bench.netns.clone()) };
    assert_seen(
        &bench,
        "no_listener",
        None,
        point,
        &Deed { lines: CONNECT, without: "done", with: "ECONNREFUSED" },
    );
}

#[test]
fn linux_flow_dissector_takes_packets_apart() {
    let bench = bench("dissector");
    let point = AttachPoint::Netns { netns: Some(bench.netns.clone()) };
    let lines = "import struct\n\
                 shared = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))\n\
                 shared.bind(('lo', 3))\n\
                 shared.setsockopt(263, 18, struct.pack('I', os.getpid() & 0xffff))\n\
                 socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n\
                 shared.recv(100)";
    assert_seen(&bench, "dissect", None, point, &Deed { lines, without: "done", with: "done" });
}

#[test]
fn linux_netfilter_drops_packets() {
    let bench = bench("netfilter");
    if bench.kernel.features().version < (6, 4) {
        println!("skipped: Linux before 6.4 has no netfilter programs");
        let engine = bench.engine();
        assert!(engine.load(&bench.request("points", &["no_packet"])).is_err());
        return;
    }
    let lines = "receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                 receiver.bind(('127.0.0.1', 0))\n\
                 receiver.settimeout(2)\n\
                 socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', receiver.getsockname())\n\
                 receiver.recv(1)";
    // Python's error of a timeout has no errno.
    assert_seen(
        &bench,
        "no_packet",
        None,
        netfilter(&bench, 0),
        &Deed { lines, without: "done", with: "timed out" },
    );
}

#[test]
fn linux_each_netfilter_program_has_a_priority_of_its_own() {
    let bench = bench("priorities");
    if bench.kernel.features().version < (6, 4) {
        println!("skipped: Linux before 6.4 has no netfilter programs");
        return;
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["no_packet"]))[0];
    engine.attached(program, netfilter(&bench, -5));
    let error = engine.try_attach(program, netfilter(&bench, -5)).unwrap_err();
    assert_eq!(error.kind(), Reason::Conflict, "{error}");
    assert!(error.to_string().contains("ipv4 input priority -5"), "{error}");
    engine.attached(program, netfilter(&bench, -4));
}

#[test]
fn linux_raw_trace_points_count() {
    let bench = bench("raw");
    let point = AttachPoint::RawTracepoint { name: "sched_switch".to_owned() };
    assert_seen(&bench, "raw_switch", None, point, &Deed { lines: "pass", without: "done", with: "done" });
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["raw_switch"]))[0];
    let missing = AttachPoint::RawTracepoint { name: "no_such_event".to_owned() };
    let error = engine.try_attach(program, missing).unwrap_err();
    assert_eq!((error.kind(), engine.all_links().len()), (Reason::NotFound, 0), "{error}");
}

#[test]
fn linux_typed_trace_points_count() {
    let bench = bench("typed");
    assert_seen(
        &bench,
        "typed_switch",
        None,
        AttachPoint::BtfTracepoint,
        &Deed { lines: "pass", without: "done", with: "done" },
    );
}

/// Other tasks switch all the time; only those of the cgroup count.
#[test]
fn linux_tenants_raw_and_typed_trace_points_see_their_own_tasks() {
    let (bench, group) = (bench("tenants"), Group::new("tenants"));
    let engine = bench.engine();
    let raw = AttachPoint::RawTracepoint { name: "sched_switch".to_owned() };
    for (program, point) in [("raw_switch", raw), ("typed_switch", AttachPoint::BtfTracepoint)] {
        let tenant = Some(TenantRules { scope: TaskScope::Caller, helpers: BTreeSet::new() });
        let load = LoadRequest { tenant, ..bench.request("points", &[program]) };
        if bench.kernel.features().version < (6, 10) {
            println!("skipped: Linux before 6.10 has no cookies of raw trace points");
            let error = engine.load(&load).unwrap_err();
            assert!(error.to_string().contains("Linux 6.10 or later has them"), "{error}");
            continue;
        }
        let loaded = engine.loads(&load)[0];
        let (order, sharing, metadata, owner) = Default::default();
        let tasks = bench.kernel.tasks_of_group(&group.path).unwrap();
        let of = Some(CallerGroup { path: group.path.clone(), tasks, user: Some(0) });
        let attach =
            AttachRequest { ttl: None, program: loaded, point, order, sharing, metadata, owner, group: of };
        engine.attach(&attach).unwrap();
        python(&bench.netns, None, "pass");
        assert_eq!(runs(&bench.kernel, &engine, loaded), 0, "{program} sees tasks of others");
        python(&bench.netns, Some(&group), "import time\ntime.sleep(0.01)");
        assert!(runs(&bench.kernel, &engine, loaded) > 0, "{program} does not see its own tasks");
    }
}

fn perf_event(event: &str, rate: SampleRate, cpu: Option<u32>, pid: Option<u32>) -> AttachPoint {
    AttachPoint::PerfEvent { place: PerfEventPlace { event: event.parse().unwrap(), rate, cpu, pid } }
}

/// The clock ticks on every CPU, whatever runs there.
#[test]
fn linux_perf_events_are_sampled_on_all_cpus_or_on_one() {
    let bench = bench("clock");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let cpus = bench.kernel.online_cpus().unwrap();
    let counts = || samples(&bench.kernel, &engine, program);
    for rate in [SampleRate::Frequency(99), SampleRate::Period(5_000_000)] {
        let before = counts();
        let link = engine.attached(program, perf_event("cpu-clock", rate, None, None));
        let all = || (0..8).all(|cpu| !cpus.contains(&(cpu as u32)) || counts()[cpu] > before[cpu] + 3);
        assert!(wait_until(all), "not on every CPU: {:?}", counts());
        engine.detach(link).unwrap();
        let after = counts();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(counts(), after, "it runs though it is detached");
    }
    let last = *cpus.last().unwrap();
    let before = counts();
    engine.attached(program, perf_event("cpu-clock", SampleRate::Frequency(99), Some(last), None));
    let slot = (last & 7) as usize;
    assert!(wait_until(|| counts()[slot] > before[slot] + 3));
    let others =
        |counts: Vec<u64>| counts.into_iter().enumerate().filter(|(cpu, _)| *cpu != slot).collect::<Vec<_>>();
    assert_eq!(others(counts()), others(before), "it ran on other CPUs");
}

#[test]
fn linux_perf_events_of_a_thread_are_its_own() {
    let bench = bench("thread");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    let total = || samples(&bench.kernel, &engine, program).iter().sum::<u64>();
    let mut child = Command::new("/bin/sh")
        .args(["-c", "echo ready; read line; /usr/bin/python3 -c pass; read line"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let faults = perf_event("page-faults", SampleRate::Period(1), None, Some(child.id()));
    let link = engine.attached(program, faults);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let before = total();
    python(&bench.netns, None, "bytearray(1 << 20)");
    assert_eq!(total(), before, "faults of others count");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"\n").unwrap();
    assert!(wait_until(|| total() > 300), "those of what it starts do not count: {}", total());
    drop(input);
    child.wait().unwrap();
    engine.detach(link).unwrap();
    let gone = perf_event("page-faults", SampleRate::Period(1), None, Some(child.id()));
    let error = engine.try_attach(program, gone).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound, "{error}");
    assert!(error.to_string().contains(&child.id().to_string()), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}

#[test]
fn linux_perf_events_of_the_kernel_count() {
    let bench = bench("software");
    for event in ["task-clock", "page-faults", "context-switches"] {
        let rate = if event == "task-clock" { SampleRate::Frequency(999) } else { SampleRate::Period(1) };
        let lines = "import time\ntime.sleep(0.01)\nsum(range(1000000))\nbytearray(1 << 20)";
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, "samples", None, perf_event(event, rate, None, None), &deed);
    }
}

#[test]
fn linux_perf_events_of_the_cpu_count_where_it_has_them() {
    let bench = bench("hardware");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["samples"]))[0];
    for event in ["cycles", "instructions"] {
        let attached = engine.try_attach(program, perf_event(event, SampleRate::Frequency(99), None, None));
        if let Err(EngineError::Kernel(KernelError::NoCounter { event: named })) = &attached {
            println!("skipped: this machine has no counter for {named}");
            assert_eq!((*named, engine.all_links().len()), (event, 0));
            continue;
        }
        let link = attached.unwrap().record.id;
        let before: u64 = samples(&bench.kernel, &engine, program).iter().sum();
        let counts = || samples(&bench.kernel, &engine, program).iter().sum::<u64>() > before;
        assert!(wait_until(|| python(&bench.netns, None, "sum(range(1000000))") == "done" && counts()));
        engine.detach(link).unwrap();
    }
}

#[test]
fn linux_fmod_ret_sees_calls() {
    let bench = bench("fmod");
    if lacks_trampolines(&bench) {
        return;
    }
    let deed = Deed { lines: "open('/proc/self/comm').close()", without: "done", with: "done" };
    assert_seen(&bench, "keep_return", None, AttachPoint::FmodRet, &deed);
}

/// getppid(2) and getpriority(2) call these.
fn kernel_functions(text: &str) -> AttachPoint {
    AttachPoint::KprobeMulti { functions: text.split(' ').map(|name| name.parse().unwrap()).collect() }
}

#[test]
fn linux_probes_of_many_kernel_functions_count() {
    let bench = bench("kprobes");
    let release = bench.kernel.features().version;
    let mut programs = vec![("many_entries", (5, 18)), ("many_returns", (5, 18)), ("many_sessions", (6, 10))];
    programs.retain(|(_, since)| release >= *since);
    for (program, _) in programs {
        let engine = bench.engine();
        let loaded = engine.loads(&bench.request("points", &[program]));
        let wrapper = SYSCALL_WRAPPERS.unwrap();
        let names = format!("{wrapper}getpriorit? {wrapper}getppid");
        let attached = engine.try_attach(loaded[0], kernel_functions(&format!("{wrapper}getppid")));
        if let Err(EngineError::Kernel(KernelError::Unsupported { .. })) = &attached {
            println!("skipped: this kernel was built without fprobe");
            return;
        }
        engine.detach(attached.unwrap().record.id).unwrap();
        engine.unload(loaded[0]).unwrap();
        drop(engine);
        let lines = "os.getpriority(os.PRIO_PROCESS, 0)\nos.getppid()";
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, program, None, kernel_functions(&names), &deed);
        let engine = bench.engine();
        let program = engine.loads(&bench.request("points", &[program]))[0];
        for none in ["no_such_function", "no_such_*"] {
            let error = engine.try_attach(program, kernel_functions(none)).unwrap_err();
            assert_eq!(error.kind(), Reason::NotFound, "{error}");
            assert!(error.to_string().contains(none), "{error}");
        }
    }
}

#[test]
fn linux_probes_of_many_functions_of_a_library_count() {
    let bench = bench("uprobes");
    let engine = bench.engine();
    let at = |functions: &[&str]| AttachPoint::UprobeMulti {
        target: "libc".to_owned(),
        functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        scope: ProcessScope::default(),
    };
    if bench.kernel.features().version < (6, 6) {
        println!("skipped: Linux before 6.6 has no probes of many functions of a library");
        // An older kernel would treat the program as an ordinary probe.
        let program = engine.loads(&bench.request("points", &["many_functions"]))[0];
        let error = engine.try_attach(program, at(&["getpriority"])).unwrap_err();
        assert_eq!((error.kind(), engine.all_links().len()), (Reason::Unsupported, 0), "{error}");
        return;
    }
    drop(engine);
    let lines = "os.getpriority(os.PRIO_PROCESS, 0)\nos.getloadavg()";
    for program in ["many_functions", "many_function_returns"] {
        let deed = Deed { lines, without: "done", with: "done" };
        assert_seen(&bench, program, None, at(&["getpriority", "getloadavg"]), &deed);
    }
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["many_functions"]))[0];
    let error = engine.try_attach(program, at(&["getpriority", "no_such_function"])).unwrap_err();
    assert!(error.to_string().contains("has no function \"no_such_function\""), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}

#[test]
fn linux_an_iterator_writes_for_its_reader() {
    let bench = bench("iterator");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["list_maps"]))[0];
    let link = engine.attached(program, AttachPoint::Iter);
    let read = |engine: &Engine<LinuxKernel>| {
        let mut text = Vec::new();
        engine.read_iterator(link, &mut |piece| text.write_all(piece).is_ok()).unwrap();
        String::from_utf8(text).unwrap()
    };
    let own = format!("map {}", engine.map_pins(program)["runs"]);
    assert!(read(&engine).lines().any(|line| line == own));
    drop(engine);
    assert!(read(&bench.engine()).lines().any(|line| line == own));
}

#[test]
fn linux_an_iterator_that_wants_to_run_again_and_again_is_ended() {
    let bench = bench("again-and-again");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["list_for_ever"]))[0];
    let link = engine.attached(program, AttachPoint::Iter);
    let mut steps = 0;
    let reads = engine.read_iterator(link, &mut |_| {
        steps += 1;
        if steps == 2 {
            engine.detach(link).unwrap();
        }
        true
    });
    assert!(reads.unwrap_err().to_string().contains("read what an iterator writes"));
    assert!(steps > 2 && engine.all_links().is_empty());
    let link = engine.attached(program, AttachPoint::Iter);
    engine.read_iterator(link, &mut |_| false).unwrap();
}

#[test]
fn linux_only_iterators_are_read() {
    let bench = bench("reading");
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["raw_switch"]))[0];
    let link = engine.attached(program, AttachPoint::RawTracepoint { name: "sched_switch".to_owned() });
    let error = engine.read_iterator(link, &mut |_| true).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid);
    assert!(error.to_string().contains("is of type raw_tracepoint"), "{error}");
}

#[test]
fn linux_what_is_not_there_is_named() {
    let bench = bench("missing");
    let engine = bench.engine();
    let group = AttachPoint::Cgroup { path: "/no/such/group".parse().unwrap() };
    let program = engine.loads(&bench.request("points", &["tcp_events"]))[0];
    let error = engine.try_attach(program, group).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound);
    assert!(error.to_string().contains("control group /no/such/group does not exist"), "{error}");
    for (name, target, says) in [
        ("typed_switch", "no_such_event", "no trace point with typed arguments \"no_such_event\""),
        ("list_maps", "no_such_objects", "no iterator over objects of kind \"no_such_objects\""),
    ] {
        let mut request = bench.request("points", &[name]);
        request.programs[0].target = Some(target.to_owned());
        let error: EngineError = engine.load(&request).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!((engine.all_links().len(), engine.ids().len()), (0, 1));
}

/// A kernel has static functions of one name in several files; a dozen are named `init_once`.
#[test]
fn linux_a_function_with_many_addresses_is_refused_with_count() {
    let bench = bench("several");
    if !bench.kernel.features().kprobes {
        println!("SKIPPED(kprobes): linux_a_function_with_many_addresses_is_refused_with_count");
        return;
    }
    let engine = bench.engine();
    let mut request = bench.request("fallbacks", &["probes_kernel"]);
    request.programs[0].program_type = ProgramType::Kprobe;
    let program = engine.loads(&request)[0];
    let point = AttachPoint::Kprobe { function: "init_once".to_owned(), offset: 0 };
    let error = engine.try_attach(program, point).unwrap_err().to_string();
    assert!(error.contains("\"init_once\"") && error.contains("functions of that name"), "{error}");
    assert_eq!(engine.all_links().len(), 0);
}

/// A removed cgroup takes the effect of its links along.
#[test]
fn linux_a_group_that_comes_again_has_its_programs() {
    let (bench, group) = (bench("again"), Group::new("again"));
    let engine = bench.engine();
    let program = engine.loads(&bench.request("points", &["no_connect"]))[0];
    let link = engine.attached(program, group.point());
    std::fs::remove_dir(&group.folder).unwrap();
    let lost = wait_until(|| !engine.describe_link(link).unwrap().standing.is_running());
    assert!(lost, "the link does not notice that its group is gone");
    let check = engine.check_link(link).unwrap();
    assert!(format!("{check:?}").contains("does not exist"), "{check:?}");
    std::fs::create_dir(&group.folder).unwrap();
    engine.check_link(link).unwrap();
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    up(&bench);
    assert_eq!(python(&bench.netns, Some(&group), CONNECT), "EPERM");
}

/// The kernel detaches the programs of a removed cgroup with a delay.
pub fn wait_until(is_so: impl Fn() -> bool) -> bool {
    let ends = std::time::Instant::now() + crate::bench::PATIENCE;
    while std::time::Instant::now() < ends {
        if is_so() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

fn lacks_trampolines(bench: &Bench<LinuxKernel>) -> bool {
    // The probe for extensions also shows whether trampolines work.
    let lacks = !bench.kernel.features().freplace;
    if lacks {
        println!("skipped: this kernel lets no program be called by a trampoline (fentry, LSM, freplace)");
    }
    lacks
}
