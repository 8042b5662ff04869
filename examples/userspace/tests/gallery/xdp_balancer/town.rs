use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use bpfman_tests::network::Namespace;
use bpfman_tests::wait::DEADLINE;
use bpfman_tests::{Outcome, command, compile};

use crate::equipment::{Gallery, WATCHER};

pub const BACKENDS: u8 = 3;
pub const PORT: u16 = 8443;
pub const V4: &str = "198.51.100.1";
pub const V6: &str = "2001:db8::1";
const INNER_MTU: &str = "1400";

pub struct Town {
    pub gallery: Gallery,
    pub program: u64,
    street: Namespace,
    balancer: Namespace,
    backends: Vec<Namespace>,
}

pub fn backend(number: u8, v6: bool) -> String {
    if v6 { format!("fd81:{number}::2") } else { format!("10.81.{number}.2") }
}

impl Town {
    pub fn new() -> Self {
        Self::with("")
    }

    pub fn by_routes() -> Self {
        let town = Self::with("--global by_routes=1");
        sysctl(&town.balancer, &["net.ipv4.ip_forward=1"]);
        town.balancer.ip(&["route", "add", "default", "via", "10.80.0.1"]);
        town
    }

    fn with(words: &str) -> Self {
        let gallery = Gallery::open();
        let [street, balancer] = ["street", "balancer"].map(Namespace::new);
        sysctl(&street, &["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        join(&street, "s0", &balancer, ["10.80.0.1/24", "fd80::1/64"], ["10.80.0.2/24", "fd80::2/64"]);
        // The balancer reads packets before checksums are filled in, because there is no real wire.
        ethtool(&street, "s0", &["tx", "off", "gro", "on"]);
        // A veth receives packets that XDP sends back at its peer only if it has an XDP program of its own.
        let pass = compile::object("pass").display().to_string();
        street.ip(&["link", "set", "s0", "xdp", "obj", &pass, "sec", "xdp"]);
        for (address, gateway) in [(V4, "10.80.0.2"), (V6, "fd80::2")] {
            street.ip(&["route", "add", address, "via", gateway, "mtu", INNER_MTU]);
        }
        let decapsulate = compile::object("decapsulate").display().to_string();
        let backends = (1..=BACKENDS)
            .map(|number| {
                let backend = Namespace::new(&format!("backend{number}"));
                let addresses =
                    |host: u8| [format!("10.81.{number}.{host}/24"), format!("fd81:{number}::{host}/64")];
                let [near, far] = [addresses(1), addresses(2)];
                let [near, far] = [&near, &far].map(|both| [both[0].as_str(), both[1].as_str()]);
                join(&street, &format!("s{number}"), &backend, near, far);
                ethtool(&street, &format!("s{number}"), &["gro", "on"]);
                backend.ip(&["route", "add", "default", "via", &format!("10.81.{number}.1")]);
                backend.ip(&["-6", "route", "add", "default", "via", &format!("fd81:{number}::1")]);
                for address in [format!("{V4}/32"), format!("{V6}/128")] {
                    backend.ip(&["address", "add", &address, "dev", "lo"]);
                }
                backend.ip(&["link", "set", "eth0", "xdp", "obj", &decapsulate, "sec", "xdp"]);
                backend
            })
            .collect();
        let program = gallery.load("xdp-balancer", &format!("--programs xdp:xdp_balancer {words}"))[0];
        let netns = balancer.path().display().to_string();
        let attach = format!("attach {program} xdp --iface eth0 --netns {netns} --priority 15");
        gallery.daemon.bpfman(&attach).success();
        Self { gallery, program, street, balancer, backends }
    }

    pub fn run(&self, line: &str) -> Outcome {
        let side = self.gallery.side_as(WATCHER, "xdp-balancer");
        let mut inside = self.street.command(side.get_program().to_str().unwrap());
        inside.args(side.get_args()).args(["--program", &self.program.to_string()]);
        for (name, value) in side.get_envs() {
            inside.env(name, value.unwrap());
        }
        Outcome::of(inside.args(line.split_whitespace()))
    }

    pub fn apply(&self, lines: &str) -> Outcome {
        let path = self.gallery.daemon.path("services");
        std::fs::write(&path, format!("source 10.80.0.2\nsource fd80::2\n{lines}")).unwrap();
        self.run(&format!("apply {}", path.display()))
    }

    pub fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.run(line).success()).unwrap()
    }

    pub fn serve(&self, number: u8) -> Server {
        let backend = &self.backends[usize::from(number) - 1];
        let listener = backend.inside(|| TcpListener::bind(("::", PORT)).unwrap());
        let waiting = listener.try_clone().unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = waiting.accept() {
                thread::spawn(move || answer(stream, number));
            }
        });
        Server { listener }
    }

    pub fn serve_datagrams(&self, number: u8) {
        let backend = &self.backends[usize::from(number) - 1];
        let socket = backend.inside(|| UdpSocket::bind((V4, PORT)).unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 100];
            while let Ok((_, client)) = socket.recv_from(&mut bytes) {
                let _gone = socket.send_to(&[number], client);
            }
        });
    }

    pub fn connect(&self, address: &str) -> Option<(u8, TcpStream)> {
        let place = SocketAddr::new(address.parse::<IpAddr>().unwrap(), PORT);
        let mut stream = self.street.inside(move || TcpStream::connect_timeout(&place, DEADLINE)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let number = ask(&mut stream)?;
        Some((number, stream))
    }

    pub fn knock(&self) {
        self.street.inside(|| {
            let socket = rustix::net::socket_with(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                rustix::net::SocketFlags::NONBLOCK,
                None,
            );
            let place = SocketAddr::new(V4.parse().unwrap(), PORT);
            let begun = rustix::net::connect(socket.unwrap(), &place);
            assert_eq!(begun, Err(rustix::io::Errno::INPROGRESS));
        });
    }

    pub fn datagram(&self) -> u8 {
        self.street.inside(|| {
            let socket = UdpSocket::bind(("10.80.0.1", 0)).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket.send_to(b"?", (V4, PORT)).unwrap();
            let mut number = [0];
            socket.recv(&mut number).unwrap();
            number[0]
        })
    }

    pub fn send_large(&self, length: usize) {
        self.street.ip(&["route", "replace", V4, "via", "10.80.0.2"]);
        self.street.inside(move || {
            let socket = UdpSocket::bind(("10.80.0.1", 0)).unwrap();
            assert_eq!(socket.send_to(&vec![0; length], (V4, PORT)).unwrap(), length);
        });
    }

    pub fn pings_the_balancer(&self) -> bool {
        let mut ping = self.street.command("ping");
        Outcome::of(ping.args(["-c", "1", "-W", "5", "10.80.0.2"])).code == 0
    }
}

pub fn ask(stream: &mut TcpStream) -> Option<u8> {
    stream.write_all(b"?").ok()?;
    let mut number = [0];
    stream.read_exact(&mut number).ok()?;
    Some(number[0])
}

fn answer(mut stream: TcpStream, number: u8) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[number]).is_ok() {}
}

pub struct Server {
    listener: TcpListener,
}

impl Drop for Server {
    fn drop(&mut self) {
        // After this, `accept` on the other descriptor returns an error.
        let _closed = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

fn join(street: &Namespace, interface: &str, other: &Namespace, near: [&str; 2], far: [&str; 2]) {
    let place = other.path().display().to_string();
    street.ip(&["link", "add", interface, "type", "veth", "peer", "name", "eth0", "netns", &place]);
    for (namespace, name, addresses) in [(street, interface, near), (other, "eth0", far)] {
        sysctl(namespace, &["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"]);
        for address in addresses {
            let words = ["address", "add", address, "dev", name];
            namespace.ip(&if address.contains(':') {
                [&words[..], &["nodad"]].concat()
            } else {
                words.to_vec()
            });
        }
        namespace.ip(&["link", "set", name, "up"]);
    }
}

fn sysctl(namespace: &Namespace, settings: &[&str]) {
    let path = format!("--net={}", namespace.path().display());
    command::run(&[&["nsenter", &path, "sysctl", "-qw"], settings].concat());
}

fn ethtool(namespace: &Namespace, interface: &str, settings: &[&str]) {
    let mut set = Command::new("nsenter");
    set.arg(format!("--net={}", namespace.path().display()));
    Outcome::of(set.args(["ethtool", "-K", interface]).args(settings)).success();
}
