//! Ten entries on one hook: what they take together, as the daemon chains them, beside the sum of what each takes there.
//!
//! The stack takes more for a packet than they do, and not always the same. So what an entry lets pass ends at a program behind it
//! that does nothing else. What that takes behind an empty program is the cost of the hook and of having a chain at all: it is
//! subtracted from each entry, and less, the end alone, from the ten.

mod hook;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::{Network, compile};

use self::hook::{Hook, Member};
use crate::contender::{Contender, Measured};
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames};
use crate::report::Report;

const FRAMES: u32 = 200_000;
/// Connections that frames are of, in turn: one shows what the chain itself costs, many what its members do to each other's caches.
const CONNECTIONS: [u16; 3] = [1, 256, 4096];
/// Rules of those who have many.
const RULES: u32 = 1000;
const PORT: u16 = 53;
const SINK: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Measures them all.
pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    xdp(report, &gallery, &network);
    tc(report, &gallery, &network);
}

/// Lines, one for each of the networks `net.0.0/24` to that of the last rule.
fn networks(net: u8, line: impl Fn(Ipv4Addr) -> String) -> String {
    (0..RULES).fold(String::new(), |mut text, rule| {
        let prefix = Ipv4Addr::from_bits((u32::from(net) << 24) + (rule << 8));
        writeln!(text, "{}", line(prefix)).unwrap();
        text
    })
}

/// Services at so many addresses from `first` on, with ten backends each.
fn services(first: Ipv4Addr, count: u32) -> String {
    let mut text = format!("source {FAR_ADDRESS}\n");
    for number in 0..count {
        writeln!(text, "service {} udp {PORT}", Ipv4Addr::from_bits(first.to_bits() + number)).unwrap();
        (1..=10).for_each(|backend| writeln!(text, "backend 10.9.0.{backend}").unwrap());
    }
    text
}

/// All look, and the last one, a balancer, sends the frame on: the end of others is to send it back.
fn xdp(report: &mut Report, gallery: &Gallery, network: &Network) {
    // What comes back ends there.
    let drop_all = compile::object("drop").display().to_string();
    network.near.ip(&["link", "set", INTERFACE, "xdp", "obj", &drop_all, "sec", "xdp"]);
    let hook = Hook::new(gallery, &network.far, "xdp", "", "");
    let counter = || hook.load("xdp-counter", "xdp_counter");
    let firewall = |rules: &str| hook.apply("xdp-firewall", "xdp_firewall", rules);
    let balancer = |text: &str| hook.apply("xdp-balancer", "xdp_balancer", text);
    let elsewhere = Ipv4Addr::new(203, 0, 113, 1);
    let mut members = [
        ("xdp-counter", counter()),
        ("xdp-firewall, 1,000 other sources", firewall(&networks(12, |net| format!("drop src {net}/24")))),
        (
            "xdp-firewall, 1,000 with other ports",
            firewall(&networks(11, |net| format!("drop src {net}/24 proto udp dport 54"))),
        ),
        ("xdp-firewall, a protocol and port", firewall("drop proto tcp dport 22\n")),
        (
            "xdp-firewall, 1,000 that allow",
            firewall(&networks(11, |net| format!("allow src {net}/24 proto udp dport {PORT}"))),
        ),
        ("xdp-counter, again", counter()),
        ("xdp-balancer, another's service", balancer(&services(elsewhere, 1))),
        (
            "xdp-firewall, 1,000 other places",
            firewall(&networks(12, |net| format!("drop dst {net}/24 proto udp"))),
        ),
        ("xdp-balancer, 64 others' services", balancer(&services(elsewhere, 64))),
        ("xdp-balancer, sends on", balancer(&services(SINK, 1))),
    ]
    .map(Member::new);
    members[9].ends = true;
    let frame = |number: u16| {
        let source = Ipv4Addr::from_bits(0x0b00_0007 + ((u32::from(number) % RULES) << 8));
        Datagram { source, destination: SINK, ports: (1024 + number, PORT) }.frame()
    };
    let ends = (hook.empty("pass"), hook.empty("send_back"));
    compare(report, "xdp", &hook, ends, &members, &senders(network, frame));
    network.near.ip(&["link", "set", INTERFACE, "xdp", "off"]);
}

/// All look: the end is to drop the frame.
fn tc(report: &mut Report, gallery: &Gallery, network: &Network) {
    let place = "--direction ingress --proceed-on unspec,pipe,dispatcher_return";
    let hook = Hook::new(gallery, &network.far, "tc", place, ":ingress");
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
            hook.side("pod-fastpath", program, &line);
        }
        hook.side("pod-fastpath", program, &format!("add 10.88.0.0/24 {INTERFACE}"));
        program
    };
    let members = [
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
    .map(Member::new);
    let frame = |number: u16| {
        let source = NEAR_ADDRESS.parse().unwrap();
        Datagram { source, destination: SINK, ports: (20_000 + number, PORT) }.frame()
    };
    let ends = (hook.empty("next"), hook.empty("shot"));
    compare(report, "tc", &hook, ends, &members, &senders(network, frame));
}

/// Who sends frames of so many connections.
type Senders<'a> = [(u16, RefCell<LiveFrames<'a>>)];

fn senders(network: &Network, frame: impl Fn(u16) -> Vec<u8>) -> Vec<(u16, RefCell<LiveFrames<'_>>)> {
    let sender = |connections: u16| {
        let frames: Vec<_> = (0..connections).map(&frame).collect();
        (connections, RefCell::new(LiveFrames::new(network, &frames)))
    };
    CONNECTIONS.map(sender).into()
}

/// `empty` lets all pass, and at `end` all ends.
fn compare(
    report: &mut Report,
    group: &str,
    hook: &Hook<'_>,
    (empty, end): (u64, u64),
    members: &[Member; 10],
    senders: &Senders<'_>,
) {
    // A chain that ends by itself needs no end.
    let closed = |mut programs: Vec<u64>, ends: bool| {
        programs.extend((!ends).then_some(end));
        programs
    };
    let ten = closed(members.iter().map(|member| member.program).collect(), members[9].ends);
    let ways = [("the end", vec![end]), ("empty, and the end", vec![empty, end])];
    let ways: Vec<(&str, Vec<u64>)> = ways
        .into_iter()
        .chain(members.iter().map(|member| (member.name, closed(vec![member.program], member.ends))))
        .chain([("all ten, chained", ten)])
        .collect();
    let mut contenders = Vec::new();
    for (connections, frames) in senders {
        for (name, programs) in &ways {
            contenders.push(
                Contender::new(*name, || frames.borrow_mut().sample(FRAMES))
                    .at(u32::from(*connections))
                    .set_up(move || {
                        hook.attach(programs);
                        // The first time makes the connections known.
                        frames.borrow_mut().sample(u32::from(*connections).max(250) * 4);
                    })
                    .tear_down(|| {
                        if programs.len() > 1 {
                            hook.assert_all_ran(programs.len());
                        }
                        hook.detach();
                    }),
            );
        }
    }
    let title = format!("A frame at a {group} hook with one entry, and with ten, by connections");
    let measured = report.measure(group, &title, "CPU ns", contenders);
    for (measured, connections) in measured.chunks(ways.len()).zip(CONNECTIONS) {
        for (of, value) in
            [("medians", Measured::median as fn(&Measured) -> f64), ("least values", Measured::min)]
        {
            let value = |number: usize| value(&measured[number]);
            let (floor, chain_floor) = (value(0), value(1));
            let each = members.iter().zip(2..);
            let each = each.map(|(member, at)| value(at) - if member.ends { floor } else { chain_floor });
            let (sum, together) = (each.sum::<f64>(), value(ways.len() - 1) - floor);
            let mut say = |name: &str, unit: &str, figure: f64| {
                report.derived(group, &format!("{name}, {connections} connections, {of}"), unit, figure);
            };
            say("sum of ten, each without the hook", "CPU ns", sum);
            say("ten chained, without the hook", "CPU ns", together);
            say("chained over sum", "x", together / sum);
        }
    }
}
