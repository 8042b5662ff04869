//! The XDP balancer beside DNAT by nft: CPU time of a datagram of a connection that is known, by the number of connections; and
//! the share of connections that move to another backend although theirs is still there, when one of the backends goes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS, Namespace};
use bpfman_tests::{Network, command, compile, kernel};

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

/// Numbers of connections.
const CONNECTIONS: [u32; 3] = [1, 4096, 65_536];
/// Backends while packets are measured, and while one goes.
const BACKENDS: u32 = 10;
const GOING: [u32; 3] = [3, 10, 100];
const PORT: u16 = 53;
/// Frames of a sample.
const FRAMES: u32 = 400_000;
/// Where DNAT sends: an interface that counts and drops what comes. The balancer's packets go back over the veth, which takes
/// longer.
const SINK: &str = "sink0";

/// A connection as the program knows it: the client's address and port.
type Flow = (Ipv4Addr, u16);

fn backend(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a09_0000 + number)
}

fn flow(number: u32) -> Flow {
    (Ipv4Addr::from_bits(0x0b00_0000 + number), 1024 + (number % 50_000) as u16)
}

/// What packets are measured with.
struct Bench<'a> {
    gallery: &'a Gallery,
    far: &'a Namespace,
    image: String,
}

/// Measures them all.
pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    let far = &network.far;
    far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    inside(far, "sysctl -qw net.ipv4.ip_forward=1");
    far.ip(&["link", "add", "name", SINK, "type", "ifb"]);
    far.ip(&["address", "add", "10.9.255.254/16", "dev", SINK]);
    far.ip(&["link", "set", SINK, "up"]);
    // As veths have it.
    inside(far, &format!("tc qdisc replace dev {SINK} root noqueue"));
    // What comes back ends there.
    let drop_all = compile::object("drop").display().to_string();
    network.near.ip(&["link", "set", INTERFACE, "xdp", "obj", &drop_all, "sec", "xdp"]);
    let bench = Bench { gallery: &gallery, far, image: gallery.publish("xdp-balancer") };
    let senders: Vec<(u32, RefCell<LiveFrames<'_>>)> = CONNECTIONS
        .into_iter()
        .map(|count| {
            let frames: Vec<_> = (0..count).map(frame).collect();
            (count, RefCell::new(LiveFrames::new(&network, &frames)))
        })
        .collect();
    packets(report, &bench, &senders);
    let (count, most) = &senders[CONNECTIONS.len() - 1];
    going(report, &bench, *count, most);
}

fn frame(number: u32) -> Vec<u8> {
    let (source, port) = flow(number);
    Datagram { source, destination: FAR_ADDRESS.parse().unwrap(), ports: (port, PORT) }.frame()
}

fn packets(report: &mut Report, bench: &Bench<'_>, senders: &[(u32, RefCell<LiveFrames<'_>>)]) {
    let far = bench.far;
    let send_back = compile::object("send_back").display().to_string();
    let program = RefCell::new(None);
    let program = &program;
    let mut contenders = Vec::new();
    for (count, frames) in senders {
        let count = *count;
        // The first time makes the connections known.
        let warm = move || {
            let _took = frames.borrow_mut().sample(count.max(1000));
        };
        let attach = format!("ip link set {INTERFACE} xdp obj {send_back} sec xdp");
        contenders.push(
            Contender::new("XDP, sends all back", move || frames.borrow_mut().sample(FRAMES))
                .at(count)
                .set_up(move || {
                    let _done = inside(far, &attach);
                    warm();
                })
                .tear_down(move || drop(inside(far, &format!("ip link set {INTERFACE} xdp off")))),
        );
        contenders.push(
            Contender::new("xdp-balancer", move || {
                let id = program.borrow().expect("it was loaded");
                let before = bench.forwarded(id);
                let took = frames.borrow_mut().sample(FRAMES);
                assert_most(bench.forwarded(id) - before);
                took
            })
            .at(count)
            .set_up(move || {
                let id = bench.load();
                bench.apply(id, 1, BACKENDS);
                program.replace(Some(id));
                warm();
            })
            .tear_down(move || bench.unload(program.take().expect("it was loaded"))),
        );
        contenders.push(
            Contender::new("nft DNAT", move || {
                let before = bench.sunk();
                let took = frames.borrow_mut().sample(FRAMES);
                assert_most(bench.sunk() - before);
                took
            })
            .at(count)
            .set_up(move || {
                bench.translate();
                warm();
            })
            .tear_down(move || drop(inside(far, "nft flush ruleset"))),
        );
    }
    report.measure("packets", "A datagram of a known connection, by connections", "CPU ns", contenders);
}

/// What was measured is what was meant: the frames were forwarded.
fn assert_most(forwarded: u64) {
    assert!(forwarded >= u64::from(FRAMES) * 9 / 10, "{forwarded} of {FRAMES} frames were forwarded");
}

/// One of the backends goes: the share of the others' connections that are then somewhere else.
fn going(report: &mut Report, bench: &Bench<'_>, count: u32, frames: &RefCell<LiveFrames<'_>>) {
    // Some frames are lost: twice, and hardly a connection is missing.
    let send = || {
        for _ in 0..2 {
            let _took = frames.borrow_mut().sample(count);
        }
    };
    let send = &send;
    let mut contenders = Vec::new();
    for backends in GOING {
        contenders.push(
            Contender::new("connections that are known", move || {
                let id = bench.load();
                bench.apply(id, 1, backends);
                send();
                let before = placements(id);
                bench.apply(id, 2, backends);
                send();
                let after = placements(id);
                bench.unload(id);
                moved(&before, &after, count)
            })
            .at(backends),
        );
        contenders.push(
            Contender::new("by the table alone", move || {
                // Another program knows none of the connections.
                let [before, after] = [1, 2].map(|first| {
                    let id = bench.load();
                    bench.apply(id, first, backends);
                    send();
                    let placed = placements(id);
                    bench.unload(id);
                    placed
                });
                moved(&before, &after, count)
            })
            .at(backends),
        );
    }
    report.measure(
        "moved",
        "Others' connections that move when a backend goes, by backends",
        "%",
        contenders,
    );
}

/// In percent of those whose backend is still there.
fn moved(before: &HashMap<Flow, Ipv4Addr>, after: &HashMap<Flow, Ipv4Addr>, count: u32) -> f64 {
    let gone = backend(1);
    assert!(before.values().any(|place| *place == gone), "no connection had the backend that goes");
    assert!(after.values().all(|place| *place != gone), "a connection has a backend that is gone");
    let both: Vec<_> = before
        .iter()
        .filter(|(_, place)| **place != gone)
        .filter_map(|(flow, place)| Some((place, after.get(flow)?)))
        .collect();
    // A third had the one that is gone where there were three; besides that nearly all are known twice.
    assert!(both.len() * 10 > count as usize * 6, "{} of {count} connections can be compared", both.len());
    both.iter().filter(|(old, new)| old != new).count() as f64 * 100.0 / both.len() as f64
}

/// Where the program has placed connections: each with the address of its backend.
fn placements(program: u32) -> HashMap<Flow, Ipv4Addr> {
    let shown = kernel::program(program);
    let maps: Vec<u32> =
        shown["map_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let (connections, backends) =
        (kernel::map_named(&maps, "connections"), kernel::map_named(&maps, "backends"));
    let text = command::run(&["bpftool", "-j", "map", "dump", "id", &connections.to_string()]);
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut addresses = HashMap::new();
    entries
        .iter()
        .map(|entry| {
            let [key, value] = ["key", "value"].map(|part| bytes(&entry[part]));
            let client = Ipv4Addr::new(key[0], key[1], key[2], key[3]);
            let number = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
            let address = addresses.entry(number).or_insert_with(|| {
                let place = kernel::array_bytes(backends, number);
                Ipv4Addr::new(place[0], place[1], place[2], place[3])
            });
            ((client, u16::from_be_bytes([key[36], key[37]])), *address)
        })
        .collect()
}

fn bytes(list: &serde_json::Value) -> Vec<u8> {
    let byte = |text: &serde_json::Value| {
        u8::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    list.as_array().unwrap().iter().map(byte).collect()
}

impl Bench<'_> {
    /// A fresh one at the far end, that knows no connections.
    fn load(&self) -> u32 {
        let words = format!("load image -i {} --programs xdp:xdp_balancer -o json", self.image);
        let loaded = self.gallery.daemon.bpfman(&words).json();
        let id = u32::try_from(loaded["programs"][0]["program_id"].as_u64().unwrap()).unwrap();
        let netns = self.far.path().display().to_string();
        let words = format!("attach {id} xdp --iface {INTERFACE} --netns {netns} --priority 1");
        self.gallery.daemon.bpfman(&words).success();
        id
    }

    fn unload(&self, id: u32) {
        self.gallery.daemon.bpfman(&format!("unload {id}")).success();
    }

    /// Backends `first` to `last`.
    fn apply(&self, id: u32, first: u32, last: u32) {
        let mut text = format!("source {FAR_ADDRESS}\nservice {FAR_ADDRESS} udp {PORT}\n");
        (first..=last).for_each(|number| writeln!(text, "backend {}", backend(number)).unwrap());
        let path = self.gallery.daemon.path("services.txt");
        fs::write(&path, text).unwrap();
        self.side(id, &format!("apply {}", path.display()));
    }

    fn side(&self, id: u32, line: &str) -> String {
        self.gallery.side("xdp-balancer", &format!("--program {id} {line}")).success()
    }

    /// Packets that the balancer has sent to backends.
    fn forwarded(&self, id: u32) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.side(id, "stats --json")).unwrap();
        stats["forwarded"].as_u64().unwrap()
    }

    /// The same by nft; the kernel's connection tracking knows connections.
    fn translate(&self) {
        let places: Vec<String> =
            (0..BACKENDS).map(|slot| format!("{slot} : {}", backend(slot + 1))).collect();
        let text = format!(
            "flush ruleset\ntable ip t {{\n chain c {{\n  type nat hook prerouting priority -100;\n  \
             ip daddr {FAR_ADDRESS} udp dport {PORT} dnat to jhash ip saddr . udp sport mod {BACKENDS} map {{ {} }}\n }}\n}}\n",
            places.join(", ")
        );
        let path = self.gallery.daemon.path("services.nft");
        fs::write(&path, text).unwrap();
        inside(self.far, &format!("nft -f {}", path.display()));
    }

    /// Packets that came to the sink.
    fn sunk(&self) -> u64 {
        let text = self.far.ip(&["-s", "-j", "link", "show", "dev", SINK]);
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["rx"]["dropped"].as_u64().expect("an interface counts what it drops")
    }
}
