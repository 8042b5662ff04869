//! `bpfman chain trace`: packets through the actual programs of a hook.

use std::fs;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::{Value, json};

const JUDGED: &str =
    "0200000000020200000000010800450000220000000040110000000000000000000012341092000e000061626364656667";
const OTHER: &str =
    "0200000000020200000000010800450000220000000040110000000000000000000012341093000e000061626364656667";

struct Bench {
    daemon: Daemon,
    network: Network,
}

impl Bench {
    fn new() -> Self {
        Self { daemon: Daemon::start(), network: Network::new() }
    }

    fn hook(&self, point: &str) -> String {
        format!("{point}@{}", self.network.far.path().display())
    }

    fn put(&self, object: &str, function: &str, globals: &str, at: &str) -> u64 {
        let path = compile::object(object).display().to_string();
        let kind = function.split('_').next().unwrap();
        let id = self
            .daemon
            .bpfman(&format!("load file -p {path} --programs {kind}:{function} {globals} -q"))
            .success();
        let far = self.network.far.path().display().to_string();
        let line = format!("attach {} {kind} -i {INTERFACE} -n {far} {at} -q", id.trim());
        self.daemon.bpfman(&line).success().trim().parse().unwrap()
    }

    fn trace(&self, hook: &str, flags: &str) -> Value {
        self.daemon.bpfman(&format!("chain trace {} {flags} -o json", self.hook(hook))).json()
    }
}

fn verdicts(packet: &Value) -> Vec<&str> {
    packet["steps"].as_array().unwrap().iter().map(|step| step["verdict"].as_str().unwrap()).collect()
}

#[test]
fn each_member_says_what_it_did_and_the_chain_agrees() {
    let bench = Bench::new();
    let member = |who: &str, verdict: &str, priority: u32| {
        let globals = format!("-g who={who}000000 verdict={verdict}000000");
        bench.put("chain", "xdp_member", &globals, &format!("-p {priority}"))
    };
    let first = member("01", "02", 10);
    let second = member("02", "01", 20);
    member("03", "02", 30);
    let hook = format!("xdp:{INTERFACE}");
    let trace = bench.trace(&hook, &format!("--packet {JUDGED} --packet {OTHER}"));
    let (judged, other) = (&trace["packets"][0], &trace["packets"][1]);
    assert_eq!(verdicts(judged), ["pass", "drop"], "{trace:#}");
    assert_eq!((&judged["verdict"], &judged["agrees"]), (&json!("drop"), &json!(true)));
    assert_eq!(judged["steps"][0]["link_id"], first);
    assert_eq!(judged["steps"][1]["link_id"], second);
    assert_eq!(
        (&judged["steps"][0]["proceeded"], &judged["steps"][1]["proceeded"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(verdicts(other), ["pass", "pass", "pass"]);
    assert_eq!((&other["verdict"], &other["agrees"]), (&json!("pass"), &json!(true)));
    assert!(trace["note"].as_str().unwrap().contains("No verdict was followed"), "{trace:#}");
    assert_eq!(Traffic::new(&bench.network).send(2), 0);
}

#[test]
fn changes_of_bytes_and_length_are_named_and_written() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_byte", "", "-p 10");
    bench.put("rewrite", "xdp_longer", "", "-p 20");
    let hook = format!("xdp:{INTERFACE}");
    let file = bench.daemon.path("out.pcap").display().to_string();
    let trace = bench.trace(&hook, &format!("--packet {JUDGED} --out {file}"));
    let packet = &trace["packets"][0];
    assert_eq!(packet["steps"][0]["changes"], json!(["byte 30: 00 -> 09"]), "{trace:#}");
    assert_eq!(packet["steps"][1]["changes"], json!(["4 bytes added at the front: aabbccdd"]));
    assert_eq!((&packet["agrees"], &packet["verdict"]), (&json!(true), &json!("pass")));
    let changed = format!("aabbccdd{}09{}", &JUDGED[..60], &JUDGED[62..]);
    assert_eq!(packet["steps"][1]["data"], changed);
    let again = bench.trace(&hook, &format!("--pcap {file}"));
    assert_eq!(again["packets"][0]["length"], JUDGED.len() / 2 + 4);
    assert_eq!(again["packets"][0]["agrees"], true);
}

#[test]
fn metadata_goes_from_member_to_member() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_metadata", "", "-p 10");
    bench.put("rewrite", "xdp_wants_metadata", "", "-p 20");
    let trace = bench.trace(&format!("xdp:{INTERFACE}"), &format!("--packet {JUDGED}"));
    let packet = &trace["packets"][0];
    assert_eq!(packet["steps"][0]["changes"], json!(["metadata of 0 -> 4 bytes"]), "{trace:#}");
    assert!(packet["steps"][0]["data"].is_null(), "the packet itself is the same");
    assert_eq!((&packet["verdict"], &packet["agrees"]), (&json!("tx"), &json!(true)));
}

#[test]
fn marks_are_given_and_seen_to_change() {
    let bench = Bench::new();
    bench.put("rewrite", "tc_mark", "", "-d ingress -p 10");
    bench.put("rewrite", "tc_wants_mark", "", "-d ingress -p 20");
    let hook = format!("tc:{INTERFACE}:ingress");
    let trace = bench.trace(&hook, &format!("--packet {JUDGED}"));
    let packet = &trace["packets"][0];
    assert_eq!(packet["steps"][0]["changes"], json!(["mark 0x0 -> 0x7"]), "{trace:#}");
    assert_eq!((verdicts(packet), &packet["verdict"]), (vec!["pipe", "ok"], &json!("ok")));
    assert_eq!(packet["agrees"], true);
    let trace = bench.trace(&hook, &format!("--packet {JUDGED} --mark 1"));
    let packet = &trace["packets"][0];
    assert_eq!(verdicts(packet), ["pipe", "stolen"], "{trace:#}");
    // tcx has no stolen packets: the chain translates the verdict for the hook.
    assert_eq!(packet["verdict"], if has_tcx() { "shot" } else { "stolen" });
    assert_eq!(packet["agrees"], true);
}

#[test]
fn cut_chains_filters_and_kernel_links_are_traced_alike() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_byte", "", "-p 10");
    bench.put("rewrite", "xdp_longer", "", "-p 20 --isolated");
    bench.put("rewrite", "xdp_metadata", "", "-p 30");
    let trace = bench.trace(&format!("xdp:{INTERFACE}"), &format!("--packet {JUDGED}"));
    assert_eq!(
        (verdicts(&trace["packets"][0]).len(), &trace["packets"][0]["agrees"]),
        (3, &json!(true)),
        "{trace:#}"
    );
    if has_tcx() {
        bench.put("chain", "tcx_member", "-g who=01000000 verdict=ffffffff", "-d ingress -p 10");
        bench.put("chain", "tcx_member", "-g who=02000000 verdict=02000000", "-d ingress -p 20");
        let trace = bench.trace(&format!("tcx:{INTERFACE}:ingress"), &format!("--packet {JUDGED}"));
        assert_eq!(verdicts(&trace["packets"][0]), ["unspec", "shot"], "{trace:#}");
        assert_eq!(trace["packets"][0]["verdict"], "shot");
        assert!(trace["note"].as_str().unwrap().contains("no chain to compare with"), "{trace:#}");
    }
    let launch = Launch { config: "tc.attach = \"clsact\"".to_owned(), ..Launch::default() };
    let bench = Bench { daemon: Daemon::start_with(&launch), network: Network::new() };
    bench.put("rewrite", "tc_mark", "", "-d egress -p 10");
    bench.put("rewrite", "tc_wants_mark", "", "-d egress -p 20");
    let trace = bench.trace(&format!("tc:{INTERFACE}:egress"), &format!("--packet {JUDGED} --mark 1"));
    assert_eq!(
        (&trace["packets"][0]["verdict"], &trace["packets"][0]["agrees"]),
        (&json!("stolen"), &json!(true)),
        "{trace:#}"
    );
}

#[test]
fn trace_of_a_stateful_chain_mentions_that_it_may_differ() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_alternates", "", "-p 10");
    let line = format!("chain trace {} --packet {JUDGED}", bench.hook(&format!("xdp:{INTERFACE}")));
    let mut outcome = bench.daemon.bpfman(&line);
    until("the two runs differ", || {
        outcome = bench.daemon.bpfman(&line);
        outcome.stdout.contains("DIFFER")
    });
    outcome.fails(7, &["for 1 of 1 packets", "hint: "]);
}

#[test]
fn a_packet_of_several_pieces_is_traced() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_byte", "", "-p 10");
    bench.put("rewrite", "xdp_metadata", "", "-p 20");
    let large = format!("{JUDGED}{}", "00".repeat(8000));
    let trace = bench.trace(&format!("xdp:{INTERFACE}"), &format!("--packet {large}"));
    let packet = &trace["packets"][0];
    assert_eq!(
        (&packet["length"], &packet["agrees"]),
        (&json!(JUDGED.len() / 2 + 8000), &json!(true)),
        "{trace:#}"
    );
    assert_eq!(packet["steps"][0]["changes"], json!(["byte 30: 00 -> 09"]));
}

const TENANT: &str = "-m bpfman.io/ProgramNamespace=shop -m bpfman.io/ProgramName=filter";

/// The chain drops a packet that a tenant's program would send out without passing the machine's egress programs.
#[test]
fn verdicts_that_are_held_back_are_traced_as_drops() {
    let bench = Bench::new();
    let hook = format!("xdp:{INTERFACE}");
    let trace = || bench.trace(&hook, &format!("--packet {JUDGED}"))["packets"][0].clone();
    bench.put("chain", "xdp_member", &format!("-g who=01000000 verdict=03000000 {TENANT}"), "-p 10");
    let alone = trace();
    assert_eq!((&alone["verdict"], &alone["agrees"]), (&json!("tx"), &json!(true)), "{alone:#}");
    bench.put("chain", "tc_member", "-g who=02000000 verdict=00000000", "-d ingress -p 10");
    let held = trace();
    assert_eq!(verdicts(&held), ["tx"]);
    assert_eq!((&held["verdict"], &held["agrees"]), (&json!("drop"), &json!(true)), "{held:#}");
    assert!(held["steps"][0]["changes"].to_string().contains("dropped by the chain"), "{held:#}");
}

/// A test run of the member alone would send the copies that the chain drops.
#[test]
fn members_whose_copies_are_held_back_are_not_traced() {
    let bench = Bench::new();
    bench.put("chain", "tc_member", "-g who=02000000 verdict=00000000", "-d ingress -p 10");
    bench.put("ranks", "tc_clone_away", &format!("-g target=01000000 {TENANT}"), "-d egress -p 10");
    let hook = bench.hook(&format!("tc:{INTERFACE}:egress"));
    let line = format!("chain trace {hook} --packet {JUDGED} --for-real");
    bench.daemon.bpfman(&line).fails(6, &["tc_clone_away", "holds back the copies"]);
}

#[test]
fn trace_is_a_change_of_maps_in_the_history() {
    let bench = Bench::new();
    bench.put("rewrite", "xdp_byte", "", "-p 10");
    let hook = bench.hook(&format!("xdp:{INTERFACE}"));
    let traces = |line: &str| bench.daemon.bpfman(line).success().matches("trace chain").count();
    let line = format!("chain trace {hook} --packet {JUDGED}");
    bench.daemon.bpfman(&line).success();
    assert_eq!((traces("history"), traces("history --accesses")), (1, 0));
    bench.daemon.bpfman(&format!("{line} --for-real")).success();
    assert_eq!((traces("history"), traces("history --accesses")), (2, 0));
}

#[test]
fn invalid_trace_is_refused_with_reason() {
    let bench = Bench::new();
    let hook = bench.hook(&format!("xdp:{INTERFACE}"));
    let trace = |flags: &str| bench.daemon.bpfman(&format!("chain trace {hook} {flags}"));
    trace(&format!("--packet {JUDGED}")).fails(5, &[INTERFACE]);
    bench.put("rewrite", "xdp_byte", "", "-p 10");
    let file = bench.daemon.path("notes");
    fs::write(&file, "no capture").unwrap();
    trace(&format!("--pcap {}", file.display())).fails(6, &["not a capture", "hint: "]);
    trace("--packet 0011").fails(6, &["packet 1", "2 bytes"]);
    trace("--pcap /nonexistent").fails(5, &["/nonexistent"]);
    trace("").fails(2, &["--packet"]);
    let far = bench.network.far.path().display().to_string();
    bench.daemon.bpfman(&format!("chain trace xdp:absent0@{far} --packet {JUDGED}")).fails(6, &["absent0"]);
}
