//! The crate `bpfman-client`, with a real daemon.

use std::process::Command;

use bpfman_client::aya::maps::{Array, HashMap, MapData};
use bpfman_client::{AttachAt, Client, Error, MapAccess, NewLoad, ProgramType, Reason, WatchedChange};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::number;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::DEADLINE;
use bpfman_tests::{Daemon, Launch, Network, compile, kernel};
use tokio::runtime::Runtime;

fn client_of(daemon: &Daemon) -> (Runtime, Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect_to(daemon.socket())).unwrap();
    (runtime, client)
}

fn member() -> NewLoad {
    let load = NewLoad::file(compile::object("chain")).program("xdp_member", ProgramType::Xdp);
    load.global("who", number(1)).global("verdict", number(2)).metadata("team", "a")
}

#[test]
fn a_program_is_loaded_attached_counted_and_goes_with_its_lease() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (runtime, client) = client_of(&daemon);
    let traffic = Traffic::new(&network);
    runtime.block_on(async {
        let program = client.load(member()).await.unwrap().remove(0).lease();
        assert_eq!(program.name(), "xdp_member");
        let far = network.far.path().display().to_string();
        let link = program.attach(AttachAt::xdp(INTERFACE).netns(far).priority(10)).await.unwrap();
        assert_eq!(
            program.links().await.unwrap().iter().map(|link| link.id()).collect::<Vec<_>>(),
            [link.id()]
        );
        assert_eq!(traffic.send(3), 3);

        let mut names: Vec<String> =
            program.maps().await.unwrap().iter().map(|map| map.name().to_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        assert_eq!(names, ["hits", "trail"]);
        let mut hits: Array<MapData, u64> =
            program.open_map("hits", MapAccess::Write).await.unwrap().typed().unwrap();
        assert_eq!(hits.get(&0, 0).unwrap(), 3);
        assert_eq!(hits.iter().collect::<Result<Vec<_>, _>>().unwrap(), [3]);
        hits.set(0, 9, 0).unwrap();
        let by_id = program.maps().await.unwrap().into_iter().find(|map| map.name() == "hits").unwrap();
        let read: Array<MapData, u64> = by_id.open(MapAccess::Read).await.unwrap().typed().unwrap();
        assert_eq!(read.get(&0, 0).unwrap(), 9);

        link.detach().await.unwrap();
        assert!(program.links().await.unwrap().is_empty());
        let found = client.programs([("team", "a")]).await.unwrap();
        assert_eq!(found.iter().map(|found| found.id()).collect::<Vec<_>>(), [program.id()]);
        assert!(client.programs([("team", "b")]).await.unwrap().is_empty());
        let id = program.id();
        drop(program);
        kernel::program_ends(id);

        let ended = client.load(member()).await.unwrap().remove(0).lease();
        let id = ended.id();
        ended.end().await.unwrap();
        kernel::program_ends(id);
        let kept = client.load(member()).await.unwrap().remove(0).lease().keep();
        assert!(kernel::has_program(kept.id()));
    });
}

#[test]
fn program_ends_with_its_lease_also_on_panic_without_a_runtime() {
    let daemon = Daemon::start();
    let (runtime, client) = client_of(&daemon);
    let program = runtime.block_on(client.load(member())).unwrap().remove(0).lease();
    let id = program.id();
    drop((client, runtime));
    let panicked = std::thread::spawn(move || {
        let _program = program;
        panic!("with a lease in hand");
    });
    assert!(panicked.join().is_err());
    kernel::program_ends(id);
}

#[test]
fn errors_have_reason_and_hint() {
    let mut daemon = Daemon::start();
    let (runtime, client) = client_of(&daemon);
    let program = runtime.block_on(async {
        let nowhere = Client::connect_to(daemon.path("nowhere")).await.unwrap_err();
        assert!(
            matches!(&nowhere, Error::Unreachable { path, .. } if *path == daemon.path("nowhere")),
            "{nowhere}"
        );
        let none = client.program(u32::MAX - 7).await.unwrap_err();
        assert_eq!(none.reason(), Some(Reason::NotFound), "{none}");
        let refused =
            client.load(NewLoad::file("/nowhere/x.o").program("x", ProgramType::Xdp)).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::NotFound), "{refused}");
        let program = client.load(member()).await.unwrap().remove(0);
        let none = program.open_map("none", MapAccess::Read).await.unwrap_err();
        assert_eq!((none.reason(), none.hint().is_some()), (Some(Reason::NotFound), true), "{none}");
        assert!(
            none.to_string().contains("it has: hits") || none.to_string().contains("hits, trail"),
            "{none}"
        );
        let wrong = program.open_map("hits", MapAccess::Read).await.unwrap();
        let wrong = wrong.typed::<HashMap<MapData, u32, u64>>().unwrap_err();
        assert!(matches!(&wrong, Error::Map { map, .. } if map == "hits"), "{wrong}");
        let mut hits: Array<MapData, u64> =
            program.open_map("hits", MapAccess::Read).await.unwrap().typed().unwrap();
        let refused = hits.set(0, 9, 0).unwrap_err();
        assert!(format!("{refused:?}").contains("PermissionDenied"), "{refused:?}");
        program
    });
    daemon.kill();
    let away = runtime.block_on(client.program(program.id())).unwrap_err();
    assert_eq!(away.reason(), None, "{away}");
    let away = runtime.block_on(program.open_map("hits", MapAccess::Read)).unwrap_err();
    assert!(matches!(away, Error::Unreachable { .. }), "{away}");
    daemon.again(&Launch::default());
    // The first call notices that the connection has ended, unless the one above did.
    assert_eq!(runtime.block_on(client.program(program.id())).unwrap().id(), program.id());
}

#[test]
fn changes_are_told_as_they_come_until_the_daemon_ends() {
    let mut daemon = Daemon::start();
    let (runtime, client) = client_of(&daemon);
    let mut watch = runtime.block_on(client.watch()).unwrap();
    let mut next = || runtime.block_on(async { tokio::time::timeout(DEADLINE, watch.next()).await.unwrap() });
    assert!(matches!(next(), Ok(Some(WatchedChange::Interfaces(_)))));
    runtime.block_on(client.load(member())).unwrap();
    while !matches!(next(), Ok(Some(WatchedChange::Objects))) {}
    daemon.terminate();
    while let Ok(Some(_)) = next() {}
}

#[test]
fn records_of_a_ring_come_as_they_are_made() {
    let daemon = Daemon::start();
    let (runtime, client) = client_of(&daemon);
    runtime.block_on(async {
        let load =
            NewLoad::file(compile::example("exec-snoop")).program("exec_snoop", ProgramType::Tracepoint);
        let program = client.load(load).await.unwrap().remove(0).lease();
        program.attach(AttachAt::tracepoint("sched/sched_process_exec")).await.unwrap();
        let read_only = program.open_map("events", MapAccess::Read).await.unwrap().ring().unwrap_err();
        assert!(matches!(read_only, Error::Map { .. }), "{read_only}");
        let mut events = program.open_map("events", MapAccess::Write).await.unwrap().ring().unwrap();
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = child.id().to_ne_bytes();
        let seen = async { while !events.next().await.unwrap().starts_with(&pid) {} };
        tokio::time::timeout(DEADLINE, seen).await.unwrap();
        child.wait().unwrap();
    });
}
