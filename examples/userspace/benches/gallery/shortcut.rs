//! Socket shortcut, compared with loopback TCP and a Unix socket: request and response, and one-way streams.

use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use bpfman_tests::control_group::Group;
use bpfman_tests::local_connection::Ends;
use bpfman_tests::network::Namespace;

use crate::contender::Contender;
use crate::conversation::{Stream, Taken, converse};
use crate::equipment::Gallery;
use crate::report::Report;

const REQUESTS: [usize; 3] = [64, 1_024, 16_384];
const COUNT: u32 = 20_000;
const WRITES: [usize; 3] = [1_024, 16_384, 131_072];
const STREAM: usize = 512 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Loopback,
    Shortcut,
    /// Sockets that the programs know, but that use TCP because of a later rule for their ports.
    Denied,
    Unix,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Loopback, "loopback TCP"),
    (Way::Shortcut, "sock-shortcut"),
    (Way::Denied, "in the map, over TCP"),
    (Way::Unix, "Unix socket"),
];

struct Place<'a> {
    gallery: &'a Gallery,
    group: &'a Group,
    namespace: &'a Namespace,
    program: u64,
}

impl Place<'_> {
    fn connect(&self, way: Way) -> [Box<dyn Stream>; 2] {
        let tcp = || {
            self.namespace.inside(|| {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                Ends::of(&listener, listener.local_addr().unwrap())
            })
        };
        let Ends { client, server } = match way {
            Way::Unix => {
                let (one, other) = UnixStream::pair().unwrap();
                return [Box::new(one), Box::new(other)];
            }
            Way::Loopback => tcp(),
            Way::Shortcut | Way::Denied => self.group.inside(tcp),
        };
        if way == Way::Denied {
            self.side(&format!("deny {}", server.local_addr().unwrap().port()));
        }
        [Box::new(client), Box::new(server)]
    }

    fn side(&self, line: &str) -> String {
        self.gallery.side("sock-shortcut", &format!("--program {} {line}", self.program)).success()
    }

    fn with<T>(&self, way: Way, least: u64, work: impl FnOnce([Box<dyn Stream>; 2]) -> T) -> T {
        self.side("allow all");
        let before = self.taken();
        let done = work(self.connect(way));
        let taken = self.taken() - before;
        assert!(if way == Way::Shortcut { taken >= least } else { taken == 0 }, "{taken} took the shortcut");
        done
    }

    fn taken(&self) -> u64 {
        let stats: serde_json::Value = serde_json::from_str(&self.side("stats --json")).unwrap();
        stats["shortcut"]["messages"].as_u64().unwrap()
    }

    fn request_response(&self, way: Way, size: usize) -> Taken {
        self.with(way, u64::from(COUNT), |[client, server]| converse(client, server, size, COUNT))
    }

    fn stream(&self, way: Way, size: usize) -> f64 {
        self.with(way, 1, |[mut sender, mut receiver]| {
            let reader = thread::spawn(move || {
                let mut bytes = vec![0; 256 << 10];
                let mut left = STREAM;
                while left > 0 {
                    match receiver.read(&mut bytes) {
                        Ok(0) => panic!("{left} bytes are missing"),
                        Ok(read) => left -= read,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            let bytes = vec![7; size];
            let start = Instant::now();
            for _ in 0..STREAM / size {
                sender.write_all(&bytes).unwrap();
            }
            reader.join().unwrap();
            STREAM as f64 / start.elapsed().as_secs_f64() / 1e6
        })
    }
}

pub fn run(report: &mut Report) {
    let (gallery, group, namespace) = (Gallery::open(), Group::new("bench"), Namespace::new("bench"));
    let programs = gallery.load("sock-shortcut", "--programs sk_msg:carry sock_ops:remember");
    gallery.daemon.bpfman(&format!("attach {} sockmap --map sockets", programs[0])).success();
    gallery.daemon.bpfman(&format!("attach {} cgroup --path {}", programs[1], group.path)).success();
    let place = &Place { gallery: &gallery, group: &group, namespace: &namespace, program: programs[0] };
    let all = |sizes: [usize; 3], sample: fn(&Place<'_>, Way, usize) -> f64| {
        let mut contenders = Vec::new();
        for size in sizes {
            for (way, name) in WAYS {
                contenders.push(Contender::new(name, move || sample(place, way, size)).at(size as u32));
            }
        }
        contenders
    };
    let time = all(REQUESTS, |place, way, size| place.request_response(way, size).time);
    report.measure("latency", "A request and its answer, by their bytes", "us", time);
    let cpu = all(REQUESTS, |place, way, size| place.request_response(way, size).cpu);
    report.measure("cpu", "A request and its answer, both ends, by their bytes", "CPU us", cpu);
    let rate = all(WRITES, |place, way, size| place.stream(way, size));
    report.measure("throughput", "A stream, by the bytes of a write (more is better)", "MB/s", rate);
}
