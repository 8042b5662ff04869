//! Process that resolves names and sends packets on request. Its cgroup or its interface is guarded.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bpfman_tests::control_group::Group;
use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, Namespace};
use bpfman_tests::{Network, Outcome, compile};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER};
use crate::name_server::{Data, NameServer, Record};

pub const SHOP: &str = "10.77.0.10";
pub const CDN: &str = "10.77.0.11";
pub const EVIL: &str = "10.77.0.12";
pub const SHOP_V6: &str = "fd77::10";
pub const PORT: u16 = 4242;
pub const RULES: &str = "resolver 10.77.0.2\nallow name shop.example.com proto udp dport 4242\n\
                     allow name *.img.example.com proto tcp dport 4242\nask *.local\n\
                     allow dst 192.0.2.0/24 proto udp\n";

fn table() -> Vec<Record> {
    let address = |text: &str| Data::Address(text.parse().unwrap());
    vec![
        ("shop.example.com", 60, address(SHOP)),
        ("shop.example.com", 60, address(SHOP_V6)),
        ("a.img.example.com", 60, Data::Alias("cdn.example.net")),
        ("cdn.example.net", 600, Data::Alias("edge.cdn.example.net")),
        ("edge.cdn.example.net", 600, address(CDN)),
        ("short.img.example.com", 1, address(CDN)),
        ("evil.example", 60, address(EVIL)),
        ("db.local", 60, address(EVIL)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Group,
    Interface,
    /// The host's end of a pod's veth: sent packets are ingress there.
    OtherEnd,
}

pub struct Client {
    process: Child,
    pub orders: ChildStdin,
    pub answers: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub fn new(guard: &Gallery, network: &Network, group: &Group) -> Self {
        let resolvers = guard.daemon.path("resolv.conf");
        fs::write(&resolvers, format!("nameserver {FAR_ADDRESS}\noptions attempts:1\n")).unwrap();
        let script = compile::source("group_client.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(&group.folder).arg(network.near.path()).arg(resolvers);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(answers.next().unwrap().unwrap(), "ready");
        Self { process, orders, answers }
    }

    pub fn does(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap();
        self.answers.next().unwrap_or_else(|| panic!("the client ended at {order}")).unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

fn attach(place: Place, gallery: &Gallery, network: &Network, group: &Group) -> Vec<u64> {
    let (hook, functions) = match place {
        Place::Group => ("cgroup_skb", ["egress_guard_out", "egress_guard_in"]),
        Place::Interface => ("tcx", ["egress_guard_tc_out", "egress_guard_tc_in"]),
        Place::OtherEnd => ("tc", ["egress_guard_tc_out", "egress_guard_tc_in"]),
    };
    let words: String = functions.iter().map(|function| format!(" {hook}:{function}")).collect();
    let programs = gallery.load("egress-guard", &format!("--programs{words}"));
    let at = |direction: &str, end: &Namespace| {
        format!("{hook} -d {direction} -i {INTERFACE} -n {} --priority 50", end.path().display())
    };
    let places = match place {
        Place::Group => [0; 2].map(|_| format!("cgroup --path {}", group.path)),
        Place::Interface => ["egress", "ingress"].map(|direction| at(direction, &network.near)),
        Place::OtherEnd => ["ingress", "egress"].map(|direction| at(direction, &network.far)),
    };
    for (program, place) in programs.iter().zip(places) {
        gallery.daemon.bpfman(&format!("attach {program} {place}")).success();
    }
    programs
}

pub struct Guarded {
    pub client: Client,
    pub group: Group,
    pub server: NameServer,
    receiver: UdpSocket,
    pub network: Network,
    pub gallery: Gallery,
    pub program: u64,
}

impl Guarded {
    pub fn new(test: &str) -> Self {
        Self::at(Place::Group, test)
    }

    pub fn at(place: Place, test: &str) -> Self {
        let gallery = Gallery::open();
        let network = Network::new();
        for (end, address) in [(&network.near, "fd77::1"), (&network.far, "fd77::2"), (&network.far, SHOP_V6)]
        {
            end.ip(&["address", "add", &format!("{address}/64"), "dev", INTERFACE, "nodad"]);
        }
        for address in [SHOP, CDN, EVIL, "192.0.2.7"] {
            network.far.ip(&["address", "add", &format!("{address}/32"), "dev", INTERFACE]);
        }
        network.near.ip(&["route", "add", "default", "via", FAR_ADDRESS]);
        let server = NameServer::start(&network.far, FAR_ADDRESS, table());
        let receiver = network.far.inside(|| UdpSocket::bind(("::", PORT)).unwrap());
        receiver.set_nonblocking(true).unwrap();
        let listener = network.far.inside(|| TcpListener::bind(("::", PORT)).unwrap());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                std::thread::spawn(move || {
                    let mut back = connection.try_clone().unwrap();
                    let _ended = std::io::copy(&mut connection, &mut back);
                });
            }
        });
        let group = Group::new(test);
        let programs = attach(place, &gallery, &network, &group);
        let client = Client::new(&gallery, &network, &group);
        Self { client, group, server, receiver, network, gallery, program: programs[0] }
    }

    pub fn enforcing(test: &str, rules: &str) -> Self {
        let guarded = Self::new(test);
        guarded.with_rules("apply", rules).success();
        guarded.run("mode enforce").success();
        guarded
    }

    pub fn run(&self, line: &str) -> Outcome {
        self.gallery.side("egress-guard", &format!("--program {} {line}", self.program))
    }

    pub fn with_rules(&self, verb: &str, rules: &str) -> Outcome {
        let file = self.gallery.daemon.path("rules");
        fs::write(&file, rules).unwrap();
        let mut side = self.gallery.side_as(WATCHER, "egress-guard");
        let side = side.args(["--program", &self.program.to_string(), verb, "-"]);
        Outcome::of(side.stdin(File::open(file).unwrap()))
    }

    pub fn does(&mut self, order: &str) -> String {
        self.client.does(order)
    }

    pub fn udp(&mut self, address: &str) -> String {
        self.does(&format!("udp {address} {PORT}"))
    }

    pub fn tcp(&mut self, address: &str) -> String {
        self.does(&format!("tcp {address} {PORT}"))
    }

    pub fn arrived(&self) -> usize {
        std::iter::from_fn(|| self.receiver.recv(&mut [0; 64]).ok()).count()
    }

    pub fn count(&self, what: &str) -> u64 {
        self.run("stats --json").json()[what].as_u64().unwrap()
    }

    pub fn learned(&self) -> Vec<(String, String)> {
        let learned = self.run("learned --json").json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        learned.as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["address"]))).collect()
    }

    pub fn follow(&self) -> Child {
        let mut side = self.gallery.side_as(WATCHER, "egress-guard");
        side.args(["--program", &self.program.to_string(), "follow"]);
        side.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}
