//! Registry host names, which the daemon resolves: static binaries cannot use the system's resolver libraries.

use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_cluster_tests::wait;
use serde_json::json;

use crate::node::RealNode;
use crate::pods::{application, in_pods};

/// Name in the node's hosts file, and name that only its name server knows.
const NAMES: [(&str, u16); 2] = [("by-hosts.bpfman.test", 5001), ("by-dns.bpfman.test", 5002)];
const ASKED: &[u8] = b"\x06by-dns\x06bpfman\x04test\0";

/// Adds the names to the node. Call this first: pods on the host network copy its files when they start.
pub fn announce(node: &RealNode) {
    let (name, _) = NAMES[0];
    let write = format!("echo 127.0.0.1 {name} >> /etc/hosts; echo nameserver 127.0.0.1 > /etc/resolv.conf");
    node.on_node(&["sh", "-c", &write]).success();
    let socket = node.cluster.inside(|| UdpSocket::bind("127.0.0.1:53").unwrap());
    std::thread::spawn(move || {
        let mut datagram = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut datagram) {
            if let Some(reply) = answer(&datagram[..length]) {
                let _sent = socket.send_to(&reply, client);
            }
        }
    });
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let (id, rest) = (question.get(..2)?, question.get(12..)?);
    let name = rest.iter().position(|byte| *byte == 0)? + 1;
    let asked = rest.get(..name + 4)?;
    let known = asked[..name].eq_ignore_ascii_case(ASKED);
    let address = known && asked[name..] == [0, 1, 0, 1];
    let mut reply = id.to_vec();
    reply.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(address), 0, 0, 0, 0]);
    reply.extend(asked);
    if address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}

pub async fn are_looked_up(node: &RealNode) {
    for (host, port) in NAMES {
        let came = Arc::new(AtomicBool::new(false));
        let listener = node.cluster.inside(move || TcpListener::bind(("127.0.0.1", port)).unwrap());
        let seen = Arc::clone(&came);
        std::thread::spawn(move || {
            while listener.accept().is_ok() {
                seen.store(true, Ordering::Relaxed);
            }
        });
        let name = host.split('.').next().unwrap();
        let mut pulled = application(name, "", &json!([in_pods("xdp_member", "XDP", "web")]));
        pulled["spec"]["byteCode"] = json!({ "image": { "url": format!("{host}:{port}/none:latest") } });
        node.cluster.apply_one(pulled).await;
        wait::until(&format!("the daemon comes to {host}"), async || came.load(Ordering::Relaxed)).await;
        node.delete_application(name);
    }
}
