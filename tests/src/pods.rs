//! Node with pods, and a client outside of it: network namespaces, joined by veths and routes.

use crate::command::run;
use crate::network::Namespace;

pub const UPLINK: &str = "uplink";
pub const CLIENT: &str = "10.88.0.1";
pub const CLIENT_V6: &str = "fd88::1";
pub const NODE: &str = "10.88.0.254";
pub const NODE_V6: &str = "fd88::fe";
const GATEWAY: &str = "169.254.1.1";
const GATEWAY_V6: &str = "fe80::1";
const CLIENT_MAC: &str = "02:00:00:88:00:01";
const UPLINK_MAC: &str = "02:00:00:88:00:fe";

#[derive(Debug)]
pub struct Cluster {
    pub client: Namespace,
    pub node: Namespace,
    pub pods: Vec<Pod>,
}

#[derive(Debug)]
pub struct Pod {
    pub namespace: Namespace,
    pub address: String,
    pub address_v6: String,
    pub interface: String,
    pub mac: String,
}

impl Cluster {
    #[must_use]
    pub fn new(pods: u8) -> Self {
        let (client, node) = (Namespace::new("client"), Namespace::new("node"));
        veth((&node, UPLINK, UPLINK_MAC), (&client, "eth0", CLIENT_MAC));
        for (end, name, own, other) in
            [(&node, UPLINK, [NODE, NODE_V6], &client), (&client, "eth0", [CLIENT, CLIENT_V6], &node)]
        {
            end.ip(&["address", "add", &format!("{}/24", own[0]), "dev", name]);
            end.ip(&["address", "add", &format!("{}/64", own[1]), "dev", name, "nodad"]);
            let (far, mac) = if name == UPLINK { ("eth0", UPLINK_MAC) } else { (UPLINK, CLIENT_MAC) };
            own.iter().for_each(|address| knows(other, far, address, mac));
        }
        client.ip(&["route", "add", "10.99.0.0/16", "via", NODE]);
        client.ip(&["route", "add", "fd99::/64", "via", NODE_V6]);
        for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            run(&["nsenter", &format!("--net={}", node.path().display()), "sysctl", "-qw", setting]);
        }
        let mut cluster = Self { client, node, pods: Vec::new() };
        (0..pods).for_each(|_| cluster.add_pod());
        cluster
    }

    pub fn add_pod(&mut self) {
        let number = self.pods.len() + 1;
        let pod = Pod {
            namespace: Namespace::new(&format!("pod{number}")),
            address: format!("10.99.0.{number}"),
            address_v6: format!("fd99::{number}"),
            interface: format!("veth-pod{number}"),
            mac: format!("02:00:00:99:00:{number:02x}"),
        };
        let gateway_mac = format!("02:00:00:99:ff:{number:02x}");
        veth((&self.node, &pod.interface, &gateway_mac), (&pod.namespace, "eth0", &pod.mac));
        let own = [(&pod.address, "32", GATEWAY), (&pod.address_v6, "128", GATEWAY_V6)];
        for (address, length, gateway) in own {
            pod.namespace.ip(&["address", "add", &format!("{address}/{length}"), "dev", "eth0"]);
            knows(&pod.namespace, "eth0", gateway, &gateway_mac);
            pod.namespace.ip(&["route", "add", "default", "via", gateway, "dev", "eth0", "onlink"]);
            self.node.ip(&["route", "add", &format!("{address}/{length}"), "dev", &pod.interface]);
            knows(&self.node, &pod.interface, address, &pod.mac);
        }
        self.pods.push(pod);
    }

    #[must_use]
    pub fn forwarded_by_stack(&self) -> u64 {
        let read = |file: &str| {
            let path = format!("--net={}", self.node.path().display());
            run(&["nsenter", &path, "cat", &format!("/proc/net/{file}")])
        };
        let v4 = read("snmp");
        let mut lines = v4.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let at = names.split(' ').position(|name| name == "ForwDatagrams").unwrap();
        let v4: u64 = values.split(' ').nth(at).unwrap().parse().unwrap();
        let v6 = read("snmp6");
        let v6 = v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).unwrap();
        v4 + v6.trim().parse::<u64>().unwrap()
    }
}

type End<'a> = (&'a Namespace, &'a str, &'a str);

fn veth(one: End<'_>, other: End<'_>) {
    let name = |end: End<'_>| end.0.path().file_name().unwrap().to_string_lossy().into_owned();
    run(&[
        "ip",
        "link",
        "add",
        one.1,
        "netns",
        &name(one),
        "address",
        one.2,
        "type",
        "veth",
        "peer",
        "name",
        other.1,
        "netns",
        &name(other),
        "address",
        other.2,
    ]);
    for (namespace, interface, _) in [one, other] {
        namespace.ip(&["link", "set", interface, "up"]);
    }
}

fn knows(namespace: &Namespace, interface: &str, address: &str, mac: &str) {
    namespace.ip(&["neighbour", "replace", address, "lladdr", mac, "dev", interface, "nud", "permanent"]);
}
