use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;

use bpfman_tests::checksum::internet_checksum;
use bpfman_tests::hex::hex;
use bpfman_tests::network::{INTERFACE, NEAR_ADDRESS};
use bpfman_tests::wait;
use serde_json::json;

use super::guarded::{CDN, EVIL, Guarded, PORT, Place, RULES, SHOP, SHOP_V6};
use super::{end, next_with, with_rules_by_name};
use crate::equipment::{Gallery, Interface};

const NEIGHBOURS: &str =
    "allow dst fe80::/10 proto icmpv6\nallow dst ff02::/16 proto icmpv6\nallow dst fd77::/64 proto icmpv6\n";

const PLACES: [(Place, &str); 2] = [(Place::Interface, "egress-own"), (Place::OtherEnd, "egress-other")];

/// Asserts a drop by the counter: the sender gets no error for a drop after its socket.
fn assert_dropped(guarded: &mut Guarded, order: &str) {
    let dropped = guarded.count("dropped");
    guarded.does(order);
    wait::until("it is dropped", || guarded.count("dropped") > dropped);
    assert_eq!(guarded.arrived(), 0, "{order}");
}

fn arrives(guarded: &mut Guarded, order: &str) {
    guarded.does(order);
    wait::until("it arrives", || guarded.arrived() == 1);
}

#[test]
fn only_allowed_names_prefixes_and_ports_pass_an_interface() {
    for (place, test) in PLACES {
        let mut guarded = Guarded::at(place, test);
        arrives(&mut guarded, &format!("udp {EVIL} {PORT}"));
        guarded.with_rules("apply", &format!("{RULES}{NEIGHBOURS}mode enforce\n")).success();
        let mut side = guarded.follow();
        let mut events = BufReader::new(side.stdout.take().unwrap()).lines();
        assert_dropped(&mut guarded, &format!("udp {SHOP} {PORT}"));
        let event = next_with(&mut events, "destination", SHOP);
        assert_eq!((&event["reason"], &event["dropped"]), (&json!("destination"), &json!(true)));
        assert_eq!((&event["source"], &event["destination_port"]), (&json!(NEAR_ADDRESS), &json!(PORT)));
        assert_eq!(event["bytes"], 14 + 20 + 8 + 1);
        assert!(event["interface"].as_u64().unwrap() > 0);
        // The packet still belongs to its socket after the veth.
        assert_eq!(event["cgroup"], fs::metadata(&guarded.group.folder).unwrap().ino());

        assert_eq!(guarded.does("resolve SHOP.example.com"), format!("{SHOP} {SHOP_V6}"));
        for address in [SHOP, SHOP_V6] {
            arrives(&mut guarded, &format!("udp {address} {PORT}"));
        }
        assert_dropped(&mut guarded, &format!("udp {SHOP} 4243"));
        assert_eq!(next_with(&mut events, "reason", "port")["destination_port"], 4243);
        assert_eq!(guarded.tcp(SHOP), "refused");
        assert_eq!(next_with(&mut events, "protocol", "tcp")["reason"], "port");
        assert_eq!(guarded.does("resolve a.img.example.com"), CDN);
        assert_eq!(guarded.tcp(CDN), "connected");
        assert_eq!(guarded.does("say hello"), "hello");
        assert_dropped(&mut guarded, &format!("udp {CDN} {PORT}"));
        assert_eq!(next_with(&mut events, "destination", CDN)["protocol"], "udp");
        assert_eq!(guarded.does("resolve evil.example"), "unknown");
        assert_eq!(next_with(&mut events, "name", "evil.example")["reason"], "name");
        assert_dropped(&mut guarded, "options 192.0.2.7 9");
        assert_eq!(next_with(&mut events, "destination", "192.0.2.7")["reason"], "header");
        guarded.does(&format!("open {NEAR_ADDRESS}"));
        let unasked = guarded.count("answers_unasked");
        guarded.server.socket.send_to(&[0; 40], (NEAR_ADDRESS, 4000)).unwrap();
        wait::until("it is counted", || guarded.count("answers_unasked") > unasked);
        assert_eq!(guarded.learned().len(), 3);
        end(side);
    }
}

#[test]
fn connection_outlives_its_name_but_cannot_be_opened_again() {
    for (place, test) in PLACES {
        let rules = "resolver 10.77.0.2\nttl 0 2\nallow name *.img.example.com\nmode enforce\n";
        let mut guarded = Guarded::at(place, &format!("{test}-ttl"));
        guarded.with_rules("apply", rules).success();
        // A slow machine may take longer than the TTL: resolve the name again in that case.
        wait::until("it connects", || {
            guarded.does("resolve a.img.example.com");
            guarded.tcp(CDN) == "connected"
        });
        wait::until("it is not known any more", || guarded.learned().is_empty());
        assert_eq!(guarded.does("say hello"), "hello", "a connection that is there stays");
        assert_dropped(&mut guarded, &format!("udp {CDN} {PORT}"));
        assert_eq!(guarded.does(&format!("again {CDN} {PORT}")), "refused");
        guarded.does("resolve a.img.example.com");
        assert_eq!(guarded.does(&format!("again {CDN} {PORT}")), "connected");
        wait::until("it is not known any more", || guarded.learned().is_empty());
        guarded.with_rules("apply", &format!("{rules}allow dst 192.0.2.0/24\n")).success();
        assert_eq!(guarded.does("say again"), "again");
    }
}

fn frame(destination: &str, tags: &[[u8; 4]]) -> String {
    let addresses = [NEAR_ADDRESS, destination].map(|text| text.parse::<Ipv4Addr>().unwrap().octets());
    let mut ip = [&[0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0][..], addresses.as_flattened()].concat();
    let sum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let [high, low] = PORT.to_be_bytes();
    let macs = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let udp = [9, 9, high, low, 0, 9, 0, 0, b'x'];
    hex(&[&macs, tags.as_flattened(), &[8, 0], &ip, &udp].concat())
}

fn to_router(destination: &str, behind: u8) -> String {
    let addresses = ["fd77::1", destination].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
    let macs = [0x33, 0x33, 0, 0, 0, 0x16, 2, 0, 0, 0, 0, 1];
    let header = [0x60, 0, 0, 0, 0, 16, 0, 1];
    let options = [behind, 0, 5, 2, 0, 0, 1, 0];
    let report = [143, 0, 0, 0, 0, 0, 0, 0];
    hex(&[&macs[..], &[0x86, 0xdd], &header, addresses.as_flattened(), &options, &report].concat())
}

#[test]
fn multicast_reports_pass_by_rules_and_other_headers_do_not() {
    for (place, test) in PLACES {
        let mut guarded = Guarded::at(place, &format!("{test}-groups"));
        guarded.with_rules("apply", &format!("{NEIGHBOURS}mode enforce\n")).success();
        let report = |destination: &str, behind: u8| {
            format!("frame {INTERFACE} 86dd {}", to_router(destination, behind))
        };
        let (passed, dropped) = (guarded.count("passed"), guarded.count("dropped"));
        guarded.does(&report("ff02::16", 58));
        wait::until("it passes", || guarded.count("passed") > passed);
        assert_eq!(guarded.count("dropped"), dropped);
        // A report with a routing header; one to another host on the link; one to a group beyond the link.
        for (destination, behind) in [("ff02::16", 43), ("fd77::2", 58), ("ff05::16", 58)] {
            assert_dropped(&mut guarded, &report(destination, behind));
        }
        let events = guarded.run("follow --count 3").success();
        assert_eq!(events.matches(r#""reason":"header""#).count(), 3, "{events}");
    }
}

#[test]
fn frames_of_packet_sockets_cannot_spoof_their_interface() {
    for (place, test) in PLACES {
        let mut guarded = Guarded::at(place, &format!("{test}-frames"));
        guarded.with_rules("apply", &format!("{NEIGHBOURS}allow dst 192.0.2.0/24\n")).success();
        let as_arp = |destination: &str| format!("frame {INTERFACE} 0806 {}", frame(destination, &[]));
        arrives(&mut guarded, &as_arp(EVIL));
        assert_eq!(guarded.count("refused_in_shadow"), 1);
        guarded.run("mode enforce").success();
        assert_dropped(&mut guarded, &as_arp(EVIL));
        arrives(&mut guarded, &as_arp("192.0.2.7"));
        let tag = [0x81, 0, 0, 7];
        let tagged = |tags: &[[u8; 4]]| format!("frame {INTERFACE} 8100 {}", frame(EVIL, tags));
        assert_dropped(&mut guarded, &tagged(&[tag]));
        assert_dropped(&mut guarded, &tagged(&[tag, tag]));
        assert_dropped(
            &mut guarded,
            &format!("frame {INTERFACE} 0800 ffffffffffff0200000000018863{:090}", 0),
        );
    }
}

#[test]
fn manifest_for_an_interface_is_applied() {
    let gallery = Gallery::open();
    let interface = Interface::new();
    let manifest = gallery.manifest_at("egress-guard", "app-tc.yaml", &interface);
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    let programs = ["egress_guard_tc_out", "egress_guard_tc_in"];
    with_rules_by_name(&gallery, programs, "allow dst ::1/128 proto udp\n");
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
}
