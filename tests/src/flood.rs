//! Stream of datagrams in which every member of a chain writes its number: `programs/flood.bpf.c`.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::Network;
use crate::network::{FAR_ADDRESS, NEAR_ADDRESS};
use crate::wait::{self, DEADLINE};

const PORT: u16 = 4242;
/// Size of a datagram: its number, the number of stamps, and space for 32 of them.
const BYTES: usize = 8 + 8 + 32;
/// Maximum number of datagrams in flight, small enough that no queue overflows: a missing datagram was lost by a chain.
const ON_THEIR_WAY: u64 = 128;

/// Numbers of the members that a datagram passed, in order.
pub type Trail = Vec<u8>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub trail: Trail,
    pub datagrams: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    runs: Mutex<Vec<Run>>,
}

pub struct Flood {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    #[must_use]
    pub fn start(network: &Network) -> Self {
        let sender = network.near.inside(|| UdpSocket::bind((NEAR_ADDRESS, 0)).unwrap());
        let receiver = network.far.inside(|| UdpSocket::bind((FAR_ADDRESS, PORT)).unwrap());
        // The kernel charges more than a page for each datagram that XDP processed.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 64 << 20).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let shared = Arc::new(Shared::default());
        let threads = vec![
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || send(&sender, &shared)
            }),
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || receive(&receiver, &shared)
            }),
        ];
        Self { shared, threads }
    }

    pub fn meets(&self, trail: &[u8]) {
        wait::until(&format!("a datagram met the members {trail:?}"), || {
            assert!(self.threads.iter().all(|thread| !thread.is_finished()), "the flood ended by itself");
            self.shared.runs.lock().unwrap().last().is_some_and(|run| run.trail == trail)
        });
    }

    /// Ends the stream, and returns the members that all datagrams passed. Panics if some were lost or reordered.
    #[must_use]
    pub fn end(mut self) -> Vec<Run> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the flood goes well");
        }
        std::mem::take(&mut *self.shared.runs.lock().unwrap())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, shared: &Shared) {
    // Send from one processor, so that they stay in order.
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).unwrap();
    let mut datagram = [0; BYTES];
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        if number - shared.received.load(Ordering::Relaxed) >= ON_THEIR_WAY {
            std::thread::yield_now();
            continue;
        }
        datagram[..8].copy_from_slice(&number.to_ne_bytes());
        socket.send_to(&datagram, (FAR_ADDRESS, PORT)).unwrap();
        number += 1;
        shared.sent.store(number, Ordering::Release);
    }
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    let mut datagram = [0; BYTES];
    let mut expected = 0_u64;
    let mut waited_since = Instant::now();
    loop {
        match socket.recv(&mut datagram) {
            Ok(length) => assert_eq!(length, BYTES),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                let sent = shared.sent.load(Ordering::Acquire);
                if sent == expected && shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                assert!(
                    waited_since.elapsed() < DEADLINE,
                    "{sent} datagrams were sent, {expected} arrived: the others are lost"
                );
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        waited_since = Instant::now();
        let number = u64::from_ne_bytes(datagram[..8].try_into().unwrap());
        assert_eq!(number, expected, "datagrams from {expected} on were lost or overtaken");
        expected += 1;
        shared.received.store(expected, Ordering::Relaxed);
        let stamps = usize::try_from(u64::from_ne_bytes(datagram[8..16].try_into().unwrap())).unwrap();
        note(&mut shared.runs.lock().unwrap(), &datagram[16..16 + stamps]);
    }
}

fn note(runs: &mut Vec<Run>, trail: &[u8]) {
    match runs.last_mut() {
        Some(run) if run.trail == trail => run.datagrams += 1,
        _ => runs.push(Run { trail: trail.to_vec(), datagrams: 1 }),
    }
}
