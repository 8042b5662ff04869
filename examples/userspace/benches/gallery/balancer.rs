//! XDP balancer and DNAT by nft: CPU time by number of connections, and connections that move with a backend.

mod going;
mod ipvs;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS, Namespace};
use bpfman_tests::{Network, compile};

use crate::contender::Contender;
use crate::equipment::Gallery;
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

const CONNECTIONS: [u32; 3] = [1, 4096, 65_536];
const FEW_CONNECTIONS: [u32; 2] = [1, 4096];
const BACKENDS: u32 = 10;
const PORT: u16 = 53;
const FRAMES: u32 = 400_000;
const FEW_FRAMES: u32 = 40_000;
/// Interface that drops all packets: the balancer's way back over a veth would take longer.
const SINK: &str = "sink0";

type Flow = (Ipv4Addr, u16);

fn backend(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a09_0000 + number)
}

fn flow(number: u32) -> Flow {
    (Ipv4Addr::from_bits(0x0b00_0000 + number), 1024 + (number % 50_000) as u16)
}

struct Bench<'a> {
    gallery: &'a Gallery,
    far: &'a Namespace,
    image: String,
    frames: u32,
    ipvs: bool,
}

pub fn run(report: &mut Report) {
    with_network(report, &CONNECTIONS, false);
}

pub fn run_beside_ipvs(report: &mut Report) {
    match ipvs::lacks() {
        Some(reason) => println!("skipped: {reason}"),
        None => with_network(report, &FEW_CONNECTIONS, true),
    }
}

fn with_network(report: &mut Report, connections: &[u32], ipvs: bool) {
    let gallery = Gallery::open();
    let network = Network::new();
    let far = &network.far;
    far.ip(&["route", "add", "default", "via", NEAR_ADDRESS]);
    inside(far, "sysctl -qw net.ipv4.ip_forward=1");
    far.ip(&["link", "add", "name", SINK, "type", "ifb"]);
    far.ip(&["address", "add", "10.9.255.254/16", "dev", SINK]);
    far.ip(&["link", "set", SINK, "up"]);
    inside(far, &format!("tc qdisc replace dev {SINK} root noqueue"));
    let drop_all = compile::object("drop").display().to_string();
    network.near.ip(&["link", "set", INTERFACE, "xdp", "obj", &drop_all, "sec", "xdp"]);
    let frames = if ipvs { FEW_FRAMES } else { FRAMES };
    let bench = Bench { gallery: &gallery, far, image: gallery.publish("xdp-balancer"), frames, ipvs };
    let senders: Vec<(u32, RefCell<LiveFrames>)> = connections
        .iter()
        .map(|&count| {
            let frames: Vec<_> = (0..count).map(frame).collect();
            (count, RefCell::new(LiveFrames::new(&network, &frames)))
        })
        .collect();
    packets(report, &bench, &senders);
    if !ipvs {
        let (count, most) = senders.last().expect("there are some");
        going::measure(report, &bench, *count, most);
    }
}

fn frame(number: u32) -> Vec<u8> {
    let (source, port) = flow(number);
    Datagram { source, destination: FAR_ADDRESS.parse().unwrap(), ports: (port, PORT) }.frame()
}

fn packets(report: &mut Report, bench: &Bench<'_>, senders: &[(u32, RefCell<LiveFrames>)]) {
    let far = bench.far;
    let send_back = compile::object("send_back").display().to_string();
    let program = RefCell::new(None);
    let program = &program;
    let mut contenders = Vec::new();
    for (count, frames) in senders {
        let count = *count;
        let warm = move || {
            let _took = frames.borrow_mut().sample(count.max(1000));
        };
        let attach = format!("ip link set {INTERFACE} xdp obj {send_back} sec xdp");
        contenders.push(
            Contender::new("XDP, sends all back", move || frames.borrow_mut().sample(bench.frames))
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
                let took = frames.borrow_mut().sample(bench.frames);
                bench.assert_most(bench.forwarded(id) - before);
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
        let sunk = move || {
            let before = bench.sunk();
            let took = frames.borrow_mut().sample(bench.frames);
            bench.assert_most(bench.sunk() - before);
            took
        };
        contenders.push(
            Contender::new("nft DNAT", sunk)
                .at(count)
                .set_up(move || {
                    bench.translate();
                    warm();
                })
                .tear_down(move || drop(inside(far, "nft flush ruleset"))),
        );
        if bench.ipvs {
            contenders.push(
                Contender::new("IPVS, IP in IP", sunk)
                    .at(count)
                    .set_up(move || {
                        ipvs::set_up(far);
                        warm();
                    })
                    .tear_down(move || ipvs::tear_down(far)),
            );
        }
    }
    report.measure("packets", "A datagram of a known connection, by connections", "CPU ns", contenders);
}

impl Bench<'_> {
    fn assert_most(&self, forwarded: u64) {
        let frames = self.frames;
        assert!(forwarded >= u64::from(frames) * 9 / 10, "{forwarded} of {frames} frames were forwarded");
    }

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

    fn forwarded(&self, id: u32) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.side(id, "stats --json")).unwrap();
        stats["forwarded"].as_u64().unwrap()
    }

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

    fn sunk(&self) -> u64 {
        let text = self.far.ip(&["-s", "-j", "link", "show", "dev", SINK]);
        let links: serde_json::Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["rx"]["dropped"].as_u64().expect("an interface counts what it drops")
    }
}
