use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bpfman_tests::checksum::internet_checksum;
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::{Network, command, compile};
use tempfile::NamedTempFile;

const WINDOW: usize = 64;
const BATCH: u32 = 64;

pub struct LiveFrames {
    /// Counters of the receiving network: the file stays bound to the namespace in which it was opened.
    counters: File,
    sender: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _frames: NamedTempFile,
}

impl LiveFrames {
    /// Starts a sender. Frames may differ within [`WINDOW`] bytes, so that lookups of receivers differ, too.
    pub fn new(network: &Network, frames: &[Vec<u8>]) -> Self {
        let length = frames[0].len();
        let differs = |at: &usize| frames.iter().any(|frame| frame[*at] != frames[0][*at]);
        let first = (0..length).find(differs).unwrap_or(0).min(length - WINDOW);
        let last = (0..length).rfind(differs).unwrap_or(0);
        assert!(last < first + WINDOW, "the frames differ from byte {first} to byte {last}");
        let count = frames.len().next_power_of_two();
        let mut file = NamedTempFile::new().expect("a file can be made");
        for frame in frames.iter().cycle().take(count) {
            assert_eq!(frame.len(), length, "the frames are of one length");
            file.write_all(frame).expect("the file can be written");
        }
        let program = compile::executable("live_frames").display().to_string();
        assert!(
            network.far.command(&program).args(["gro", INTERFACE]).status().is_ok_and(|end| end.success())
        );
        let mut command: Command = network.near.command(&program);
        command.args(["send", INTERFACE]).arg(file.path()).args([length.to_string(), first.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut sender = command.spawn().expect("the sender runs");
        let orders = sender.stdin.take().expect("it was piped");
        let answers = BufReader::new(sender.stdout.take().expect("it was piped"));
        let counters =
            network.far.inside(|| File::open("/proc/thread-self/net/dev").expect("counters can be read"));
        Self { counters, sender, orders, answers, _frames: file }
    }

    pub fn sample(&mut self, frames: u32) -> f64 {
        let before = self.received();
        writeln!(self.orders, "{frames} {BATCH}").expect("the sender takes orders");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the sender answers");
        let nanoseconds: f64 = line.trim().parse().expect("the sender says a time");
        let received = self.received() - before;
        // If a receiver that is slower than the sender loses too many, the result is not its cost.
        assert!(received >= u64::from(frames) * 9 / 10, "{received} of {frames} frames came to the far end");
        nanoseconds / received as f64
    }

    pub fn received(&self) -> u64 {
        let (mut counters, mut text) = (&self.counters, String::new());
        counters.rewind().expect("counters begin anew");
        counters.read_to_string(&mut text).expect("counters can be read");
        let (_, counters) = text
            .lines()
            .filter_map(|line| line.trim_start().split_once(':'))
            .find(|(name, _)| *name == INTERFACE)
            .expect("the interface is there");
        counters
            .split_whitespace()
            .nth(1)
            .and_then(|packets| packets.parse().ok())
            .expect("a number of packets")
    }
}

impl Drop for LiveFrames {
    fn drop(&mut self) {
        let _ended = self.sender.kill();
        let _status = self.sender.wait();
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub source: std::net::Ipv4Addr,
    pub destination: std::net::Ipv4Addr,
    pub ports: (u16, u16),
}

impl Datagram {
    pub fn frame(self) -> Vec<u8> {
        let mut frame = vec![0_u8; 64];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        frame[16..18].copy_from_slice(&50_u16.to_be_bytes());
        frame[22..24].copy_from_slice(&[64, 17]);
        frame[26..30].copy_from_slice(&self.source.octets());
        frame[30..34].copy_from_slice(&self.destination.octets());
        frame[34..36].copy_from_slice(&self.ports.0.to_be_bytes());
        frame[36..38].copy_from_slice(&self.ports.1.to_be_bytes());
        frame[38..40].copy_from_slice(&30_u16.to_be_bytes());
        let sum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum);
        frame
    }
}

pub fn inside(namespace: &Namespace, words: &str) -> String {
    let path = format!("--net={}", namespace.path().display());
    command::run(&["nsenter", &path, "sh", "-c", words])
}
