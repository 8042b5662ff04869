mod bridge;
mod extensions;
mod frame;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use bpfman_tests::command::run;
use bpfman_tests::{Outcome, wait};
use serde_json::json;

use self::bridge::{Bridge, INTERFACE, PORT};
use crate::equipment::{Gallery, refusals, turns};

const RULES: &str = "allow port1 out to 10.9.0.0/24 proto tcp dport 4242\nallow port1 out proto udp dport 4242\n\
                     allow port2 in from 10.9.0.1/32 proto tcp\nallow port2 in proto udp\n";

fn received(socket: &UdpSocket) -> usize {
    std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count()
}

fn arrives(socket: &UdpSocket) {
    wait::until("it arrives", || socket.recv(&mut [0; 64]).is_ok());
}

fn connect(bridge: &Bridge, from: usize, to: usize) -> TcpStream {
    let address = bridge.hosts[to].address();
    bridge.hosts[from].namespace.inside(move || TcpStream::connect((address, PORT)).unwrap())
}

fn echoed(connection: &mut TcpStream, word: &str) -> bool {
    connection.write_all(word.as_bytes()).unwrap();
    let mut back = vec![0; word.len()];
    connection.read_exact(&mut back).unwrap();
    back == word.as_bytes()
}

#[test]
fn connections_are_begun_by_rules_and_answered_back() {
    let bridge = Bridge::new();
    let [one, two, three] = &bridge.hosts;
    let sockets = [one, two, three].map(|host| host.udp(&host.address(), PORT));
    sockets[1].send_to(b"x", (one.address(), PORT)).unwrap();
    arrives(&sockets[0]);
    assert!(bridge.connections().is_empty(), "without rules everything passes, and nothing is kept");

    bridge.apply(&bridge.ports_and(RULES));
    assert_eq!(bridge.run("list").success(), bridge.ports_and(RULES));
    sockets[1].send_to(b"x", (one.address(), PORT)).unwrap();
    wait::until("it is refused", || bridge.count(1, "refused_out") == 1);
    sockets[0].send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&sockets[1]);
    sockets[1].send_to(b"x", (one.address(), PORT)).unwrap();
    arrives(&sockets[0]);
    sockets[1].send_to(b"x", (one.address(), PORT + 1)).unwrap();
    wait::until("it is refused", || bridge.count(1, "refused_out") == 2);
    sockets[0].send_to(b"x", (two.address(), PORT + 1)).unwrap();
    wait::until("it is refused", || bridge.count(0, "refused_out") == 1);
    sockets[2].send_to(b"x", (one.address(), PORT)).unwrap();
    wait::until("it is refused on its way in", || bridge.count(0, "refused_in") == 1);
    sockets[2].send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&sockets[1]);

    two.echoes();
    let mut connection = connect(&bridge, 0, 1);
    assert!(echoed(&mut connection, "hello"));
    let found = bridge.connections();
    let tcp: Vec<_> = found.iter().filter(|one| one["protocol"] == "tcp").collect();
    let own = connection.local_addr().unwrap().to_string();
    let other = connection.peer_addr().unwrap().to_string();
    assert_eq!(tcp.len(), 2, "{found:?}");
    for (seen, [port, own, peer, begun]) in
        tcp.iter().zip([["port1", &own, &other, "out"], ["port2", &other, &own, "in"]])
    {
        let expected = [json!(port), json!(own), json!(peer), json!(begun), json!("established")];
        let seen = ["port", "own", "peer", "begun", "state"].map(|key| seen[key].clone());
        assert_eq!(seen, expected);
    }
    bridge.run("flush").success();
    assert!(bridge.connections().is_empty());
    let refused = bridge.count(0, "refused_out");
    connection.write_all(b"x").unwrap();
    wait::until("it is refused", || bridge.count(0, "refused_out") > refused);
    assert!(bridge.connections().is_empty());
    assert_eq!(
        received(&sockets[0]) + received(&sockets[1]) + received(&sockets[2]),
        0,
        "nothing else arrived"
    );
}

#[test]
fn a_port_sends_from_its_own_addresses_only() {
    let rules = "allow port1 out\nallow port2 in\nallow port2 out\nallow port1 in\n";
    let bridge = Bridge::with_rules(rules).with_ipv6();
    let [one, two, three] = &bridge.hosts;
    let spoofed = |more: u64| {
        let before = bridge.count(0, "spoofed");
        move |bridge: &Bridge| bridge.count(0, "spoofed") >= before + more
    };
    let receiver = two.udp("::", PORT);
    for (own, others, to) in [
        (one.address(), three.address(), two.address()),
        (one.address_v6(), three.address_v6(), two.address_v6()),
    ] {
        // ARP and neighbour discovery must use the port's own address: resolve the neighbour from that one first.
        one.udp(&own, 0).send_to(b"x", (to.clone(), PORT)).unwrap();
        arrives(&receiver);
        let length = if others.contains(':') { 128 } else { 32 };
        let words = ["address", "add", &format!("{others}/{length}"), "dev", INTERFACE];
        let flags: &[&str] = if length == 128 { &["nodad"] } else { &[] };
        one.namespace.ip(&[&words, flags].concat());
        let seen = spoofed(1);
        one.udp(&others, 0).send_to(b"x", (to, PORT)).unwrap();
        wait::until("it is seen to be spoofed", || seen(&bridge));
    }
    // ARP reply for another host's address: the host without a filter asks for that address, which it no longer has.
    three.namespace.ip(&["address", "delete", &format!("{}/24", three.address()), "dev", INTERFACE]);
    three.namespace.ip(&["address", "add", "10.9.0.99/24", "dev", INTERFACE]);
    let seen = spoofed(1);
    three.udp("10.9.0.99", 0).send_to(b"x", (three.address(), PORT)).unwrap();
    wait::until("its answer is seen to be spoofed", || seen(&bridge));
    let neighbours = three.namespace.ip(&["neighbour", "show", "to", &three.address()]);
    assert!(!neighbours.contains(&one.mac()), "{neighbours}");
    let seen = spoofed(1);
    one.namespace.ip(&["link", "set", INTERFACE, "address", "02:00:00:00:00:0f"]);
    let words = ["neighbour", "replace", &two.address(), "lladdr", &two.mac(), "dev", INTERFACE];
    one.namespace.ip(&[&words[..], &["nud", "permanent"]].concat());
    one.udp(&one.address(), 0).send_to(b"x", (two.address(), PORT)).unwrap();
    wait::until("it is seen to be spoofed", || seen(&bridge));
    assert_eq!(received(&receiver), 0);
}

#[test]
fn connections_end_with_their_timeouts() {
    let bridge =
        Bridge::with_rules(&format!("{RULES}timeout other 1\ntimeout established 1\ntimeout opening 1\n"));
    let [one, two, _] = &bridge.hosts;
    let (near, far) = (one.udp(&one.address(), PORT), two.udp(&two.address(), PORT));
    two.echoes();
    let mut connection = connect(&bridge, 0, 1);
    near.send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&far);
    wait::until("they are over", || bridge.connections().is_empty());
    far.send_to(b"x", (one.address(), PORT)).unwrap();
    wait::until("it is no answer any more", || bridge.count(1, "refused_out") >= 1);
    assert_eq!(received(&near), 0);
    connection.write_all(b"x").unwrap();
    wait::until("the connection is none any more", || bridge.count(0, "refused_out") >= 1);
    near.send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&far);
    assert!(echoed(&mut connect(&bridge, 0, 1), "again"));
}

#[test]
fn errors_about_a_connection_pass_and_others_do_not() {
    let rules = "allow port1 out proto udp\nallow port2 in proto udp\nallow port1 out proto icmp\nallow port2 in proto icmp\n";
    let bridge = Bridge::with_rules(rules);
    let [one, two, _] = &bridge.hosts;
    let sender = one.udp(&one.address(), 0);
    sender.connect((two.address(), PORT)).unwrap();
    wait::until("it is told", || {
        let _sent = sender.send(b"x");
        sender.recv(&mut [0; 64]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(bridge.count(1, "refused_out"), 0);
    let ping = |from: usize, to: usize| {
        let address = bridge.hosts[to].address();
        let mut command = bridge.hosts[from].namespace.command("ping");
        Outcome::of(command.args(["-n", "-c", "1", "-w", "2", &address])).code
    };
    assert_eq!(ping(0, 1), 0);
    assert_eq!(ping(1, 0), 1);
    assert!(bridge.count(1, "refused_out") >= 1);
    // Errors also pass if only the second port allows the datagram.
    bridge.apply(&bridge.ports_and("allow port2 in proto udp\n"));
    let refused = bridge.count(1, "refused_out");
    let stranger = bridge.hosts[2].udp(&bridge.hosts[2].address(), 0);
    stranger.connect((two.address(), PORT)).unwrap();
    wait::until("it is told, too", || {
        let _sent = stranger.send(b"x");
        stranger.recv(&mut [0; 64]).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(bridge.count(1, "refused_out"), refused);
    bridge.run("flush").success();
    // ICMP destination unreachable for a datagram from 10.9.0.3, port 9, to 10.9.0.2.
    let message =
        format!("0303000000000000 45000020 00004000 40110000 0a090003 0a090002 0009{PORT:04x} 000c0000");
    let script = format!(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); \
         s.sendto(bytes.fromhex('{message}'), ('10.9.0.3', 0))"
    );
    Outcome::of(two.namespace.command("/usr/bin/python3").args(["-c", &script])).success();
    wait::until("it is refused", || bridge.count(1, "refused_out") > refused);
}

#[test]
fn opener_of_many_connections_loses_only_its_oldest_ones() {
    let bridge = Bridge::with_rules(
        "allow port1 out proto udp\nallow port2 in from 10.9.0.1/32 proto udp\n\
         allow port2 in proto udp dport 4242\nallow port2 out to 10.9.0.3/32 proto udp dport 4242\n",
    );
    let [one, two, three] = &bridge.hosts;
    let receiver = two.udp(&two.address(), PORT);
    one.udp(&one.address(), 0).send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&receiver);
    let [by_two, with_three] = [two.udp(&two.address(), 0), three.udp(&three.address(), PORT)];
    by_two.send_to(b"x", (three.address(), PORT)).unwrap();
    arrives(&with_three);
    let by_three = three.udp(&three.address(), 0);
    by_three.send_to(b"x", (two.address(), PORT)).unwrap();
    arrives(&receiver);
    let senders = [0; 2].map(|_| one.udp(&one.address(), 0));
    for port in 1..u16::MAX {
        for sender in &senders {
            let _sent = sender.send_to(b"x", (two.address(), port));
        }
    }
    let late = one.udp(&one.address(), 0);
    late.send_to(b"x", (two.address(), PORT)).unwrap();
    let mut from = None;
    wait::until("a new one passes", || {
        from = receiver.recv_from(&mut [0; 64]).ok().map(|(_, from)| from);
        from == late.local_addr().ok()
    });
    receiver.send_to(b"x", from.unwrap()).unwrap();
    arrives(&late);
    let connections = bridge.connections();
    let own = format!("{}:", one.address());
    let by_one = connections.iter().filter(|connection| {
        ["own", "peer"].iter().any(|end| connection[*end].as_str().unwrap().starts_with(&own))
    });
    let by_one = by_one.count();
    assert!((10_000..=65_536 / 3).contains(&by_one), "{by_one} of {}", connections.len());
    with_three.send_to(b"x", by_two.local_addr().unwrap()).unwrap();
    arrives(&by_two);
    receiver.send_to(b"x", by_three.local_addr().unwrap()).unwrap();
    arrives(&by_three);
}

#[test]
fn rules_over_ipv6_see_addresses_and_ports() {
    let rules = "allow port1 out to fd09::/64 proto udp dport 4242\nallow port2 in proto udp\n";
    let bridge = Bridge::with_rules(rules).with_ipv6();
    let [one, two, _] = &bridge.hosts;
    let (near, far) = (one.udp(&one.address_v6(), PORT), two.udp(&two.address_v6(), PORT));
    near.send_to(b"x", (two.address_v6(), PORT)).unwrap();
    arrives(&far);
    far.send_to(b"x", (one.address_v6(), PORT)).unwrap();
    arrives(&near);
    let refused = bridge.count(0, "refused_out");
    near.send_to(b"x", (two.address_v6(), PORT + 1)).unwrap();
    wait::until("it is refused", || bridge.count(0, "refused_out") > refused);
}

#[test]
fn bad_rules_are_named_and_change_nothing() {
    let mut bridge = Bridge::with_rules(RULES);
    let good = bridge.ports_and(RULES);
    for (rules, says) in [
        ("port port1\nallow port1 up", "line 2: behind the port's name is out or in"),
        ("port port1 mac 03:00:00:00:00:01", "line 1: \"03:00:00:00:00:01\" is the address of a group"),
        ("port port1\n\nport port1 # again", "line 3: line 1 says the same"),
    ] {
        bridge.feed("apply", rules).fails(6, &["standard input, ", says, "nothing was changed"]);
        bridge.feed("diff", rules).fails(6, &[says]);
    }
    bridge.feed("apply", "port port1\nallow port2 in").fails(6, &["about port port2", "nothing was changed"]);
    bridge.feed("apply", "port port9").fails(5, &["no interface port9", "nothing was changed"]);
    bridge.run("apply /no/such/rules").fails(1, &["cannot read /no/such/rules"]);
    let difference = bridge.feed("diff", &format!("{good}timeout other 9\n"));
    assert_eq!((difference.code, difference.stdout.as_str()), (1, "+ timeout other 9\n"));
    bridge.feed("diff", &good).success();
    let program = bridge.program;
    for line in ["list", "stats", "connections", "flush", "apply /dev/null"] {
        refusals(&mut bridge.gallery, "switch-port", program, line);
    }
    assert_eq!(bridge.run("list").success(), good);
    turns(&bridge.gallery, program, &|| bridge.feed("apply", &good), &|| bridge.run("unlock"));
}

#[test]
fn connections_survive_rule_changes_without_the_daemon() {
    let mut bridge = Bridge::with_rules(RULES);
    bridge.hosts[1].echoes();
    let mut connection = connect(&bridge, 0, 1);
    assert!(echoed(&mut connection, "one"));
    let passed = bridge.count(0, "passed_out");
    bridge.apply(&bridge.ports_and(""));
    assert!(echoed(&mut connection, "two"), "rules are about what is begun");
    assert!(bridge.count(0, "passed_out") > passed, "counts stay");
    bridge.gallery.daemon.kill();
    assert!(echoed(&mut connection, "three"));
    bridge.gallery.restart();
    assert!(echoed(&mut connection, "four"));
    bridge.apply(&bridge.ports_and(RULES));
    assert!(echoed(&mut connect(&bridge, 0, 1), "five"));
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let name = format!("sp{}", std::process::id());
    run(&["ip", "link", "add", &name, "type", "veth", "peer", "name", &format!("{name}b")]);
    let _gone = Interface(name.clone());
    let manifest = gallery.manifest("switch-port");
    let text = fs::read_to_string(&manifest).unwrap();
    assert_eq!(text.matches("/^port/").count(), 2);
    fs::write(&manifest, text.replace("/^port/", &format!("/^{name}$/"))).unwrap();
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in ["switch_port_out", "switch_port_in"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let rules = gallery.daemon.path("rules");
    fs::write(&rules, format!("port {name}\n")).unwrap();
    fs::set_permissions(&rules, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    gallery.side("switch-port", &format!("--app switch-port apply {}", rules.display())).success();
    assert_eq!(gallery.side("switch-port", "--app switch-port list").success(), format!("port {name}\n"));
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("switch-port", "--app switch-port list").fails(5, &["switch-port"]);
}

struct Interface(String);

impl Drop for Interface {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}
