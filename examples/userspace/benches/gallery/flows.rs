//! Flow records, nft and connection tracking: CPU time of a datagram by the number of flows, and missing datagrams.

use std::cell::RefCell;
use std::net::Ipv4Addr;

use bpfman_tests::Network;
use bpfman_tests::network::{INTERFACE, NEAR_ADDRESS, Namespace};
use serde_json::Value;

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

const SIZES: [u32; 3] = [1, 1024, 16_384];
const FRAMES: u32 = 400_000;
/// Blackhole route: a frame is dropped after its route lookup, without an answer.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

const NFT_SET: &str = "table ip t { set s { type ipv4_addr . ipv4_addr . inet_service . inet_service; size 65536; \
    flags dynamic; counter; }; chain c { type filter hook prerouting priority -300; \
    update @s { ip saddr . ip daddr . udp sport . udp dport }; }; }";
const NFT_COUNTER: &str = "table ip t { chain c { type filter hook prerouting priority -300; counter; }; }";
const CONNTRACK: &str =
    "table ip t { chain c { type filter hook prerouting priority -100; ct state new counter; }; }";

struct Flows<'a> {
    gallery: &'a Gallery,
    far: &'a Namespace,
    ingress: u64,
    dropped: u64,
}

impl Flows<'_> {
    fn attach(&self) {
        let netns = self.far.path().display().to_string();
        let words = format!("attach {} tcx -d ingress -i {INTERFACE} -n {netns} --priority 10", self.ingress);
        self.gallery.daemon.bpfman(&words).success();
    }

    fn attach_drops(&self) {
        self.gallery.daemon.bpfman(&format!("attach {} tp-btf", self.dropped)).success();
    }

    fn detach(&self) {
        self.gallery.daemon.detach_all();
    }

    fn packets(&self) -> u64 {
        let listed = self.gallery.side("flows", &format!("--program {} list --json", self.ingress)).success();
        let flows = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        flows
            .filter(|flow| flow["direction"] == "ingress")
            .map(|flow| flow["packets"].as_u64().unwrap())
            .sum()
    }
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    let far = &network.far;
    far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    far.ip(&["route", "add", "blackhole", "198.51.100.0/24"]);
    let programs =
        gallery.load("flows", "--programs tcx:flows_ingress tcx:flows_egress tp_btf:flows_dropped");
    let flows = Flows { gallery: &gallery, far, ingress: programs[0], dropped: programs[2] };
    let senders: Vec<(u32, RefCell<LiveFrames>)> = SIZES
        .into_iter()
        .map(|size| {
            let source = |number: u32| Ipv4Addr::from_bits(0x0b00_0000 + number);
            let frames: Vec<_> = (0..size)
                .map(|number| {
                    Datagram { source: source(number), destination: NOWHERE, ports: (4000, 53) }.frame()
                })
                .collect();
            (size, RefCell::new(LiveFrames::new(&network, &frames)))
        })
        .collect();
    let flows = &flows;
    let mut contenders = Vec::new();
    for (size, frames) in &senders {
        let sample = || move || frames.borrow_mut().sample(FRAMES);
        let one = |name: &str| Contender::new(name, sample()).at(*size);
        contenders.push(one("nothing"));
        contenders.push(one("flows").set_up(|| flows.attach()).tear_down(|| flows.detach()));
        contenders.push(
            one("flows, and drops")
                .set_up(|| {
                    flows.attach();
                    flows.attach_drops();
                })
                .tear_down(|| flows.detach()),
        );
        for (name, rules) in
            [("nft, one counter", NFT_COUNTER), ("nft, set of flows", NFT_SET), ("conntrack", CONNTRACK)]
        {
            contenders.push(
                one(name)
                    .set_up(move || drop(inside(far, &format!("nft '{rules}'"))))
                    .tear_down(|| drop(inside(far, "nft flush ruleset"))),
            );
        }
    }
    report.measure("packets", "A datagram to nowhere, by number of flows", "CPU ns", contenders);
    let missed = senders
        .iter()
        .map(|(size, frames)| {
            let sample = move || {
                let (before, counted) = (frames.borrow().received(), flows.packets());
                frames.borrow_mut().sample(FRAMES);
                let received = frames.borrow().received() - before;
                received as f64 - (flows.packets() - counted) as f64
            };
            Contender::new("flows", sample).at(*size).set_up(|| flows.attach()).tear_down(|| flows.detach())
        })
        .collect();
    report.measure("missed", "Frames that the interface counted and no flow did", "packets", missed);
}
