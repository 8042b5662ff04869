//! Programs of each type on this machine's kernel: an action triggers the program, and its effect is observed.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::{AttachPoint, AttachRequest, MapId, OrderIntent, Owner, ProgramId, Reason};
use bpfmand_engine::{Engine, EngineError, GonePlace, Standing};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench};
use crate::linux::bench;
use crate::points::netfilter;
use crate::replacements::replacement;

pub struct Group {
    pub folder: PathBuf,
    pub path: String,
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

pub fn samples(kernel: &LinuxKernel, engine: &Engine<LinuxKernel>, program: ProgramId) -> Vec<u64> {
    const FIRST: usize = 20;
    let map = kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = kernel.map_entries(&map, 32).unwrap();
    let counts = entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap()));
    counts.skip(FIRST).take(8).collect()
}

pub fn runs(kernel: &LinuxKernel, engine: &Engine<LinuxKernel>, program: ProgramId) -> u64 {
    let map = kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = kernel.map_entries(&map, 32).unwrap();
    entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap())).sum()
}

pub struct Deed<'a> {
    pub lines: &'a str,
    pub without: &'a str,
    pub with: &'a str,
}

pub fn assert_seen(
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
    let link = engine.attached(program, netfilter(&bench, -5));
    let of_another = AttachRequest {
        ttl: None,
        program,
        point: netfilter(&bench, -5),
        order: OrderIntent::default(),
        sharing: Default::default(),
        metadata: Default::default(),
        owner: Owner::User(64_801),
        group: None,
    };
    for (error, is_named) in [
        (engine.try_attach(program, netfilter(&bench, -5)).unwrap_err(), true),
        (engine.replace_program(&replacement(&bench, program, "points")).unwrap_err(), true),
        (engine.attach(&of_another).unwrap_err(), false),
    ] {
        assert_eq!(error.kind(), Reason::Conflict, "{error}");
        let (text, hint) = (error.to_string(), error.hint().unwrap().to_string());
        assert!(text.contains("ipv4 input priority -5"), "{text}");
        assert_eq!(text.contains(&format!("link {link}")), is_named, "{text}");
        assert_eq!(hint.contains(&format!("`bpfman detach {link}`")), is_named, "{hint}");
    }
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    engine.attached(program, netfilter(&bench, -4));
}

#[test]
fn linux_what_is_not_there_is_named() {
    let bench = bench("missing");
    let engine = bench.engine();
    let group = AttachPoint::Cgroup { path: "/no/such/group".parse().unwrap() };
    let program = engine.loads(&bench.request("points", &["tcp_events"]))[0];
    let error = engine.try_attach(program, group).unwrap_err();
    assert_eq!(error.kind(), Reason::NotFound);
    assert!(error.to_string().contains("cgroup /no/such/group does not exist"), "{error}");
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
    drop(engine);
    let (engine, _) = bench.start();
    let state = engine.describe_link(link).unwrap().standing;
    assert_eq!(state, Standing::PlaceGone { place: GonePlace::OtherGroup, why: None });
    engine.check_link(link).unwrap();
    assert!(engine.describe_link(link).unwrap().standing.is_running());
    up(&bench);
    assert_eq!(python(&bench.netns, Some(&group), CONNECT), "EPERM");
}

/// The kernel detaches the programs of a removed cgroup with a delay.
pub fn wait_until(is_so: impl Fn() -> bool) -> bool {
    let ends = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while std::time::Instant::now() < ends {
        if is_so() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    false
}

pub fn lacks_trampolines(bench: &Bench<LinuxKernel>) -> bool {
    // The probe for extensions also shows whether trampolines work.
    let lacks = !bench.kernel.features().freplace;
    if lacks {
        println!("skipped: this kernel lets no program be called by a trampoline (fentry, LSM, freplace)");
    }
    lacks
}
