use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::UdpSocket;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Network, Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, Interface, WATCHER, refusals, turns};

const PORT: u16 = 4242;

struct Firewall {
    gallery: Gallery,
    network: Network,
    program: u64,
}

impl Firewall {
    fn new() -> Self {
        let gallery = Gallery::open();
        let network = Network::new();
        let program = gallery.load("xdp-firewall", "--programs xdp:xdp_firewall")[0];
        let firewall = Self { gallery, network, program };
        firewall.attach(program, 10);
        firewall
    }

    fn attach(&self, program: u64, priority: u32) {
        let netns = self.network.far.path().display().to_string();
        let words = format!("attach {program} xdp --iface {INTERFACE} --netns {netns} --priority {priority}");
        self.gallery.daemon.bpfman(&words).success();
    }

    fn run(&self, line: &str) -> Outcome {
        self.gallery.side("xdp-firewall", &format!("--program {} {line}", self.program))
    }

    fn with_rules(&self, verb: &str, rules: &str) -> Outcome {
        let file = self.gallery.daemon.path("rules");
        fs::write(&file, rules).unwrap();
        let mut side = self.gallery.side_as(WATCHER, "xdp-firewall");
        let side = side.args(["--program", &self.program.to_string(), verb, "-"]);
        Outcome::of(side.stdin(File::open(file).unwrap()))
    }

    fn matched(&self, rule: &str) -> u64 {
        let rules: Vec<Value> = serde_json::from_str(&self.run("list --json").success()).unwrap();
        let found = rules.iter().find(|one| one["rule"] == rule);
        found.unwrap_or_else(|| panic!("no rule {rule}: {rules:?}"))["packets"].as_u64().unwrap()
    }
}

#[test]
fn the_first_rule_that_matches_decides_and_counts() {
    let firewall = Firewall::new();
    let traffic = Traffic::new(&firewall.network);
    assert_eq!(traffic.send(3), 3, "without rules everything passes");
    let port = format!("drop src {NEAR_ADDRESS}/32 proto udp dport {PORT}");
    for (rules, passed) in [
        (port.clone(), 0),
        (format!("allow src 10.0.0.0/8 # first\n{port}\n"), 3),
        (format!("{port}\nallow src 10.0.0.0/8\n"), 0),
        (format!("drop proto udp dport {}\ndrop proto tcp dport {PORT}", PORT + 7), 3),
        (format!("drop dst {FAR_ADDRESS}/32 proto udp dport {PORT}"), 0),
        (format!("drop proto udp dport {PORT}\nallow"), 0),
        (format!("allow dst 10.77.0.0/16 proto udp\n{port}\ndrop"), 3),
        (format!("allow proto udp dport {}\ndrop src 10.77.0.0/16 proto 17", PORT + 1), 0),
        (String::new(), 3),
    ] {
        firewall.with_rules("apply", &rules).success();
        assert_eq!(traffic.send(3), passed, "{rules}");
        firewall.with_rules("diff", &rules).success();
    }
    firewall.with_rules("apply", &port).success();
    assert_eq!(traffic.send(5), 0);
    assert_eq!(firewall.matched(&port), 5);
    let more = format!("allow proto icmp\n{port}\n");
    let difference = firewall.with_rules("diff", &more);
    assert_eq!((difference.code, difference.stdout.as_str()), (1, "+ allow proto icmp\n"));
    let said = firewall.with_rules("apply", &more).success();
    assert_eq!(said, "2 rules: 1 added, 0 removed, 1 kept\n");
    assert_eq!(firewall.run("list --rules").success(), more);
    assert_eq!(traffic.send(1), 0);
    assert_eq!(firewall.matched(&port), 6);
    firewall.with_rules("apply", "allow src 10.77.0.0/16").success();
    assert_eq!(
        firewall.run("add 192.0.2.0/24 192.0.2.0/24").success(),
        "192.0.2.0/24 added\n192.0.2.0/24 unchanged\n"
    );
    assert_eq!(traffic.send(1), 1);
    firewall.run("remove 192.0.2.0/24").success();
    assert_eq!(firewall.run("list --rules").success(), "allow src 10.77.0.0/16\n");
}

#[test]
fn bad_rules_are_named_and_change_nothing() {
    let mut firewall = Firewall::new();
    let good = "drop src 192.0.2.0/24\ndrop src 2001:db8::/32 proto tcp dport 22\n";
    firewall.with_rules("apply", good).success();
    for (rules, says) in [
        ("drop\nallow all\n", "line 2: \"all\" is none of src, dst, proto and dport"),
        ("drop src 10.0.0.1/8", "line 1: \"10.0.0.1/8\" is no prefix"),
        ("drop proto tcp\n\nallow proto 6", "line 3: it matches what line 1 matches"),
        ("drop dport 22", "line 1: dport needs proto"),
    ] {
        firewall.with_rules("apply", rules).fails(6, &["standard input, ", says, "nothing was changed"]);
        firewall.with_rules("diff", rules).fails(6, &[says]);
    }
    firewall.run("apply /no/such/rules").fails(1, &["cannot read /no/such/rules"]);
    firewall.run("add 10.0.0.1/8").fails(2, &["10.0.0.0/8?"]);
    assert_eq!(firewall.run("list --rules").success(), good);
    let program = firewall.program;
    refusals(&mut firewall.gallery, "xdp-firewall", program, "add 192.0.2.0/24");
    refusals(&mut firewall.gallery, "xdp-firewall", program, "list");
    assert_eq!(firewall.run("list --rules").success(), good);
}

/// All generations of the rules drop the test's packets: no packet passes in between.
#[test]
fn a_packet_meets_the_old_rules_or_the_new_ones_whole() {
    let firewall = Firewall::new();
    let traffic = Traffic::new(&firewall.network);
    let rules = |second: u32, last: &str| {
        let mut text = (0..10_000_u32).fold(String::new(), |mut text, number| {
            writeln!(text, "drop src 11.{second}.{}.{}", number / 256, number % 256).unwrap();
            text
        });
        text.push_str(last);
        text
    };
    let all = [
        rules(0, &format!("drop src {NEAR_ADDRESS}/32")),
        rules(1, &format!("drop src 10.77.0.0/16 proto udp dport {PORT}")),
        rules(2, &format!("drop proto udp dport {PORT}")),
    ];
    firewall.with_rules("apply", &all[0]).success();
    let stream = traffic.stream();
    for round in 0..9 {
        firewall.with_rules("apply", &all[(round + 1) % 3]).success();
    }
    assert!(stream.end() > 1000);
    firewall.with_rules("apply", "").success();
    assert_eq!(traffic.send(1), 1, "one passed now, and none before");
}

#[test]
fn a_writer_that_was_killed_is_in_nobodys_way_for_long() {
    let firewall = Firewall::new();
    let (apply, unlock) = (|| firewall.run("add 192.0.2.0/24"), || firewall.run("unlock"));
    turns(&firewall.gallery, firewall.program, &apply, &unlock);
}

#[test]
fn firewall_in_a_chain_runs_without_its_daemon() {
    let mut firewall = Firewall::new();
    let counter = firewall.gallery.load("xdp-counter", "--programs xdp:xdp_counter")[0];
    firewall.attach(counter, 20);
    let traffic = Traffic::new(&firewall.network);
    let counted = |firewall: &Firewall| -> u64 {
        let shown = firewall.gallery.side("xdp-counter", &format!("--program {counter} --json")).success();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["ipv4/udp"]["packets"].as_u64().unwrap()
    };
    assert_eq!(traffic.send(3), 3);
    let before = counted(&firewall);
    firewall.with_rules("apply", &format!("drop proto udp dport {PORT}")).success();
    assert_eq!(traffic.send(3), 0);
    assert_eq!(counted(&firewall), before + 1, "the counter behind it sees the marker alone");
    firewall.gallery.daemon.kill();
    assert_eq!(traffic.send(3), 0);
    firewall.gallery.restart();
    assert_eq!(traffic.send(3), 0);
    assert_eq!(firewall.matched(&format!("drop proto udp dport {PORT}")), 9);
    firewall.with_rules("apply", "").success();
    assert_eq!(traffic.send(3), 3);
}

#[test]
fn rules_over_ipv6_see_addresses_and_ports() {
    let firewall = Firewall::new();
    let Network { near, far } = &firewall.network;
    near.ip(&["address", "add", "fd77::1/64", "dev", INTERFACE, "nodad"]);
    far.ip(&["address", "add", "fd77::2/64", "dev", INTERFACE, "nodad"]);
    let receiver = far.inside(|| UdpSocket::bind("[fd77::2]:4242").unwrap());
    receiver.set_nonblocking(true).unwrap();
    let sender = near.inside(|| UdpSocket::bind("[fd77::1]:0").unwrap());
    let arrives = || receiver.recv(&mut [0; 64]).is_ok();
    wait::until("the addresses know each other", || {
        sender.send_to(b"x", "[fd77::2]:4242").unwrap();
        arrives()
    });
    for rule in ["drop src fd77::/64 proto udp dport 4242", "drop dst fd77::2", "drop proto udp dport 4242"] {
        let text = format!("allow proto icmpv6\n{rule}\n");
        firewall.with_rules("apply", &text).success();
        sender.send_to(b"x", "[fd77::2]:4242").unwrap();
        let rule = text.lines().last().unwrap().replace("fd77::2", "fd77::2/128");
        wait::until("the rule has matched", || firewall.matched(&rule) == 1);
    }
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let interface = Interface::new();
    let manifest = gallery.manifest_at("xdp-firewall", "app.yaml", &interface);
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    gallery.daemon.bpfman("wait program xdp_firewall --for attached").success();
    gallery.side("xdp-firewall", "--app xdp-firewall add 192.0.2.0/24").success();
    assert_eq!(
        gallery.side("xdp-firewall", "--app xdp-firewall list --rules").success(),
        "drop src 192.0.2.0/24\n"
    );
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("xdp-firewall", "--app xdp-firewall list").fails(5, &["xdp-firewall"]);
}
