//! Datagrams sent continuously to every address that the next pods may get.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bpfman_cluster_tests::{Cluster, wait};

pub const JUDGED: u16 = 4242;

pub struct Flood {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Flood {
    pub fn start(cluster: &Cluster) -> Self {
        let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&sent), Arc::clone(&stop));
        let socket = cluster.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // Addresses are assigned in ascending order. Unassigned ones have no route: sending fails at once.
                for host in 2..64 {
                    if socket.send_to(b"bpfman", (Ipv4Addr::new(10, 88, 0, host), JUDGED)).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // Leave CPU time for other work: the test needs that no datagram passes, not a high rate.
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self { sent, stop }
    }

    pub async fn more(&self, count: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + count;
        wait::until("datagrams are sent", async || self.sent.load(Ordering::Relaxed) >= goal).await;
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
