use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

use bpfman_tests::network::Namespace;
use bpfman_tests::{Outcome, command};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER};

pub const INTERFACE: &str = "eth0";
pub const PORT: u16 = 4242;

pub struct Host {
    pub namespace: Namespace,
    pub number: u8,
}

impl Host {
    pub fn port(&self) -> String {
        format!("port{}", self.number)
    }

    pub fn mac(&self) -> String {
        format!("02:00:00:00:00:{:02x}", self.number)
    }

    pub fn address(&self) -> String {
        format!("10.9.0.{}", self.number)
    }

    pub fn address_v6(&self) -> String {
        format!("fd09::{}", self.number)
    }

    pub fn local_address(&self) -> String {
        format!("fe80::ff:fe00:{:x}", self.number)
    }

    pub fn give_ipv6(&self) {
        set_ipv6_disabled(&self.namespace, INTERFACE, false);
        let address = format!("{}/64", self.address_v6());
        self.namespace.ip(&["address", "add", &address, "dev", INTERFACE, "nodad"]);
    }

    pub fn udp(&self, address: &str, port: u16) -> UdpSocket {
        let address = address.to_owned();
        let socket = self.namespace.inside(move || UdpSocket::bind((address.as_str(), port)).unwrap());
        socket.set_nonblocking(true).unwrap();
        socket
    }

    pub fn echoes(&self) {
        let address = self.address();
        let listener = self.namespace.inside(move || TcpListener::bind((address.as_str(), PORT)).unwrap());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                std::thread::spawn(move || {
                    let mut back = connection.try_clone().unwrap();
                    let _ended = std::io::copy(&mut connection, &mut back);
                });
            }
        });
    }
}

/// Neighbour discovery of IPv6 would be counted as well.
fn without_ipv6(namespace: &Namespace) {
    for of in ["all", "default"] {
        set_ipv6_disabled(namespace, of, true);
    }
}

fn set_ipv6_disabled(namespace: &Namespace, of: &str, disabled: bool) {
    let words = format!("echo {} > /proc/sys/net/ipv6/conf/{of}/disable_ipv6", u8::from(disabled));
    Outcome::of(namespace.command("sh").args(["-c", &words])).success();
}

pub struct Bridge {
    pub gallery: Gallery,
    pub hosts: [Host; 3],
    pub namespace: Namespace,
    pub program: u64,
}

impl Bridge {
    pub fn new() -> Self {
        let gallery = Gallery::open();
        let namespace = Namespace::new("switch");
        without_ipv6(&namespace);
        namespace.ip(&["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        namespace.ip(&["link", "set", "br0", "up"]);
        let hosts = [1, 2, 3].map(|number| Host { namespace: Namespace::new("host"), number });
        for host in &hosts {
            without_ipv6(&host.namespace);
            let name =
                |namespace: &Namespace| namespace.path().file_name().unwrap().to_str().unwrap().to_owned();
            command::run(&[
                "ip",
                "link",
                "add",
                &host.port(),
                "netns",
                &name(&namespace),
                "type",
                "veth",
                "peer",
                "name",
                INTERFACE,
                "netns",
                &name(&host.namespace),
                "address",
                &host.mac(),
            ]);
            namespace.ip(&["link", "set", &host.port(), "master", "br0", "up"]);
            host.namespace.ip(&["address", "add", &format!("{}/24", host.address()), "dev", INTERFACE]);
            host.namespace.ip(&["link", "set", INTERFACE, "up"]);
        }
        let programs = gallery.load("switch-port", "--programs tcx:switch_port_out tcx:switch_port_in");
        for host in &hosts[..2] {
            for (program, direction) in programs.iter().zip(["ingress", "egress"]) {
                let (port, netns) = (host.port(), namespace.path().display().to_string());
                let place = format!("--direction {direction} --iface {port} --netns {netns} --priority 10");
                gallery.daemon.bpfman(&format!("attach {program} tcx {place}")).success();
            }
        }
        Self { gallery, hosts, namespace, program: programs[0] }
    }

    pub fn with_ipv6(self) -> Self {
        self.hosts.iter().for_each(Host::give_ipv6);
        self
    }

    pub fn with_rules(rules: &str) -> Self {
        let bridge = Self::new();
        bridge.apply(&bridge.ports_and(rules));
        bridge
    }

    pub fn ports_and(&self, rules: &str) -> String {
        let port = |host: &Host| {
            let (port, mac) = (host.port(), host.mac());
            let (address, v6, local) = (host.address(), host.address_v6(), host.local_address());
            format!("port {port} mac {mac} address {address} address {v6} address {local}\n")
        };
        format!("{}{}{rules}", port(&self.hosts[0]), port(&self.hosts[1]))
    }

    pub fn apply(&self, rules: &str) {
        self.feed("apply", rules).success();
    }

    fn side(&self) -> Command {
        let mut command = self.gallery.side_in(&self.namespace, WATCHER, "switch-port");
        command.args(["--program", &self.program.to_string()]);
        command
    }

    pub fn run(&self, line: &str) -> Outcome {
        Outcome::of(self.side().args(line.split_whitespace()))
    }

    pub fn feed(&self, verb: &str, rules: &str) -> Outcome {
        let file = self.gallery.daemon.path("rules");
        fs::write(&file, rules).unwrap();
        Outcome::of(self.side().args([verb, "-"]).stdin(File::open(file).unwrap()))
    }

    pub fn count(&self, host: usize, outcome: &str) -> u64 {
        let stats = self.run("stats --json").json();
        stats[self.hosts[host].port()][outcome]["packets"].as_u64().unwrap()
    }

    pub fn connections(&self) -> Vec<Value> {
        self.run("connections --json").json().as_array().unwrap().clone()
    }
}
