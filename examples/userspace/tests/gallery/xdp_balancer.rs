#[path = "xdp_balancer/town.rs"]
mod town;

use std::collections::BTreeMap;
use std::net::TcpStream;

use bpfman_tests::wait;
use serde_json::Value;

use crate::equipment::{Gallery, Interface, begin_own_turn, refusals, turns};
use town::{BACKENDS, PORT, Town, V4, V6, ask, backend};

fn service(address: &str, backends: &[(u8, &str)]) -> String {
    let lines = backends.iter().map(|(number, more)| format!("backend {} {more}\n", backend(*number, false)));
    format!("service {address} tcp {PORT}\n{}", lines.collect::<String>())
}

fn connections(town: &Town, count: usize) -> BTreeMap<u8, Vec<TcpStream>> {
    let mut by_backend: BTreeMap<u8, Vec<TcpStream>> = BTreeMap::new();
    for _ in 0..count {
        let (number, stream) = town.connect(V4).expect("a backend answers");
        by_backend.entry(number).or_default().push(stream);
    }
    by_backend
}

fn states(town: &Town) -> Vec<String> {
    let listed = town.json("list --json");
    let backends = listed[0]["backends"].as_array().unwrap();
    backends.iter().map(|backend| backend["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn connections_spread_and_stay_when_backends_go_come_and_drain() {
    let mut town = Town::new();
    let _servers: Vec<_> = (1..=BACKENDS).map(|number| town.serve(number)).collect();
    let said = town.apply(&service(V4, &[(1, ""), (2, ""), (3, "")])).success();
    assert_eq!(said, "1 services with 3 backends\n");
    let mut open = connections(&town, 30);
    assert_eq!(open.len(), usize::from(BACKENDS), "every backend gets some of 30 connections");

    town.apply(&service(V4, &[(1, ""), (3, "")])).success();
    let mut ended = open.remove(&2).unwrap();
    assert!(ended.iter_mut().all(|stream| ask(stream).is_none()), "nobody else goes on with a connection");
    let all_stay = |open: &mut BTreeMap<u8, Vec<TcpStream>>| {
        open.iter_mut().all(|(number, streams)| streams.iter_mut().all(|stream| ask(stream) == Some(*number)))
    };
    assert!(all_stay(&mut open));
    assert!(connections(&town, 12).keys().all(|number| [1, 3].contains(number)));

    town.apply(&service(V4, &[(1, ""), (2, "weight 3"), (3, "")])).success();
    assert!(all_stay(&mut open));

    town.run(&format!("drain {}", backend(3, false))).success();
    assert!(all_stay(&mut open), "what drains keeps its connections");
    assert!(!connections(&town, 12).contains_key(&3));
    assert!(states(&town).contains(&"draining".to_owned()));
    town.run(&format!("undrain {}", backend(3, false))).success();
    assert_eq!(connections(&town, 30).len(), usize::from(BACKENDS));

    let program = town.program;
    refusals(&mut town.gallery, "xdp-balancer", program, "list");
    let same = || town.run(&format!("undrain {}", backend(3, false)));
    turns(&town.gallery, program, &same, &|| town.run("unlock"));
    assert!(all_stay(&mut open));
    town.run("drain 10.9.9.9").fails(5, &["there is no backend 10.9.9.9", "nothing was changed"]);
    let listed = town.json("list --json");
    assert_eq!(listed[0]["service"], format!("{V4}:{PORT} tcp"));
    let packets = |value: &Value| value["packets"].as_u64().unwrap();
    let all: u64 = listed[0]["backends"].as_array().unwrap().iter().map(packets).sum();
    assert!(all > 300 && packets(&listed[0]) >= all, "{listed}");
    let stats = town.json("stats --json");
    assert!(stats["connections"].as_u64().unwrap() >= 84 && stats["too_large"] == 0, "{stats}");
    assert!(town.pings_the_balancer(), "what is for no service passes");
}

#[test]
fn a_backend_that_does_not_answer_gets_nothing_until_it_does() {
    let town = Town::new();
    let mut servers: Vec<_> = (1..=BACKENDS).map(|number| town.serve(number)).collect();
    town.apply(&service(V4, &[(1, ""), (2, ""), (3, "")])).success();
    let watch = "watch --interval 0.05 --failures 2 --successes 2 --rounds 3";
    assert_eq!(town.run(watch).success(), "", "all of them answer");
    drop(servers.remove(1));
    begin_own_turn(&town.gallery, town.program);
    let waited = town.run(watch);
    assert_eq!((waited.code, waited.stdout.as_str()), (0, ""), "{waited:?}");
    assert!(waited.stderr.contains("is replacing the rules; trying again"), "{waited:?}");
    assert_eq!(states(&town), ["up", "up", "up"]);
    town.run("unlock").success();
    let said = town.run(watch).success();
    assert!(said.starts_with(&format!("{} is down: port {PORT}: ", backend(2, false))), "{said}");
    assert_eq!(states(&town), ["up", "down", "up"]);
    assert!(!connections(&town, 12).contains_key(&2));
    town.apply(&service(V4, &[(1, ""), (2, ""), (3, "")])).success();
    assert_eq!(states(&town), ["up", "down", "up"]);
    servers.push(town.serve(2));
    assert_eq!(town.run(watch).success(), format!("{} is up: it answers\n", backend(2, false)));
    assert_eq!(connections(&town, 30).len(), usize::from(BACKENDS));
    assert_eq!(town.json("stats --json")["no_backend"], 0);
    servers.clear();
    town.run(watch).success();
    assert_eq!(states(&town), ["down", "down", "down"]);
    town.knock();
    wait::until("a packet that finds no backend is counted", || {
        town.json("stats --json")["no_backend"].as_u64().unwrap() > 0
    });
}

#[test]
fn both_families_go_over_both() {
    let town = Town::new();
    let _servers: Vec<_> = (1..=BACKENDS).map(|number| town.serve(number)).collect();
    for (address, over_v6) in [(V4, false), (V4, true), (V6, false), (V6, true)] {
        town.apply(&format!("service {address} tcp {PORT}\nbackend {}\n", backend(2, over_v6))).success();
        let (number, _stream) =
            town.connect(address).unwrap_or_else(|| panic!("{address}, over IPv6: {over_v6}"));
        assert_eq!(number, 2);
    }
    town.apply(&format!("service {V4} udp {PORT}\nbackend {}\n", backend(3, false))).success();
    town.serve_datagrams(3);
    assert_eq!(town.datagram(), 3);
}

#[test]
fn the_machines_routes_can_say_where_packets_go() {
    let town = Town::by_routes();
    let _server = town.serve(1);
    town.apply(&service(V4, &[(1, "")])).success();
    assert!(town.pings_the_balancer());
    let (number, _stream) = town.connect(V4).expect("the backend answers");
    assert_eq!(number, 1);
    assert_eq!(town.json("stats --json")["no_route"], 0);
}

#[test]
fn large_packets_and_fragments_are_counted() {
    let town = Town::new();
    town.serve_datagrams(1);
    town.apply(&format!("service {V4} udp {PORT}\nbackend {}\n", backend(1, false))).success();
    assert_eq!(town.datagram(), 1);
    // 1,472 bytes fill an Ethernet frame and leave no space for another header; 2,000 arrive as two fragments.
    for (length, outcome) in [(1472, "too_large"), (2000, "fragments")] {
        town.send_large(length);
        wait::until("it is counted", || town.json("stats --json")[outcome].as_u64().unwrap() > 0);
    }
}

#[test]
fn bad_files_are_named_and_change_nothing() {
    let town = Town::new();
    let good = service(V4, &[(1, ""), (2, "weight 7")]);
    town.apply(&good).success();
    let before = town.json("list --json");
    for (bad, says) in [
        ("service 1.2.3.4 sctp 1\n", "line 6: `sctp` is neither tcp nor udp"),
        ("backend 10.9.9.9 weight 1000\n", "from 1 to 100"),
        ("nonsense\n", "`nonsense` begins no line"),
    ] {
        town.apply(&format!("{good}{bad}")).fails(6, &[says, "nothing was changed"]);
    }
    town.run("apply /no/such/file").fails(1, &["cannot read /no/such/file"]);
    assert_eq!(town.json("list --json"), before);
    town.run("watch --interval 0 --rounds 1").fails(6, &["--interval 0"]);
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let interface = Interface::new();
    let manifest = gallery.manifest_at("xdp-balancer", "app.yaml", &interface);
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman("wait program xdp_balancer --for attached").success();
    assert_eq!(gallery.side("xdp-balancer", "--app xdp-balancer list --json").success(), "[]\n");
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("xdp-balancer", "--app xdp-balancer list").fails(5, &["xdp-balancer"]);
}
