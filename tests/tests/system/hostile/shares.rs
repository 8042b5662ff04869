//! Attacks on what owners share: memory of maps, attachments, connections, namespaces that streams follow, and a lock.

use std::fs;
use std::os::unix::net::UnixStream;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::bpfman_node_client::BpfmanNodeClient;
use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, xdp};
use bpfman_tests::{Daemon, Launch, Network, compile, wait};

use super::others::{BOB, EVE, SUBORDINATE, with_subordinate_users};
use super::{calls_as, connected};
use crate::equipment::Program;
use crate::grants::load_as;
use crate::rights::as_user::as_user;

#[test]
fn loads_of_one_namespace_take_the_memory_of_others() {
    let config = "[maps]\nmib_per_owner = 2\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let object = compile::object("typed_maps").display().to_string();
    let load = |claims: &str| {
        let line = format!("load file -p {object} --programs xdp:use_all --map-size flows=10000 {claims}");
        daemon.bpfman(&line).code == 0
    };
    let of = |namespace: &str, name: usize| {
        load(&format!("-m bpfman.io/ProgramNamespace={namespace},bpfman.io/ProgramName=app-{name}"))
    };
    let taken = (0..8).filter(|name| of("evil", *name)).count();
    assert!((1..4).contains(&taken), "{taken} loads of 0.6 MiB of maps, 2 MiB allowed");
    assert!(of("good", 1), "another namespace has memory of its own");
    assert!(load("-m bpfman.io/ProgramName=wall"), "a cluster application has no limit");
    assert!((0..4).all(|_| load("")), "root has no limit");
}

#[test]
fn selectors_of_one_user_leave_root_none() {
    let policy = format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\nallow = [\"all\"]\n"
    );
    let (daemon, network) = (crate::grants::daemon(policy), Network::new());
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let far = network.far.path();
    let request = |program_id: u32, names: String| ext::AttachMatchingRequest {
        program_id,
        attach: attach(program_id, xdp(&far, "", 20, &[])).attach,
        r#match: Some(ext::InterfaceMatch {
            names: vec![names],
            netns: vec![far.display().to_string()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = calls_as(EVE, &daemon.socket(), |wire| {
        (0..1100)
            .take_while(|number| wire.attach_matching(request(own, format!("no{number}*"))).is_ok())
            .count()
    });
    let wall = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 9, 1);
    daemon.wire().attach_matching(request(wall.id, INTERFACE.to_owned())).unwrap();
    assert_eq!(made, 256);
    let links = daemon.bpfman("list links -o json").json()["links"].take();
    let attached = links.as_array().unwrap().iter().filter(|link| link["program_id"] == wall.id).count();
    assert_eq!(attached, 1, "{links}");
}

#[test]
fn share_that_is_kept_for_root_is_a_setting() {
    let policy = format!(
        "[files]\nusers = [0, {EVE}]\n[[grants]]\nname = \"eve\"\nusers = [{EVE}]\nallow = [\"all\"]\n"
    );
    let config = "[limits]\nkept_share = \"90%\"\n".to_owned();
    let (daemon, network) =
        (Daemon::start_with(&Launch { config, policy, ..Launch::default() }), Network::new());
    daemon.open_to_users();
    let own = u32::try_from(load_as(&daemon, EVE)).unwrap();
    let far = network.far.path();
    let attached = calls_as(EVE, &daemon.socket(), |wire| {
        let at = || attach(own, xdp(&far, INTERFACE, 50, &[]));
        (0..40).take_while(|_| wire.attach(at()).is_ok()).count()
    });
    assert_eq!(attached, 3, "of 32");
    let socket = daemon.socket();
    let mut held = Vec::new();
    // An earlier connection of the user may still count until the daemon notices its end.
    wait::until("51 of 512 connections, all that are left to users, are taken", || {
        held.extend(as_user(EVE, || {
            (0..64).filter_map(|_| UnixStream::connect(&socket).ok()).collect::<Vec<_>>()
        }));
        daemon.bpfman_as(BOB, "list programs").code != 0
    });
    daemon.bpfman("list programs").success();
    drop(held);
    wait::until("a place for another user", || daemon.bpfman_as(BOB, "list programs").code == 0);
    let daemon = Daemon::prepare();
    let config = "[limits]\nkept_share = \"half\"\n".to_owned();
    let (status, log) = daemon.refuses(&Launch { config, ..Launch::default() });
    assert!(!status.success() && log.contains("limits.kept_share: \"half\" is no share"), "{log}");
}

#[test]
fn subordinate_users_take_all_connections() {
    let (_namespace, daemon) = with_subordinate_users();
    let socket = daemon.socket();
    let mut held = Vec::new();
    for user in SUBORDINATE..SUBORDINATE + 9 {
        held.extend(as_user(user, || {
            (0..64).filter_map(|_| UnixStream::connect(&socket).ok()).collect::<Vec<_>>()
        }));
    }
    daemon.bpfman_as(BOB, "list programs").success();
    daemon.bpfman("list programs").success();
    assert_eq!(held.len(), 9 * 64);
}

#[test]
fn streams_of_subordinate_users_follow_namespaces_without_end() {
    let (_namespace, daemon) = with_subordinate_users();
    let socket = daemon.socket();
    let mut held = Vec::new();
    for user in SUBORDINATE..SUBORDINATE + 4 {
        let begun = as_user(user, || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let streams = runtime.block_on(async {
                let address = format!("unix:{}", socket.display());
                let channel = tonic::transport::Endpoint::try_from(address).unwrap().connect().await.unwrap();
                let mut streams = Vec::new();
                for part in 0..2 {
                    let netns = (0..500).map(|number| format!("/run/netns/{user}-{part}-{number}")).collect();
                    let mut client = BpfmanNodeClient::new(channel.clone());
                    streams.extend(client.watch(ext::WatchRequest { netns }).await.ok());
                }
                streams
            });
            (runtime, streams)
        });
        held.push(begun);
    }
    let taken: usize = held.iter().map(|(_, streams)| streams.len()).sum();
    assert_eq!(taken, 4, "streams of 500 namespaces each");
    let netns = vec!["/run/netns/absent".to_owned()];
    let others = as_user(BOB, || {
        connected(&socket, |channel| async {
            BpfmanNodeClient::new(channel).watch(ext::WatchRequest { netns }).await.is_ok()
        })
    });
    assert!(others);
}

#[test]
fn user_holds_the_lock_of_agents() {
    let daemon = crate::grants::daemon(String::new());
    let lock = bpfman_proto::agent_lock(&daemon.socket());
    assert!(as_user(EVE, || fs::File::open(&lock).is_err()
        && fs::File::options().append(true).open(&lock).is_err()));
    fs::File::open(&lock).unwrap().try_lock().unwrap();
}
