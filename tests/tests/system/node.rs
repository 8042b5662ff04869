//! Calls of a node's agent to the real daemon: containers, interfaces, changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::watch_event::Event;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::container::Container;
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::target::{self, Target};
use bpfman_tests::wait::until;
use bpfman_tests::wire::Streamed;
use bpfman_tests::{Daemon, Launch, Network, compile};
use tonic::Code;

use crate::equipment::{Program, assert_status, detach, unload};

fn asked(ids: &[&str]) -> ext::FindContainersRequest {
    ext::FindContainersRequest { container_ids: ids.iter().map(|id| (*id).to_owned()).collect() }
}

#[test]
fn containers_are_found_by_the_ids_of_a_pods_status() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let (running, ended) = (Container::empty(1), Container::empty(2));
    let process = Target::start();
    running.take(process.pid());
    let (with, without) = (running.id.clone(), running.digits.clone());
    let found = wire.find_containers(asked(&[&with, &ended.digits, &without])).unwrap().containers;
    let netns = format!("/proc/{}/ns/net", process.pid());
    let expected = |asked: &str| ext::Container {
        container_id: asked.to_owned(),
        pids: vec![process.pid().cast_signed()],
        netns: netns.clone(),
        netns_inode: fs::metadata(&netns).unwrap().ino(),
        netns_cookie: found[0].netns_cookie,
    };
    assert_eq!(found, [expected(&with), expected(&without)]);
    assert_ne!(found[0].netns_cookie, 0);
    drop(process);
    until("the container has ended", || wire.find_containers(asked(&[&with])).unwrap().containers.is_empty());
}

#[test]
fn ids_that_are_none_are_refused_by_name() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let before = daemon.state();
    for (id, says) in [
        ("containerd://../../etc", "other characters"),
        ("", "is empty"),
        ("docker://1234", "shorter than 12"),
    ] {
        let answer = wire.find_containers(asked(&["0123456789ab", id]));
        assert_status(answer, Code::InvalidArgument, "invalid", &["container id", says]);
    }
    let many = vec!["0123456789ab"; 1001];
    let answer = wire.find_containers(asked(&many));
    assert_status(answer, Code::InvalidArgument, "too-large", &["1001", "1000"]);
    assert_eq!(wire.find_containers(asked(&many[..1000])).unwrap().containers, []);
    assert_eq!(daemon.state(), before);
}

fn until_listed(
    watching: &mut Streamed<'_, ext::WatchEvent>,
    netns: &str,
    holds: impl Fn(&BTreeMap<String, Listed>) -> bool,
) {
    loop {
        let Some(Event::Interfaces(list)) = watching.next_event().unwrap() else { continue };
        let inside = list.interfaces.into_iter().filter(|interface| interface.netns == netns);
        let found = inside.map(|interface| (interface.name.clone(), interface)).collect();
        if holds(&found) {
            return;
        }
    }
}

type Listed = ext::NetworkInterface;

fn has(found: &BTreeMap<String, Listed>, name: &str, up: bool, address: Option<&str>) -> bool {
    found.get(name).is_some_and(|interface| {
        interface.up == up
            && interface.index != 0
            && address.is_none_or(|address| interface.addresses.iter().any(|found| found == address))
    })
}

#[test]
fn a_stream_tells_of_interfaces_as_they_come_change_and_go() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let namespace = Namespace::new("watched");
    let netns = namespace.path().display().to_string();
    let mut watching = wire.watch(&[]).unwrap();
    let Some(Event::Interfaces(first)) = watching.next_event().unwrap() else {
        panic!("the first event is the list")
    };
    let of = |netns: &str| {
        first
            .interfaces
            .iter()
            .filter(|one| one.netns == netns)
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(&netns), ["lo"]);
    assert!(of("").contains(&"lo"), "the daemon's own namespace: {first:?}");
    namespace.ip(&["link", "add", "first", "type", "veth", "peer", "name", "peer"]);
    until_listed(&mut watching, &netns, |found| {
        has(found, "first", false, None) && has(found, "peer", false, None)
    });
    namespace.ip(&["link", "set", "first", "up"]);
    until_listed(&mut watching, &netns, |found| has(found, "first", true, None));
    namespace.ip(&["address", "add", "10.9.8.7/24", "dev", "first"]);
    until_listed(&mut watching, &netns, |found| has(found, "first", true, Some("10.9.8.7")));
    namespace.ip(&["address", "add", "fd00::7/64", "dev", "first", "nodad"]);
    until_listed(&mut watching, &netns, |found| has(found, "first", true, Some("fd00::7")));
    namespace.ip(&["link", "set", "peer", "name", "other"]);
    until_listed(&mut watching, &netns, |found| found.contains_key("other") && !found.contains_key("peer"));
    namespace.ip(&["link", "delete", "first"]);
    until_listed(&mut watching, &netns, |found| found.keys().eq(["lo"]));
    let later = Namespace::new("later");
    until_listed(&mut watching, &later.path().display().to_string(), |found| {
        has(found, "lo", true, Some("127.0.0.1"))
    });
    namespace.delete();
    until_listed(&mut watching, &netns, BTreeMap::is_empty);
}

#[test]
fn namespace_with_several_names_is_listed_once_and_own_unnamed() {
    let own = Namespace::new("own");
    let other = Namespace::new("other");
    let again = other.named_again("again");
    let netns = format!("--net={}", own.path().display());
    let wrapper = ["nsenter".to_owned(), netns].to_vec();
    let daemon = Daemon::start_with(&Launch { wrapper, ..Launch::default() });
    own.ip(&["link", "add", "here", "type", "veth", "peer", "name", "there"]);
    let wire = daemon.wire();
    let mut watching = wire.watch(&[]).unwrap();
    let Some(Event::Interfaces(list)) = watching.next_event().unwrap() else {
        panic!("the first event is the list")
    };
    let of = |path: &Path| {
        let path = path.display().to_string();
        list.interfaces
            .iter()
            .filter(|one| one.netns == path)
            .map(|one| one.name.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(Path::new("")), ["lo", "there", "here"]);
    assert_eq!(of(&own.path()), [""; 0]);
    let mut names = [other.path(), again.path()];
    names.sort();
    assert_eq!(of(&names[0]), ["lo"]);
    assert_eq!(of(&names[1]), [""; 0]);
    let (first, second) = if names[0] == other.path() { (other, again) } else { (again, other) };
    let gone = first.path().display().to_string();
    first.delete();
    until_listed(&mut watching, &gone, BTreeMap::is_empty);
    until_listed(&mut watching, &second.path().display().to_string(), |found| found.contains_key("lo"));
}

#[test]
fn namespace_without_a_name_is_inspected_on_request() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let process = Target::start_by(Command::new("unshare").arg("--net").arg(target::binary()));
    let netns = format!("/proc/{}/ns/net", process.pid());
    let gone = "/proc/4194303/ns/net".to_owned();
    let mut watching = wire.watch(&[netns.clone(), gone.clone()]).unwrap();
    until_listed(&mut watching, &netns, |found| has(found, "lo", false, None));
    drop(process);
    until_listed(&mut watching, &netns, BTreeMap::is_empty);
    let relative = wire.watch(&["run/netns/a".to_owned()]);
    assert_status(relative, Code::InvalidArgument, "invalid", &["run/netns/a", "absolute"]);
    assert_status(wire.watch(&vec![gone; 1001]), Code::InvalidArgument, "too-large", &["1001", "1000"]);
}

#[test]
fn a_stream_says_when_programs_or_links_changed() {
    let daemon = Daemon::start();
    let network = Network::new();
    let wire = daemon.wire();
    let mut watching = wire.watch(&[]).unwrap();
    assert!(matches!(watching.next_event().unwrap(), Some(Event::Interfaces(_))));
    let until_changed = |watching: &mut Streamed<'_, ext::WatchEvent>| {
        while !matches!(watching.next_event().unwrap(), Some(Event::Changed(_))) {}
    };
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    until_changed(&mut watching);
    let point = xdp(&network.far.path(), INTERFACE, 1, &[]);
    let link = wire.attach(attach(program.id, point)).unwrap().link_id;
    until_changed(&mut watching);
    detach(&wire, link);
    until_changed(&mut watching);
    unload(&wire, program.id);
    until_changed(&mut watching);
}

#[test]
fn streams_are_served_up_to_the_limit_and_end_with_the_daemon() {
    let mut daemon = Daemon::start();
    // One connection is limited to 32 streams.
    let wires = [daemon.wire(), daemon.wire(), daemon.wire()];
    let [.., wire] = &wires;
    let mut open: Vec<_> = (0..64).map(|number| wires[number / 30].watch(&[]).unwrap()).collect();
    assert_status(wire.watch(&[]), Code::ResourceExhausted, "busy", &["64 streams"]);
    open.pop();
    until("there is room again", || wire.watch(&[]).map(|stream| open.push(stream)).is_ok());
    let mut first = open.swap_remove(0);
    assert!(matches!(first.next_event().unwrap(), Some(Event::Interfaces(_))));
    assert!(daemon.terminate().success());
    while let Some(event) = first.next_event().expect("it ends without a failure") {
        assert!(matches!(event, Event::Interfaces(_) | Event::Changed(_)), "{event:?}");
    }
    assert!(!daemon.log().contains("requests were still in progress"), "{}", daemon.log());
}

#[test]
fn the_command_line_tries_a_load_and_leaves_nothing() {
    let daemon = Daemon::start();
    let network = Network::new();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 1, &[]))).unwrap();
    let before = daemon.state();
    let object = compile::object("chain").display().to_string();
    let hook = format!("xdp:{INTERFACE}@{}", network.far.path().display());
    let load = format!("load file -p {object} --programs xdp:xdp_member --dry-run --attach {hook}");
    let tried = daemon.bpfman(&format!("{load} -o json")).json();
    assert_eq!(tried["accepted"], true, "{tried}");
    assert_eq!(tried["tried_programs"][0]["name"], "xdp_member");
    assert!(tried["tried_programs"][0]["jited_bytes"].as_u64().unwrap() > 0, "{tried}");
    let chain = &tried["tried_chains"][0];
    assert_eq!((&chain["name"], &chain["member_count"]), (&hook.clone().into(), &2.into()), "{tried}");
    assert_eq!((&chain["strategy"], chain["load_nanoseconds"].as_u64() > Some(0)), (&"splice".into(), true));
    assert_eq!(tried["composition"].as_str().unwrap().len(), 64);
    assert!(daemon.bpfman(&load).success().contains("accepted"));
    assert_eq!(daemon.state(), before);

    let broken = compile::object("broken").display().to_string();
    let refused = daemon.bpfman(&format!("load file -p {broken} --programs xdp:broken --dry-run"));
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(refused.stdout.contains("REFUSED"), "{refused:?}");
    let wrong =
        daemon.bpfman(&format!("load file -p {object} --programs tc:tc_member --dry-run --attach {hook}"));
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert_eq!(daemon.state(), before);
}

#[test]
fn a_group_that_is_named_may_use_the_socket() {
    let launch = Launch { flags: vec!["--socket-group".to_owned(), "4711".to_owned()], ..Launch::default() };
    let daemon = Daemon::start_with(&launch);
    let found = fs::metadata(daemon.socket()).unwrap();
    assert_eq!((found.gid(), found.mode() & 0o777), (4711, 0o660));
    fs::set_permissions(daemon.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |group: u32| {
        let words = ["--reuid", "4712", "--clear-groups", "--regid", &group.to_string()].map(str::to_owned);
        let mut command = Command::new("setpriv");
        let script = "use IO::Socket::UNIX; exit(IO::Socket::UNIX->new(Peer => $ARGV[0]) ? 0 : 1)";
        command.args(words).args(["/usr/bin/perl", "-e", script]).arg(daemon.socket());
        command.output().unwrap().status.success()
    };
    assert!(ask(4711), "a user of the group");
    assert!(!ask(4713), "any other user");
    drop(daemon);
    let named = Launch { config: "[socket]\ngroup = \"of-nobody\"\n".to_owned(), ..Launch::default() };
    let (status, says) = Daemon::prepare().refuses(&named);
    assert!(!status.success());
    assert!(says.contains("socket.group") && says.contains("of-nobody"), "{says}");
}

#[test]
fn a_network_namespace_is_the_same_one_by_file_and_by_container() {
    let daemon = Daemon::start();
    let wire = daemon.wire();
    let network = Network::new();
    let path = network.far.path().display().to_string();
    let ask = |path: &str| ext::FindNetworkNamespaceRequest { path: path.to_owned() };
    let found = wire.find_network_namespace(ask(&path)).unwrap();
    let names: Vec<_> = found.interfaces.iter().map(|one| one.name.as_str()).collect();
    assert!(names.contains(&INTERFACE), "{names:?}");
    assert!(found.interfaces.iter().all(|one| one.netns == path));

    let container = Container::empty(9);
    let mut command = network.far.command(&target::binary().display().to_string());
    let process = Target::start_by(&mut command);
    container.take(process.pid());
    let inside = wire.find_containers(asked(&[&container.digits])).unwrap().containers.remove(0);
    assert_eq!((inside.netns_inode, inside.netns_cookie), (found.inode, found.cookie));
    assert_eq!(wire.find_network_namespace(ask(&inside.netns)).unwrap().cookie, found.cookie);

    for (path, why) in
        [("", "absolute"), ("run/netns/x", "absolute"), ("/run/netns/none-such", "No such file")]
    {
        let status = wire.find_network_namespace(ask(path)).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
        assert!(status.message().contains(why), "{path}: {}", status.message());
    }
    drop(process);
}
