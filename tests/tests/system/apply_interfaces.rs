//! Interfaces that an application selects.

use std::fs;

use bpfman_tests::Outcome;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::traffic::Traffic;
use serde_json::{Value, json};

use crate::apply_equipment::{Machine, application, xdp};
use crate::equipment::test_name;

#[test]
fn one_attachment_that_fails_does_not_keep_the_others() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["programs"][0]["xdp"]["links"][0]["interfaceSelector"]["interfaces"] =
        json!(["nowhere0", INTERFACE]);
    let outcome = machine.run("apply", &manifest, "-o json");
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let links = &said["objects"][0]["programs"][0]["links"];
    assert_eq!((&links[0]["attachment"], &links[0]["state"]), (&json!("nowhere0"), &json!("attach-failed")));
    assert_eq!((&links[1]["attachment"], &links[1]["state"]), (&json!(INTERFACE), &json!("attached")));
    outcome.fails(6, &["judges: xdp_member: ", "nowhere0"]);
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
    machine.network.far.ip(&["link", "add", "nowhere0", "type", "veth", "peer", "name", "peer1"]);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    machine.settled(&manifest);
}

#[test]
fn a_driver_that_refuses_xdp_is_warned_of() {
    let machine = Machine::new();
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["programs"][0]["xdp"]["links"][0]["interfaceSelector"]["interfaces"] = json!(["lo"]);
    let outcome = machine.run("apply", &manifest, "");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let warning = "judges: xdp_member: XDP of lo runs in generic mode";
    assert!(outcome.stderr.contains(warning), "{}", outcome.stderr);
    let again = machine.run("apply", &manifest, "");
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!again.stderr.contains("generic"), "{}", again.stderr);
}

#[test]
fn interfaces_are_found_by_pattern_also_those_that_come_later() {
    if lacks_tcx(&test_name()) {
        return;
    }
    let machine = Machine::new();
    machine.network.far.ip(&["link", "add", "found0", "type", "veth", "peer", "name", "peer2"]);
    let config = json!({ "interfaceAutoDiscovery": true, "allowedInterfaces": ["/^found[0-9]$/"] });
    let link = json!({
        "interfaceSelector": { "interfacesDiscoveryConfig": config },
        "direction": "Ingress",
    });
    let manifest = application(&[json!({ "name": "tcx_member", "type": "TCX", "tcx": { "links": [link] } })]);
    machine.apply(&manifest);
    let here = |machine: &Machine| -> Vec<String> {
        let links = machine.links();
        let own = links.iter().filter(|link| link["attach"]["netns"].is_null());
        own.map(|link| link["attach"]["iface"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(here(&machine), ["found0"]);
    machine.network.far.ip(&["link", "add", "found1", "type", "veth", "peer", "name", "peer3"]);
    machine.network.far.ip(&["link", "add", "lost0", "type", "veth", "peer", "name", "peer4"]);
    assert_eq!(machine.apply(&manifest), "clusterbpfapplication/judges changed\n");
    assert_eq!(here(&machine), ["found0", "found1"]);
    machine.settled(&manifest);
}

#[test]
fn the_primary_interface_carries_the_machines_address() {
    let machine = Machine::new();
    machine.network.far.ip(&["route", "add", "default", "dev", INTERFACE]);
    let mut manifest = application(&[xdp("xdp_member", 10)]);
    manifest["spec"]["programs"][0]["xdp"]["links"][0]["interfaceSelector"] =
        json!({ "primaryNodeInterface": true });
    let file = machine.daemon.path("app.json");
    fs::write(&file, manifest.to_string()).unwrap();
    let mut inside = machine.network.far.command(bpfman_tests::binaries::find("bpfman").to_str().unwrap());
    inside.env("BPFMAN_SOCKET_PATH", machine.daemon.socket()).env("HOME", machine.daemon.path(""));
    let outcome = Outcome::of(inside.args(["apply", "-f"]).arg(&file));
    assert_eq!(outcome.success(), "clusterbpfapplication/judges created\n");
    assert_eq!(machine.links()[0]["attach"]["iface"], INTERFACE);
    assert_eq!(Traffic::new(&machine.network).send(1), 0);
}
