use std::process::Command;
use std::time::{Duration, Instant};

use crate::kernel::{self, Link, Map, ProgramKind, interface};
use crate::objects::{self, Corpus};

pub const BYTES: usize = 64;

pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

pub fn lacks_tcx() -> bool {
    let lacks = kernel::kernel_version() < (6, 6);
    if lacks {
        println!("skipped: Linux before 6.6 has no tcx");
    }
    lacks
}

/// Frames leave by `in0` and meet chains at `in1`; `out0` and `out1` are for redirected frames.
pub fn interfaces() {
    kernel::own_network_namespace().unwrap();
    // On one CPU, frames keep their order and arrive soon after the call that sends them.
    kernel::stay_on_one_cpu().unwrap();
    // Without IPv6 an interface sends nothing on its own.
    for which in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
    }
    for pair in ["in", "out"] {
        ip(&format!("link add {pair}0 type veth peer name {pair}1"));
        ip(&format!("link set {pair}0 up"));
        ip(&format!("link set {pair}1 up"));
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(150);
    while !holds() {
        assert!(Instant::now() < deadline, "after 150 s still not true: {what}");
        std::thread::yield_now();
    }
}

pub struct Watchers {
    corpus: Corpus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub length: u32,
    pub fields: Vec<u32>,
    pub bytes: Vec<u8>,
}

/// Packets with equal stamps, with stamps of two generations, and with none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    pub whole: u64,
    pub mixed: u64,
    pub unfiltered: u64,
}

impl Watchers {
    pub fn new() -> Self {
        let mut corpus = Corpus::default();
        corpus.add(ProgramKind::Tcx, "live.c", &objects::compile("live.c"), |_| true);
        Self { corpus }
    }

    pub fn stand(&self, name: &str, interface: u32) -> Link {
        kernel::attach_tcx_ingress(&self.corpus.named(name).alone, interface).unwrap()
    }

    fn value(&self, map: &str) -> Vec<u8> {
        let maps = &self.corpus.maps.alone;
        maps.iter().find(|candidate| candidate.name == map).unwrap().contents()[0].1.clone()
    }

    fn numbers(&self, map: &str) -> Vec<u64> {
        self.value(map).as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect()
    }

    pub fn arrived(&self) -> u64 {
        self.numbers("arrived")[0]
    }

    pub fn witnessed(&self) -> (u64, Seen) {
        let value = self.value("witnessed");
        let word = |at: usize| u32::from_ne_bytes(value[at..at + 4].try_into().unwrap());
        let length = word(8);
        let kept = BYTES.min(length as usize);
        let seen = Seen {
            length,
            fields: (12..48).step_by(4).map(word).collect(),
            bytes: value[48..48 + kept].to_vec(),
        };
        (u64::from_ne_bytes(value[..8].try_into().unwrap()), seen)
    }

    pub fn judged(&self) -> Judged {
        let numbers = self.numbers("judgement");
        Judged { whole: numbers[0], mixed: numbers[1], unfiltered: numbers[2] }
    }

    pub fn broken(&self) -> bool {
        let judged = self.judged();
        judged.mixed + judged.unfiltered > 0
    }
}

pub fn sent(name: &str) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:"))).unwrap();
    line.split_whitespace().nth(9).unwrap().parse().unwrap()
}

pub fn send(frame: &[u8]) {
    kernel::send_frame(interface("in0"), frame).unwrap();
}

pub fn only_number(map: &Map) -> u64 {
    u64::from_ne_bytes(map.contents()[0].1.clone().try_into().unwrap())
}
