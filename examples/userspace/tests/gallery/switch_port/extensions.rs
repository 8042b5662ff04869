//! IPv6 extension headers: packets are evaluated as if they had none. The first host's stack sends nothing over IPv6.

use std::net::Ipv6Addr;

use bpfman_tests::wait;

use super::arrives;
use super::bridge::{Bridge, Host, INTERFACE, PORT};
use super::frame::{
    DESTINATION_OPTIONS, Extension, HOP_BY_HOP, ICMP, ROUTER_ALERT, UDP, Way, fragment, send,
};

fn assert_outcome(bridge: &Bridge, frame: &[u8], outcome: &str) {
    let before = bridge.count(0, outcome);
    send(&bridge.hosts[0], frame);
    wait::until(outcome, || bridge.count(0, outcome) == before + 1);
}

fn advertisement(way: &Way, sender: &Host, target: &Host) -> Vec<u8> {
    let mut bytes: Vec<u8> = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    bytes.extend(target.address_v6().parse::<Ipv6Addr>().unwrap().octets());
    bytes.extend([2, 1, 2, 0, 0, 0, 0, sender.number]);
    way.checked(ICMP, bytes, 2)
}

#[test]
fn address_of_a_neighbour_is_not_read_behind_extension_headers() {
    let bridge = Bridge::with_rules("allow port1 out\nallow port2 in\n");
    let [one, two, three] = &bridge.hosts;
    two.give_ipv6();
    let (address, mac) = (three.address_v6(), three.mac());
    let known = ["neighbour", "replace", &address, "lladdr", &mac, "dev", INTERFACE, "nud", "stale"];
    two.namespace.ip(&known);
    let way = Way::new(one, two);
    let spoofed = advertisement(&way, one, three);
    for extensions in [
        vec![],
        vec![DESTINATION_OPTIONS],
        vec![HOP_BY_HOP, DESTINATION_OPTIONS, DESTINATION_OPTIONS],
        vec![DESTINATION_OPTIONS; 8],
        vec![fragment(0, false)],
        vec![DESTINATION_OPTIONS, fragment(0, true), DESTINATION_OPTIONS],
    ] {
        assert_outcome(&bridge, &way.frame(&extensions, ICMP, &spoofed), "spoofed");
    }
    let many = [DESTINATION_OPTIONS; 9];
    assert_outcome(&bridge, &way.frame(&many, ICMP, &spoofed), "unreadable");
    let endless: Extension = (DESTINATION_OPTIONS.0, [255, 1, 4, 0, 0, 0, 0]);
    assert_outcome(&bridge, &way.frame(&[endless], ICMP, &spoofed), "unreadable");
    let neighbours = two.namespace.ip(&["neighbour", "show", "to", &address]);
    assert!(neighbours.contains(&mac), "{neighbours}");
    let own = advertisement(&way, one, one);
    assert_outcome(&bridge, &way.frame(&[DESTINATION_OPTIONS], ICMP, &own), "passed_out");
}

#[test]
fn multicast_reports_pass_by_a_rule_for_their_protocol_or_any() {
    let bridge = Bridge::new();
    let way = Way::of_reports(&bridge.hosts[0]);
    let mut report: Vec<u8> = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    report.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]);
    let frame = way.frame(&[ROUTER_ALERT], ICMP, &way.checked(ICMP, report, 2));
    for (service, outcome) in
        [("", "passed_out"), (" proto icmpv6", "passed_out"), (" proto udp", "refused_out")]
    {
        bridge.apply(&bridge.ports_and(&format!("allow port1 out{service}\n")));
        assert_outcome(&bridge, &frame, outcome);
    }
}

#[test]
fn first_fragment_has_a_connection_and_later_ones_need_rules() {
    let bridge =
        Bridge::with_rules("allow port1 out proto udp dport 4242\nallow port2 in proto udp dport 4242\n");
    let [one, two, _] = &bridge.hosts;
    two.give_ipv6();
    let receiver = two.udp(&two.address_v6(), PORT);
    let way = Way::new(one, two);
    let ports = [4000, PORT, 24, 0].map(u16::to_be_bytes).concat();
    let datagram = way.checked(UDP, [&ports[..], b"of sixteen bytes"].concat(), 6);
    let first = way.frame(&[fragment(0, true)], UDP, &datagram[..16]);
    let second = way.frame(&[fragment(2, false)], UDP, &datagram[16..]);
    assert_outcome(&bridge, &first, "passed_out");
    let begun = bridge.connections();
    assert!(begun.iter().any(|one| one["port"] == "port1" && one["protocol"] == "udp"), "{begun:?}");
    assert_outcome(&bridge, &second, "refused_out");
    bridge.apply(&bridge.ports_and("allow port1 out proto udp\nallow port2 in proto udp\n"));
    // Send both again: the receiver waits only one minute for the rest of a datagram.
    assert_outcome(&bridge, &first, "passed_out");
    assert_outcome(&bridge, &second, "passed_out");
    arrives(&receiver);
}
