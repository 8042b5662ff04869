use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;

use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::{Network, Outcome, compile};

use crate::contender::Contender;
use crate::equipment::{Gallery, WATCHER};
use crate::live_frames::{Datagram, LiveFrames, inside};
use crate::report::Report;

const FRAMES: u32 = 200_000;
const CONNECTIONS: u16 = 4096;
const PORT: u16 = 53;
const SINK: &str = "sink";

struct Switch<'a> {
    gallery: &'a Gallery,
    network: &'a Network,
    programs: Vec<u64>,
}

impl Switch<'_> {
    fn attach(&self, others: u32) {
        let port = format!("port {INTERFACE} mac 02:00:00:00:00:01 address {NEAR_ADDRESS}\nport {SINK}\n");
        let mut rules = format!(
            "{port}allow {INTERFACE} out proto udp dport {PORT}\nallow {SINK} in proto udp dport {PORT}\n"
        );
        for number in 0..others {
            let (high, low) = (number / 256, number % 256);
            writeln!(rules, "allow {INTERFACE} out to 11.{high}.{low}.0/24 proto tcp").unwrap();
        }
        let file = self.gallery.daemon.path("rules.txt");
        fs::write(&file, rules).unwrap();
        let far = &self.network.far;
        let mut side = self.gallery.side_in(far, WATCHER, "switch-port");
        side.args(["--program", &self.programs[0].to_string(), "apply"]).arg(file);
        Outcome::of(&mut side).success();
        for (program, direction) in self.programs.iter().zip(["ingress", "egress"]) {
            for port in [INTERFACE, SINK] {
                let netns = far.path().display().to_string();
                let place = format!("--direction {direction} --iface {port} --netns {netns} --priority 10");
                self.gallery.daemon.bpfman(&format!("attach {program} tcx {place}")).success();
            }
        }
    }

    fn detach(&self) {
        self.gallery.daemon.detach_all();
    }

    fn inside(&self, words: &str) {
        inside(&self.network.far, words);
    }
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let network = Network::new();
    let programs = gallery.load("switch-port", "--programs tcx:switch_port_out tcx:switch_port_in");
    let switch = Switch { gallery: &gallery, network: &network, programs };
    let drop_all = compile::object("drop");
    switch.inside(&format!(
        "ip link add br0 type bridge mcast_snooping 0; ip link add {SINK} type veth peer name drain; \
         ip link set drain up xdp obj {} sec xdp; for port in {INTERFACE} {SINK}; do ip link set $port master br0 up; done; ip link set br0 up; \
         bridge fdb replace 02:00:00:00:00:02 dev {SINK} master static",
        drop_all.display()
    ));
    let frame = |number: u16| {
        let (source, destination) = (NEAR_ADDRESS.parse().unwrap(), FAR_ADDRESS.parse().unwrap());
        Datagram { source, destination, ports: (20_000 + number, PORT) }.frame()
    };
    let frames: Vec<_> = (0..CONNECTIONS).map(frame).collect();
    let frames = RefCell::new(LiveFrames::new(&network, &frames));
    let sample = || frames.borrow_mut().sample(FRAMES);
    let warm = || {
        frames.borrow_mut().sample(u32::from(CONNECTIONS) * 4);
    };
    let calls = |yes: u8| format!("echo {yes} > /proc/sys/net/bridge/bridge-nf-call-iptables");
    switch.inside(&calls(0));
    let mut contenders = vec![Contender::new("bridge alone", sample).set_up(warm)];
    for (name, others) in [("switch-port, both ports", 0), ("switch-port, and 1,000 rules", 1000)] {
        let switch = &switch;
        contenders.push(
            Contender::new(name, sample)
                .set_up(move || {
                    switch.attach(others);
                    warm();
                })
                .tear_down(move || switch.detach()),
        );
    }
    contenders.push(
        Contender::new("iptables, stateful", sample)
            .set_up(|| {
                switch.inside(&format!(
                    "{}; iptables-legacy -P FORWARD DROP; \
                     iptables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                     iptables-legacy -A FORWARD -m physdev --physdev-in {INTERFACE} -s {NEAR_ADDRESS} -p udp --dport {PORT} -j ACCEPT",
                    calls(1)
                ));
                warm();
            })
            .tear_down(|| {
                switch.inside(&format!("{}; iptables-legacy -F FORWARD; iptables-legacy -P FORWARD ACCEPT", calls(0)));
            }),
    );
    report.measure("frames", "A forwarded frame of a connection that is there", "CPU ns", contenders);
}
