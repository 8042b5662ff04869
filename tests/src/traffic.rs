//! Datagrams from one end of a [`Network`] to the other.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use crate::Network;
use crate::network::{FAR_ADDRESS, NEAR_ADDRESS};
use crate::wait::DEADLINE;

const JUDGED: u16 = 4242;
const MARKER: u16 = 4243;

#[derive(Debug)]
pub struct Traffic {
    sender: UdpSocket,
    judged: UdpSocket,
    marker: UdpSocket,
}

impl Traffic {
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let bind = |address: &'static str, port| move || UdpSocket::bind((address, port)).unwrap();
        let sender = network.near.inside(bind(NEAR_ADDRESS, 0));
        let judged = network.far.inside(bind(FAR_ADDRESS, JUDGED));
        let marker = network.far.inside(bind(FAR_ADDRESS, MARKER));
        judged.set_nonblocking(true).unwrap();
        marker.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { sender, judged, marker }
    }

    /// Returns how many datagrams arrived. One processor sends them all, so that the marker arrives last.
    #[must_use]
    pub fn send(&self, count: usize) -> usize {
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(None, &here).unwrap();
        for _ in 0..count {
            send(&self.sender, JUDGED);
        }
        send(&self.sender, MARKER);
        let everywhere = (0..CpuSet::MAX_CPU).fold(CpuSet::new(), |mut set, cpu| {
            set.set(cpu);
            set
        });
        sched_setaffinity(None, &everywhere).unwrap();
        self.marker.recv(&mut [0; 64]).expect("the marker comes through");
        self.received()
    }

    #[must_use]
    pub fn received(&self) -> usize {
        let mut count = 0;
        loop {
            match self.judged.recv(&mut [0; 64]) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return count,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[must_use]
    pub fn stream(&self) -> Stream {
        let sender = self.sender.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                send(&sender, JUDGED);
                count += 1;
                std::thread::yield_now();
            }
            count
        });
        Stream { stop, thread: Some(thread) }
    }
}

fn send(sender: &UdpSocket, port: u16) {
    match sender.send_to(b"bpfman", (FAR_ADDRESS, port)) {
        Ok(_) => {}
        // A program at egress dropped the datagram.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {}
        Err(error) => panic!("{error}"),
    }
}

#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Stream {
    #[must_use]
    pub fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(0, |thread| thread.join().unwrap())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
