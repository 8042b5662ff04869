//! The XDP firewall beside nft and iptables: CPU time of a datagram that they drop, by the number of their rules, and how long
//! it takes to replace those.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS, Namespace};
use bpfman_tests::{Network, compile};

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

/// Numbers of rules. With more, iptables takes minutes.
const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];
const MOST: u32 = 100_000;
/// Frames come from so many sources, spread over all rules alike.
const SOURCES: u32 = 4096;
const PORT: u16 = 53;

/// A prefix of /24 for each rule.
fn prefix(rule: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + (rule << 8))
}

/// The same rules as text for each of them.
struct Rules<'a> {
    gallery: &'a Gallery,
    far: &'a Namespace,
    program: u64,
}

impl Rules<'_> {
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.gallery.daemon.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Rules `first` to `first + size`, each a line made of its prefix.
    fn lines(first: u32, size: u32, line: impl Fn(Ipv4Addr) -> String) -> String {
        (first..first + size).fold(String::new(), |mut text, rule| {
            writeln!(text, "{}", line(prefix(rule))).unwrap();
            text
        })
    }

    /// A set, with the port in it if asked for: replaced in one transaction.
    fn nft(&self, first: u32, size: u32, port: bool) {
        let (kind, key, element) = if port {
            ("ipv4_addr . inet_service", "ip saddr . udp dport", format!(" . {PORT}"))
        } else {
            ("ipv4_addr", "ip saddr", String::new())
        };
        let elements = Self::lines(first, size, |prefix| format!("{prefix}/24{element},"));
        let text = format!(
            "table ip t\ndelete table ip t\ntable ip t {{ set s {{ type {kind}; flags interval; elements = {{ {elements} }}; }}\n\
             chain c {{ type filter hook input priority 0; {key} @s drop; }}\n}}\n"
        );
        let path = self.file("rules.nft", &text);
        inside(self.far, &format!("nft -f {}", path.display()));
    }

    fn iptables(&self, first: u32, size: u32) {
        let rules = Self::lines(first, size, |prefix| format!("-A INPUT -s {prefix}/24 -j DROP"));
        let path = self.file("rules.iptables", &format!("*filter\n{rules}COMMIT\n"));
        inside(self.far, &format!("iptables-legacy-restore < {}", path.display()));
    }

    fn ours(&self, first: u32, size: u32, port: bool) {
        let detail = if port { format!(" proto udp dport {PORT}") } else { String::new() };
        let text = Self::lines(first, size, |prefix| format!("drop src {prefix}/24{detail}"));
        let path = self.file("rules.txt", &text).display().to_string();
        self.gallery.side("xdp-firewall", &format!("--program {} apply {path}", self.program)).success();
    }

    fn attach(&self) {
        let netns = self.far.path().display().to_string();
        let words = format!("attach {} xdp --iface {INTERFACE} --netns {netns} --priority 1", self.program);
        self.gallery.daemon.bpfman(&words).success();
    }

    fn detach(&self) {
        let links = self.gallery.daemon.bpfman("list links -o json").json();
        let link = links["links"].as_array().unwrap()[0]["link_id"].as_u64().unwrap();
        self.gallery.daemon.bpfman(&format!("detach {link}")).success();
    }
}

/// Measures them all.
pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    network.far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    let program = gallery.load("xdp-firewall", "--programs xdp:xdp_firewall")[0];
    let rules = Rules { gallery: &gallery, far: &network.far, program };
    packets(report, &network, &rules);
    replacing(report, &rules);
}

fn packets(report: &mut Report, network: &Network, rules: &Rules<'_>) {
    let frame = |rule: u32| {
        let source = Ipv4Addr::from_bits(prefix(rule).to_bits() + 7);
        Datagram { source, destination: FAR_ADDRESS.parse().unwrap(), ports: (4000, PORT) }.frame()
    };
    let senders: Vec<(u32, RefCell<LiveFrames<'_>>)> = SIZES
        .into_iter()
        .chain([MOST])
        .map(|size| {
            let sources = SOURCES.min(size);
            let rule = |number: u32| (u64::from(number) * u64::from(size) / u64::from(sources)) as u32;
            let frames: Vec<_> = (0..sources).map(|number| frame(rule(number))).collect();
            (size, RefCell::new(LiveFrames::new(network, &frames)))
        })
        .collect();
    let drop_all = compile::object("drop").display().to_string();
    let mut contenders = Vec::new();
    for (size, frames) in &senders {
        let (size, far) = (*size, rules.far);
        let sample = |count: u32| move || frames.borrow_mut().sample(count);
        let attach = format!("ip link set {INTERFACE} xdp obj {drop_all} sec xdp");
        contenders.push(
            Contender::new("XDP, drops all", sample(400_000))
                .at(size)
                .set_up(move || drop(inside(far, &attach)))
                .tear_down(move || drop(inside(far, &format!("ip link set {INTERFACE} xdp off")))),
        );
        for (name, port) in [("nft, set of prefixes", false), ("nft, prefixes and ports", true)] {
            contenders.push(
                Contender::new(name, sample(200_000))
                    .at(size)
                    .set_up(move || rules.nft(0, size, port))
                    .tear_down(move || drop(inside(far, "nft flush ruleset"))),
            );
        }
        if size != MOST {
            contenders.push(
                Contender::new("iptables, prefixes", sample(if size > 100 { 20_000 } else { 200_000 }))
                    .at(size)
                    .set_up(move || rules.iptables(0, size))
                    .tear_down(move || drop(inside(far, "iptables-legacy -F INPUT"))),
            );
        }
        for (name, port) in [("xdp-firewall, prefixes", false), ("xdp-firewall, and ports", true)] {
            contenders.push(
                Contender::new(name, sample(400_000))
                    .at(size)
                    .set_up(move || {
                        rules.ours(0, size, port);
                        rules.attach();
                    })
                    .tear_down(move || rules.detach()),
            );
        }
    }
    report.measure("packets", "A dropped datagram, by number of rules", "CPU ns", contenders);
}

/// Puts rules in force: how many, from which one on.
type Replace = fn(&Rules<'_>, u32, u32);

/// How long a command takes that replaces all rules by others, with its start and the writing of its file.
fn replacing(report: &mut Report, rules: &Rules<'_>) {
    let ways: [(&str, Replace, u32); 4] = [
        ("nft, set of prefixes", |rules, first, size| rules.nft(first, size, false), MOST),
        ("iptables, prefixes", |rules, first, size| rules.iptables(first, size), 10_000),
        ("xdp-firewall, prefixes", |rules, first, size| rules.ours(first, size, false), MOST),
        ("xdp-firewall, and ports", |rules, first, size| rules.ours(first, size, true), MOST),
    ];
    let mut contenders = Vec::new();
    for size in [100, 1_000, 10_000, MOST] {
        for (name, replace, most) in ways {
            if size > most {
                continue;
            }
            let sample = move || {
                let start = Instant::now();
                replace(rules, size / 2, size);
                start.elapsed().as_secs_f64() * 1000.0
            };
            // Twice: ours has two generations, and clears the one that it fills.
            let set_up = move || (0..2).for_each(|_| replace(rules, 0, size));
            contenders.push(Contender::new(name, sample).at(size).set_up(set_up));
        }
    }
    report.measure("replacing", "Replacing all rules, half by others", "ms", contenders);
    inside(rules.far, "nft flush ruleset; iptables-legacy -F INPUT");
}
