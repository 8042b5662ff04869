//! XDP firewall, nft and iptables: CPU time of a dropped datagram by number of rules, and time to replace them.

use std::cell::{Cell, RefCell};
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

/// Numbers of rules: with more, iptables takes minutes.
const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];
const MAX_RULES: u32 = 100_000;
const SOURCES: u32 = 4096;
const PORT: u16 = 53;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prefixes,
    Ports,
    Lengths,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Prefixes, "prefixes"),
    (Kind::Ports, "prefixes and ports"),
    (Kind::Lengths, "prefixes of 25 lengths"),
];

fn source(rule: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0007 + (rule << 8))
}

impl Kind {
    fn prefix(self, rule: u32) -> String {
        let length = if self == Self::Lengths { 24 + rule % 9 } else { 24 };
        let address = Ipv4Addr::from_bits(source(rule).to_bits() & u32::MAX << (32 - length));
        format!("{address}/{length}")
    }

    fn prefixes(self, first: u32, size: u32) -> Vec<String> {
        let shorter = (8..24).map(|length| format!("{}/{length}", Ipv4Addr::from_bits(200 << 24)));
        let shorter = shorter.take(if self == Self::Lengths && size > 16 { 16 } else { 0 });
        shorter.chain((first..first + size).map(|rule| self.prefix(rule))).collect()
    }
}

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

    fn lines(kind: Kind, first: u32, size: u32, line: impl Fn(&str) -> String) -> String {
        kind.prefixes(first, size).iter().fold(String::new(), |mut text, prefix| {
            writeln!(text, "{}", line(prefix)).unwrap();
            text
        })
    }

    fn nft(&self, first: u32, size: u32, kind: Kind) {
        let (type_, key, element) = if kind == Kind::Ports {
            ("ipv4_addr . inet_service", "ip saddr . udp dport", format!(" . {PORT}"))
        } else {
            ("ipv4_addr", "ip saddr", String::new())
        };
        let elements = Self::lines(kind, first, size, |prefix| format!("{prefix}{element},"));
        // nft rejects prefixes that contain one another unless it may merge them.
        let merge = if kind == Kind::Lengths { " auto-merge;" } else { "" };
        let text = format!(
            "table ip t\ndelete table ip t\ntable ip t {{ set s {{ type {type_}; flags interval;{merge} elements = {{ {elements} }}; }}\n\
             chain c {{ type filter hook input priority 0; {key} @s drop; }}\n}}\n"
        );
        let path = self.file("rules.nft", &text);
        inside(self.far, &format!("nft -f {}", path.display()));
    }

    fn iptables(&self, first: u32, size: u32) {
        let rules =
            Self::lines(Kind::Prefixes, first, size, |prefix| format!("-A INPUT -s {prefix} -j DROP"));
        let path = self.file("rules.iptables", &format!("*filter\n{rules}COMMIT\n"));
        inside(self.far, &format!("iptables-legacy-restore < {}", path.display()));
    }

    fn ours(&self, first: u32, size: u32, kind: Kind) {
        let detail = if kind == Kind::Ports { format!(" proto udp dport {PORT}") } else { String::new() };
        let text = Self::lines(kind, first, size, |prefix| format!("drop src {prefix}{detail}"));
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

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    network.far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    let program = gallery.load("xdp-firewall", "--programs xdp:xdp_firewall")[0];
    let rules = Rules { gallery: &gallery, far: &network.far, program };
    packets(report, &network, &rules);
    replacing(report, &rules);
    adding(report, &rules);
}

fn packets(report: &mut Report, network: &Network, rules: &Rules<'_>) {
    let frame = |rule: u32| {
        Datagram { source: source(rule), destination: FAR_ADDRESS.parse().unwrap(), ports: (4000, PORT) }
            .frame()
    };
    let senders: Vec<(u32, RefCell<LiveFrames>)> = SIZES
        .into_iter()
        .chain([MAX_RULES])
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
        for (kind, name) in KINDS {
            contenders.push(
                Contender::new(format!("nft, {name}"), sample(200_000))
                    .at(size)
                    .set_up(move || rules.nft(0, size, kind))
                    .tear_down(move || drop(inside(far, "nft flush ruleset"))),
            );
        }
        if size != MAX_RULES {
            contenders.push(
                Contender::new("iptables, prefixes", sample(if size > 100 { 20_000 } else { 200_000 }))
                    .at(size)
                    .set_up(move || rules.iptables(0, size))
                    .tear_down(move || drop(inside(far, "iptables-legacy -F INPUT"))),
            );
        }
        for (kind, name) in KINDS {
            contenders.push(
                Contender::new(format!("xdp-firewall, {name}"), sample(400_000))
                    .at(size)
                    .set_up(move || {
                        rules.ours(0, size, kind);
                        rules.attach();
                    })
                    .tear_down(move || rules.detach()),
            );
        }
    }
    report.measure("packets", "A dropped datagram, by number of rules", "CPU ns", contenders);
}

type Replace = fn(&Rules<'_>, u32, u32);

fn replacing(report: &mut Report, rules: &Rules<'_>) {
    let ways: [(&str, Replace, u32); 5] = [
        ("nft, prefixes", |rules, first, size| rules.nft(first, size, Kind::Prefixes), MAX_RULES),
        ("iptables, prefixes", |rules, first, size| rules.iptables(first, size), 10_000),
        ("xdp-firewall, prefixes", |rules, first, size| rules.ours(first, size, Kind::Prefixes), MAX_RULES),
        (
            "xdp-firewall, prefixes and ports",
            |rules, first, size| rules.ours(first, size, Kind::Ports),
            MAX_RULES,
        ),
        (
            "xdp-firewall, prefixes of 25 lengths",
            |rules, first, size| rules.ours(first, size, Kind::Lengths),
            MAX_RULES,
        ),
    ];
    let mut contenders = Vec::new();
    for size in [100, 1_000, 10_000, MAX_RULES] {
        for (name, replace, most) in ways {
            if size > most {
                continue;
            }
            let sample = move || {
                let start = Instant::now();
                replace(rules, size / 2, size);
                start.elapsed().as_secs_f64() * 1000.0
            };
            // Twice: the firewall has two generations, and clears the one that it fills.
            let set_up = move || (0..2).for_each(|_| replace(rules, 0, size));
            contenders.push(Contender::new(name, sample).at(size).set_up(set_up));
        }
    }
    report.measure("replacing", "Replacing all rules, half by others", "ms", contenders);
    inside(rules.far, "nft flush ruleset; iptables-legacy -F INPUT");
}

fn adding(report: &mut Report, rules: &Rules<'_>) {
    let added = Cell::new(0_u32);
    let next = || {
        added.set(added.get() + 1);
        Ipv4Addr::from_bits((100 << 24) + added.get())
    };
    let mut contenders = Vec::new();
    for size in [1_000, 10_000, MAX_RULES] {
        let timed = |act: &dyn Fn(Ipv4Addr)| {
            let (address, start) = (next(), Instant::now());
            act(address);
            start.elapsed().as_secs_f64() * 1000.0
        };
        let nft = |address| drop(inside(rules.far, &format!("nft add element ip t s '{{ {address} }}'")));
        let ours = |address| {
            rules
                .gallery
                .side("xdp-firewall", &format!("--program {} add {address}", rules.program))
                .success();
        };
        contenders.push(
            Contender::new("nft, a set", move || timed(&nft))
                .at(size)
                .set_up(move || rules.nft(0, size, Kind::Prefixes)),
        );
        contenders.push(Contender::new("xdp-firewall", move || timed(&ours)).at(size).set_up(move || {
            rules.ours(0, size, Kind::Prefixes);
            (0..2).for_each(|_| ours(next()));
        }));
    }
    report.measure("adding", "Adding one prefix, by number of rules", "ms", contenders);
    inside(rules.far, "nft flush ruleset");
}
