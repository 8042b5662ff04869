use bpfman_tests::Network;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use serde_json::Value;

use crate::equipment::{Gallery, Interface, refusals};

#[test]
fn packets_are_counted_by_protocol_over_daemon_restart() {
    let mut gallery = Gallery::open();
    let network = Network::new();
    let program = gallery.load("xdp-counter", "--programs xdp:xdp_counter")[0];
    let netns = network.far.path().display().to_string();
    let attach = format!("attach {program} xdp --iface {INTERFACE} --netns {netns} --priority 20");
    gallery.daemon.bpfman(&attach).success();
    let traffic = Traffic::new(&network);
    let datagrams = |gallery: &Gallery| {
        let counted = gallery.side("xdp-counter", &format!("--program {program} --json")).success();
        let counted: Value = serde_json::from_str(&counted).unwrap();
        counted["ipv4/udp"]["packets"].as_u64().unwrap_or(0)
    };
    assert_eq!(traffic.send(5), 5, "it lets packets pass");
    let before = datagrams(&gallery);
    assert!(before >= 5, "{before}");
    // This function kills the daemon, and starts it again.
    refusals(&mut gallery, "xdp-counter", program, "--json");
    assert_eq!(traffic.send(3), 3);
    let after = datagrams(&gallery);
    assert!(after >= before + 3, "{before}, then {after}");
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let interface = Interface::new();
    let manifest = gallery.manifest_at("xdp-counter", "app.yaml", &interface);
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman("wait program xdp_counter --for attached").success();
    gallery.side("xdp-counter", "--app xdp-counter --json").success();
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("xdp-counter", "--app xdp-counter").fails(5, &["xdp-counter"]);
}
