//! Facts of this machine, without a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use bpfman_apply::daemon::Daemon;
use bpfman_apply::facts::{Facts, NodeInterface};
use bpfman_apply::failure::Unreachable;

use crate::args::value::KeyValue;

const HOSTNAME: &str = "kubernetes.io/hostname";
const SYSTEM: &str = "kubernetes.io/os";
const ARCHITECTURE: &str = "kubernetes.io/arch";

pub async fn facts(daemon: &Daemon, labels: &[KeyValue]) -> Result<Facts, Unreachable> {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let addresses = primary_addresses();
    let interfaces = match bpfman_apply::ask::interfaces(daemon, &[]).await? {
        Some(interfaces) => interfaces,
        // An older daemon cannot list interfaces: assume that this process is in the daemon's network namespace.
        None => own_interfaces(&addresses),
    };
    let own = [(HOSTNAME, node.as_str()), (SYSTEM, "linux"), (ARCHITECTURE, architecture())];
    let mut all: BTreeMap<String, String> =
        own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    all.extend(labels.iter().map(|label| (label.key.clone(), label.value.clone())));
    Ok(Facts { node, labels: all, addresses, interfaces: Some(interfaces), ..Facts::default() })
}

/// Returns the architecture by Go's name, as in Kubernetes.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        _ => std::env::consts::ARCH,
    }
}

/// Returns the source addresses for distant hosts: a node reports them as internal. Sends no packet.
fn primary_addresses() -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849), which no machine has.
    let far = [
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
    ];
    let of = |(here, there): (IpAddr, IpAddr)| {
        let socket = UdpSocket::bind(SocketAddr::new(here, 0)).ok()?;
        socket.connect(SocketAddr::new(there, 9)).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    far.into_iter().filter_map(of).collect()
}

/// Returns the interfaces of this process's network namespace; that of the default route gets the primary addresses.
fn own_interfaces(primary: &[IpAddr]) -> Vec<NodeInterface> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let routes = read("/proc/self/net/route");
    // Columns: interface, destination, ...; the destination of the default route is 0.
    let default = routes.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let interface = words.next()?;
        (words.next()? == "00000000").then(|| interface.to_owned())
    });
    let devices = read("/proc/self/net/dev");
    let names = devices.lines().skip(2).filter_map(|line| line.split_once(':'));
    names
        .map(|(name, _)| name.trim().to_owned())
        .map(|name| NodeInterface {
            addresses: if default.as_ref() == Some(&name) { primary.to_vec() } else { Vec::new() },
            name,
            up: true,
            ..NodeInterface::default()
        })
        .collect()
}
