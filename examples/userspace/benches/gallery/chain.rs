//! Ten programs on one hook: their cost in the daemon's chain, compared with the sum of the cost of each alone. The
//! cost of hook, chain and end, measured with an empty program, is subtracted. Since a processor changes its speed
//! within a second, all variants stay attached in their own networks and take short turns; the tenth percentile counts.

mod hook;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::{Network, compile};

use self::hook::{Hook, Member};
use crate::contender::{Contender, Measured, part};
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames};
use crate::report::Report;

const FRAMES: u32 = 30_000;
const TURNS: usize = 20;
const WAYS: usize = 16;
/// One connection measures the chain itself; many measure how members affect each other's caches.
const CONNECTIONS: [u16; 3] = [1, 256, 4096];
const RULES: u32 = 1000;
const PORT: u16 = 53;
const ENDS: &str = "xdp-balancer, sends on";
const SINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let networks: Vec<Network> = (0..WAYS).map(|_| Network::new()).collect();
    xdp(report, &gallery, &networks);
    tc(report, &gallery, &networks);
}

fn prefixes(net: u8, line: impl Fn(Ipv4Addr) -> String) -> String {
    (0..RULES).fold(String::new(), |mut text, rule| {
        let prefix = Ipv4Addr::from_bits((u32::from(net) << 24) + (rule << 8));
        writeln!(text, "{}", line(prefix)).unwrap();
        text
    })
}

fn services(first: Ipv4Addr, count: u32) -> String {
    let mut text = format!("source {FAR_ADDRESS}\n");
    for number in 0..count {
        writeln!(text, "service {} udp {PORT}", Ipv4Addr::from_bits(first.to_bits() + number)).unwrap();
        (1..=10).for_each(|backend| writeln!(text, "backend 10.9.0.{backend}").unwrap());
    }
    text
}

/// Nine programs inspect the frame, and a balancer sends it on; for single programs, the end sends it back.
fn xdp(report: &mut Report, gallery: &Gallery, networks: &[Network]) {
    let drop_all = compile::object("drop").display().to_string();
    for network in networks {
        network.near.ip(&["link", "set", INTERFACE, "xdp", "obj", &drop_all, "sec", "xdp"]);
    }
    let hook = Hook::new(gallery, &networks[0].far, "xdp", "", "");
    let counter = || hook.load("xdp-counter", "xdp_counter");
    let firewall = |rules: &str| hook.apply("xdp-firewall", "xdp_firewall", rules);
    let balancer = |text: &str| hook.apply("xdp-balancer", "xdp_balancer", text);
    let elsewhere = Ipv4Addr::new(203, 0, 113, 1);
    let mut members = [
        ("xdp-counter", counter()),
        ("xdp-firewall, 1,000 other sources", firewall(&prefixes(12, |net| format!("drop src {net}/24")))),
        (
            "xdp-firewall, 1,000 with other ports",
            firewall(&prefixes(11, |net| format!("drop src {net}/24 proto udp dport 54"))),
        ),
        ("xdp-firewall, a protocol and port", firewall("drop proto tcp dport 22\n")),
        (
            "xdp-firewall, 1,000 that allow",
            firewall(&prefixes(11, |net| format!("allow src {net}/24 proto udp dport {PORT}"))),
        ),
        ("xdp-counter, again", counter()),
        ("xdp-balancer, another's service", balancer(&services(elsewhere, 1))),
        (
            "xdp-firewall, 1,000 other places",
            firewall(&prefixes(12, |net| format!("drop dst {net}/24 proto udp"))),
        ),
        ("xdp-balancer, 64 others' services", balancer(&services(elsewhere, 64))),
        (ENDS, balancer(&services(SINK, 1))),
    ]
    .map(Member::new);
    members[9].ends = true;
    let frame = |number: u16| {
        let source = Ipv4Addr::from_bits(0x0b00_0007 + ((u32::from(number) % RULES) << 8));
        Datagram { source, destination: SINK, ports: (1024 + number, PORT) }.frame()
    };
    let ends = (hook.empty("pass"), hook.empty("send_back"));
    let ten = closed(&members, ends.1);
    let other = Way {
        name: "all ten, by tail calls",
        kind: "xdp",
        place: "--isolated",
        side: "",
        programs: ten,
        shares: false,
    };
    let ways = ways("xdp", "", "", ends, &members, other);
    compare(report, gallery, networks, "xdp", &ways, frame);
    for network in networks {
        network.near.ip(&["link", "set", INTERFACE, "xdp", "off"]);
    }
}

fn tc(report: &mut Report, gallery: &Gallery, networks: &[Network]) {
    let place = "--direction ingress --proceed-on unspec,pipe,dispatcher_return";
    let hook = Hook::new(gallery, &networks[0].far, "tc", place, ":ingress");
    let links = Hook::new(gallery, &networks[0].far, "tcx", "--direction ingress", ":ingress");
    let (members, others) = (tc_members(&hook), tc_members(&links));
    let ends = (hook.empty("next"), hook.empty("shot"));
    let ten = closed(&others, links.empty("shot"));
    let other = Way {
        name: "all ten, the kernel's links",
        kind: "tcx",
        place: links.place,
        side: links.side,
        programs: ten,
        shares: false,
    };
    let frame = |number: u16| {
        let source = NEAR_ADDRESS.parse().unwrap();
        Datagram { source, destination: SINK, ports: (20_000 + number, PORT) }.frame()
    };
    let ways = ways("tc", place, ":ingress", ends, &members, other);
    compare(report, gallery, networks, "tc", &ways, frame);
}

fn tc_members(hook: &Hook<'_>) -> [Member; 10] {
    let flows = || hook.load("flows", "flows_ingress");
    let port = |own: &str, others: u32| {
        let mut rules = format!("port {INTERFACE} {own}\nallow {INTERFACE} out proto udp dport {PORT}\n");
        for number in 0..others {
            let (high, low) = (number / 256, number % 256);
            writeln!(rules, "allow {INTERFACE} out to 11.{high}.{low}.0/24 proto tcp").unwrap();
        }
        hook.apply("switch-port", "switch_port_out", &rules)
    };
    let own = format!("mac 02:00:00:00:00:01 address {NEAR_ADDRESS}");
    let fast_path = |function: &str, pods: u32| {
        let program = hook.load("pod-fastpath", function);
        for pod in 1..=pods {
            let line = format!("add 10.99.0.{pod} {INTERFACE} --mac 02:00:00:99:00:{pod:02}");
            hook.run_side("pod-fastpath", program, &line);
        }
        hook.run_side("pod-fastpath", program, &format!("add 10.88.0.0/24 {INTERFACE}"));
        program
    };
    [
        ("flows", flows()),
        ("switch-port", port(&own, 0)),
        ("pod-fastpath, from the network", fast_path("from_network", 1)),
        ("flows, again", flows()),
        ("switch-port, 1,000 rules", port(&own, RULES)),
        ("pod-fastpath, from a pod", fast_path("from_pod", 1)),
        ("switch-port, any address", port("", 0)),
        ("flows, once more", flows()),
        ("pod-fastpath, ten pods", fast_path("from_network", 10)),
        ("flows, for the last time", flows()),
    ]
    .map(Member::new)
}

struct Way {
    name: &'static str,
    kind: &'static str,
    place: &'static str,
    side: &'static str,
    programs: Vec<u64>,
    /// True if headers are parsed once for all members.
    shares: bool,
}

fn closed(members: &[Member], end: u64) -> Vec<u64> {
    let programs = members.iter().map(|member| member.program);
    programs.chain((!members.iter().any(|member| member.ends)).then_some(end)).collect()
}

fn ways(
    kind: &'static str,
    place: &'static str,
    side: &'static str,
    (empty, end): (u64, u64),
    members: &[Member; 10],
    other: Way,
) -> Vec<Way> {
    let way = |name, programs| Way { name, kind, place, side, programs, shares: false };
    let mut ways = vec![way("the end", vec![end]), way("empty, and the end", vec![empty, end])];
    ways.extend(members.iter().map(|member| way(member.name, closed(std::slice::from_ref(member), end))));
    let nothing = [vec![empty; 10], vec![end]].concat();
    let shared = Way { shares: true, ..way("all ten, chained, headers parsed once", closed(members, end)) };
    let chained = way("all ten, chained", closed(members, end));
    ways.extend([chained, shared, other, way("ten that do nothing", nothing)]);
    ways
}

fn compare(
    report: &mut Report,
    gallery: &Gallery,
    networks: &[Network],
    group: &str,
    ways: &[Way],
    frame: impl Fn(u16) -> Vec<u8>,
) {
    let hooks: Vec<Hook<'_>> = ways
        .iter()
        .zip(networks)
        .map(|(way, network)| {
            let hook = Hook::new(gallery, &network.far, way.kind, way.place, way.side);
            hook.attach(&way.programs);
            if way.shares {
                hook.share_headers();
            }
            hook
        })
        .collect();
    for connections in CONNECTIONS {
        let frames: Vec<_> = (0..connections).map(&frame).collect();
        let senders: Vec<_> =
            networks.iter().map(|network| RefCell::new(LiveFrames::new(network, &frames))).collect();
        let contenders = ways.iter().zip(&senders).map(|(way, sender)| {
            Contender::new(way.name, || sender.borrow_mut().sample(FRAMES))
                .at(u32::from(connections))
                // Warm the caches, which other variants have used, and make the connections known.
                .set_up(move || {
                    sender.borrow_mut().sample(u32::from(connections).max(500) * 2);
                })
        });
        let title =
            format!("A frame at a {group} hook with one entry, and with ten; {connections} connections");
        let of = format!("{group}-{connections}");
        let measured = report.measure_often(&of, &title, "CPU ns", TURNS, contenders.collect());
        told(report, &of, &measured);
    }
    for (hook, way) in hooks.iter().zip(ways) {
        if way.programs.len() > 1 && way.kind != "tcx" {
            hook.assert_all_ran(way.programs.len());
        }
    }
    gallery.daemon.detach_all();
}

fn told(report: &mut Report, group: &str, measured: &[Measured]) {
    let rounds = measured[0].samples.len();
    let thirds = [0, rounds / 3, rounds * 2 / 3, rounds];
    let parts = [("", 0..rounds)].into_iter().chain(
        ["first third", "second third", "last third"]
            .into_iter()
            .zip(thirds.windows(2).map(|ends| ends[0]..ends[1])),
    );
    for (of, rounds) in parts {
        let value = |way: usize| part(&measured[way].samples[rounds.clone()], 1, 10);
        let floor = |way: usize| value(usize::from(measured[way].name != ENDS));
        let sum: f64 = (2..12).map(|way| value(way) - floor(way)).sum();
        let mut say = |name: &str, unit: &str, figure: f64| {
            report.derived(
                group,
                &format!("{name}{}{of}", if of.is_empty() { "" } else { ", " }),
                unit,
                figure,
            );
        };
        say("sum of ten, each without the hook", "CPU ns", sum);
        for (way, one) in measured.iter().enumerate().skip(12) {
            let together = value(way) - value(0);
            say(&format!("{}, without the hook", one.name), "CPU ns", together);
            say(&format!("{}, over the sum", one.name), "x", together / sum);
        }
    }
}
