//! Pod fast path, compared with a host process, routed pods, and pods at a bridge with iptables, for an outside client.

use std::net::{SocketAddr, TcpListener, TcpStream};

use bpfman_tests::local_connection::Ends;
use bpfman_tests::network::Namespace;
use bpfman_tests::pods::{Cluster, NODE, Pod, UPLINK};

use crate::contender::Contender;
use crate::conversation::{Taken, converse};
use crate::equipment::{Gallery, WATCHER};
use crate::live_frames::inside;
use crate::report::Report;

const SIZE: usize = 64;
const COUNT: u32 = 20_000;

struct Server<'a> {
    client: &'a Namespace,
    namespace: &'a Namespace,
    address: SocketAddr,
}

impl<'a> Server<'a> {
    fn new(cluster: &'a Cluster, namespace: &'a Namespace, address: &str) -> Self {
        Self { client: &cluster.client, namespace, address: format!("{address}:7000").parse().unwrap() }
    }

    fn of_pod(cluster: &'a Cluster) -> Self {
        let Pod { namespace, address, .. } = &cluster.pods[0];
        Self::new(cluster, namespace, address)
    }

    fn sample(&self) -> Taken {
        let address = self.address;
        let listener = self.namespace.inside(move || TcpListener::bind(address).unwrap());
        let client = self.client.inside(move || TcpStream::connect(address).unwrap());
        let Ends { client, server } = Ends::accepted(&listener, client);
        converse(client, server, SIZE, COUNT)
    }
}

fn bridge(cluster: &Cluster) {
    let Pod { address, interface, mac, .. } = &cluster.pods[0];
    inside(
        &cluster.node,
        &format!(
            "ip link add bridge0 type bridge && ip link set bridge0 up && ip link set {interface} master bridge0 && \
             ip route replace {address}/32 dev bridge0 && \
             ip neighbour replace {address} lladdr {mac} dev bridge0 nud permanent && \
             iptables-legacy -P FORWARD DROP && \
             iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT && \
             iptables-legacy -A FORWARD -o bridge0 -j ACCEPT && \
             iptables-legacy -A FORWARD -i bridge0 ! -o bridge0 -j ACCEPT && \
             iptables-legacy -t nat -A POSTROUTING -s {address}/32 ! -o bridge0 -j MASQUERADE"
        ),
    );
}

#[derive(Clone, Copy)]
enum Uplink {
    Tcx,
    Xdp,
}

fn fast_path(gallery: &Gallery, cluster: &Cluster, uplink: Uplink) {
    let Pod { namespace, address, interface, .. } = &cluster.pods[0];
    let (from_network, hook) = match uplink {
        Uplink::Tcx => ("tcx:from_network", "tcx --direction ingress"),
        Uplink::Xdp => ("xdp:from_network_xdp", "xdp"),
    };
    if matches!(uplink, Uplink::Xdp) {
        inside(namespace, "ethtool -K eth0 gro on");
        // A sender on a veth leaves checksums to the adapter, but the frame does not say so.
        inside(&cluster.client, "ethtool -K eth0 tx off");
    }
    let programs = gallery.load("pod-fastpath", &format!("--programs {from_network} tcx:from_pod"));
    let netns = cluster.node.path().display().to_string();
    for (program, hook, interface) in
        [(programs[0], hook, UPLINK), (programs[1], "tcx --direction ingress", interface)]
    {
        let at = format!("--iface {interface} --netns {netns} --priority 100");
        gallery.daemon.bpfman(&format!("attach {program} {hook} {at}")).success();
    }
    for line in [format!("add {address} {interface}"), format!("add 10.88.0.0/24 {UPLINK}")] {
        let side = gallery.side_as(WATCHER, "pod-fastpath");
        let mut side_inside = cluster.node.command(&side.get_program().to_string_lossy());
        side_inside.args(side.get_args()).args(["--program", &programs[0].to_string()]);
        side_inside.args(line.split_whitespace());
        side_inside.envs(side.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(side_inside.status().unwrap().success(), "{line}");
    }
}

pub fn run(report: &mut Report) {
    let gallery = Gallery::open();
    let [host, routed, bridged, fast, over_xdp] = [0, 1, 1, 1, 1].map(Cluster::new);
    bridge(&bridged);
    fast_path(&gallery, &fast, Uplink::Tcx);
    fast_path(&gallery, &over_xdp, Uplink::Xdp);
    let servers = [
        ("process of the host", Server::new(&host, &host.node, NODE)),
        ("pod-fastpath", Server::of_pod(&fast)),
        ("pod-fastpath, XDP", Server::of_pod(&over_xdp)),
        ("pod, routed by the stack", Server::of_pod(&routed)),
        ("pod, bridge and iptables", Server::of_pod(&bridged)),
    ];
    let all = |value: fn(Taken) -> f64| {
        servers.iter().map(|(name, server)| Contender::new(*name, move || value(server.sample()))).collect()
    };
    let rate = all(|taken| 1e3 / taken.time);
    report.measure(
        "rate",
        "Requests and answers, a client beyond the node (more is better)",
        "thousand/s",
        rate,
    );
    let cpu = all(|taken| taken.cpu);
    report.measure("cpu", "A request and its answer, client and server", "CPU us", cpu);
    assert!(host.forwarded_by_stack() == 0 && routed.forwarded_by_stack() > 0);
    for cluster in [&fast, &over_xdp] {
        assert_eq!(cluster.forwarded_by_stack(), 0, "the fast path was taken");
    }
}
