//! The XDP firewall beside nft and iptables: CPU time of a datagram that they drop, by the number of their rules.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::{Network, compile};

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

/// Numbers of rules.
const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];

/// A prefix of /24 for each rule.
fn prefix(rule: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + (rule << 8))
}

/// Measures them all.
pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    network.far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    let program = gallery.load("xdp-firewall", "--programs xdp:xdp_firewall")[0];
    // From 4,096 prefixes spread over the first and the last rule alike, one after the other.
    let frame = |rule: u32| {
        let source = Ipv4Addr::from_bits(prefix(rule).to_bits() + 7);
        Datagram { source, destination: FAR_ADDRESS.parse().unwrap(), ports: (4000, 53) }.frame()
    };
    let sets: Vec<RefCell<LiveFrames<'_>>> = SIZES
        .iter()
        .map(|size| {
            let frames: Vec<_> =
                (0..4096_u32.min(*size)).map(|number| frame(number * size / 4096_u32.min(*size))).collect();
            RefCell::new(LiveFrames::new(&network, &frames))
        })
        .collect();
    let mut contenders = Vec::new();
    for (size, frames) in SIZES.into_iter().zip(&sets) {
        let sample = move |count: u32| move || frames.borrow_mut().sample(count);
        let iptables = if size > 100 { 20_000 } else { 200_000 };
        let far = &network.far;
        let drop_all = compile::object("drop").display().to_string();
        contenders.push(
            Contender::new("XDP, drops all", sample(400_000))
                .at(size)
                .set_up(move || {
                    drop(inside(far, &format!("ip link set {INTERFACE} xdp obj {drop_all} sec xdp")))
                })
                .tear_down(move || drop(inside(far, &format!("ip link set {INTERFACE} xdp off")))),
        );
        contenders.push(
            Contender::new("nft input, set", sample(200_000))
                .at(size)
                .set_up(move || {
                    let mut text =
                        String::from("table ip t { set s { type ipv4_addr; flags interval; elements = {");
                    (0..size).for_each(|rule| write!(text, " {}/24,", prefix(rule)).unwrap());
                    text.push_str(
                        "}; }\nchain c { type filter hook input priority 0; ip saddr @s drop; }\n}\n",
                    );
                    let file = tempfile::NamedTempFile::new().unwrap();
                    std::fs::write(file.path(), text).unwrap();
                    inside(far, &format!("nft -f {}", file.path().display()));
                })
                .tear_down(move || drop(inside(far, "nft flush ruleset"))),
        );
        contenders.push(
            Contender::new("iptables INPUT", sample(iptables))
                .at(size)
                .set_up(move || {
                    let mut text = String::from("*filter\n");
                    (0..size)
                        .for_each(|rule| writeln!(text, "-A INPUT -s {}/24 -j DROP", prefix(rule)).unwrap());
                    text.push_str("COMMIT\n");
                    let file = tempfile::NamedTempFile::new().unwrap();
                    std::fs::write(file.path(), text).unwrap();
                    inside(far, &format!("iptables-restore < {}", file.path().display()));
                })
                .tear_down(move || drop(inside(far, "iptables -F INPUT"))),
        );
        let gallery = &gallery;
        contenders.push(
            Contender::new("xdp-firewall", sample(400_000))
                .at(size)
                .set_up(move || {
                    let words: String = (0..size).map(|rule| format!(" {}/24", prefix(rule))).collect();
                    gallery.side("xdp-firewall", &format!("--program {program} add{words}")).success();
                    let netns = far.path().display().to_string();
                    gallery
                        .daemon
                        .bpfman(&format!(
                            "attach {program} xdp --iface {INTERFACE} --netns {netns} --priority 1"
                        ))
                        .success();
                })
                .tear_down(move || {
                    let links = gallery.daemon.bpfman("list links -o json").json();
                    let link = links["links"].as_array().unwrap()[0]["link_id"].as_u64().unwrap();
                    gallery.daemon.bpfman(&format!("detach {link}")).success();
                }),
        );
    }
    report.measure("packets", "A dropped datagram, by number of rules", "CPU ns", contenders);
}
