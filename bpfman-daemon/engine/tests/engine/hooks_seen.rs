//! All cgroup hooks without a test of their own: attached together, with each program seen to run.

use bpfman_model::{LinkId, MapId, ProgramId, ProgramType};
use bpfmand_engine::Engine;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench};
use crate::linux::bench;
use crate::points_seen::{Group, python, up, wait_until};

const HOOKS: [&str; 21] = [
    "ingress",
    "sock_release",
    "post_bind4",
    "post_bind6",
    "bind4",
    "bind6",
    "connect6",
    "sendmsg4",
    "sendmsg6",
    "recvmsg4",
    "recvmsg6",
    "getpeername4",
    "getpeername6",
    "getsockname4",
    "getsockname6",
    "getsockopt",
    "connect_unix",
    "sendmsg_unix",
    "recvmsg_unix",
    "getpeername_unix",
    "getsockname_unix",
];

const DEEDS: &str = "
def talk(family, address, other):
    server = socket.socket(family)
    server.bind(address)
    server.listen()
    client = socket.socket(family)
    client.connect(server.getsockname())
    client.getpeername(), client.getsockname()
    client.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.bind(other)
    sender = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_UNIX:
        sender.bind(other + '-sender')
    sender.sendto(b'x', receiver.getsockname())
    receiver.settimeout(60)
    receiver.recvfrom(9)
import tempfile
talk(socket.AF_INET, ('127.0.0.1', 0), ('127.0.0.1', 0))
talk(socket.AF_INET6, ('::1', 0), ('::1', 0))
with tempfile.TemporaryDirectory() as folder:
    talk(socket.AF_UNIX, folder + '/stream', folder + '/datagram')";

fn type_of(hook: &str) -> ProgramType {
    match hook {
        "ingress" => ProgramType::CgroupSkb,
        "sock_release" | "post_bind4" | "post_bind6" => ProgramType::CgroupSock,
        "getsockopt" => ProgramType::CgroupSockopt,
        _ => ProgramType::CgroupSockAddr,
    }
}

fn counts(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>, programs: &[ProgramId]) -> Vec<u64> {
    let map = bench.kernel.open_map(MapId(engine.map_pins(programs[0])["runs"])).unwrap();
    let entries = bench.kernel.map_entries(&map, 32).unwrap();
    let count = |value: &[u8]| u64::from_ne_bytes(value[..8].try_into().unwrap());
    entries.iter().take(programs.len()).map(|entry| count(&entry.value)).collect()
}

#[test]
fn linux_each_hook_of_a_control_group_runs_its_program() {
    let (bench, group) = (bench("hooks"), Group::new("hooks"));
    let engine = bench.engine();
    let has_unix = bench.kernel.features().version >= (6, 7);
    if !has_unix {
        println!("skipped: Linux before 6.7 has no hooks of unix sockets");
    }
    let hooks: Vec<&str> = HOOKS.into_iter().filter(|hook| has_unix || !hook.ends_with("_unix")).collect();
    let names: Vec<String> = hooks.iter().map(|hook| format!("at_{hook}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut request = bench.request("hooks", &names);
    for (program, hook) in request.programs.iter_mut().zip(&hooks) {
        program.program_type = type_of(hook);
    }
    let programs = engine.loads(&request);
    up(&bench);
    let links: Vec<LinkId> =
        programs.iter().map(|program| engine.attached(*program, group.point())).collect();
    assert_eq!(python(&bench.netns, Some(&group), DEEDS), "done");
    let ran = counts(&bench, &engine, &programs);
    let silent: Vec<&str> =
        hooks.iter().zip(&ran).filter(|(_, ran)| **ran == 0).map(|(hook, _)| *hook).collect();
    assert_eq!(silent, [""; 0], "{ran:?}");
    drop(engine);
    let engine = bench.engine();
    assert!(links.iter().all(|link| engine.describe_link(*link).unwrap().standing.is_running()));
    links.iter().for_each(|link| engine.detach(*link).unwrap());
    let quiet = || {
        let before = counts(&bench, &engine, &programs);
        python(&bench.netns, Some(&group), DEEDS) == "done" && counts(&bench, &engine, &programs) == before
    };
    assert!(wait_until(quiet), "some run though they are detached");
}
