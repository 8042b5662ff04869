//! Networks in the table apply only to packets of pods, follow the node's routes, and never capture its own packets.

use bpfman_tests::network::Namespace;
use bpfman_tests::pods::{CLIENT, CLIENT_V6, Cluster, NODE, NODE_V6, UPLINK};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::wait;

use super::{FastPath, ping};

fn answers(from: &Namespace, to: &str) {
    wait::until("it answers", || ping(from, 1, &format!("-W 1 {to}")).code == 0);
}

#[test]
fn node_answers_at_its_own_addresses_in_known_networks() {
    if lacks_tcx("node_answers_at_its_own_addresses_in_known_networks") {
        return;
    }
    let path = FastPath::new();
    path.know_all();
    let Cluster { client, node, pods } = &path.cluster;
    let pod = &pods[0];
    for (from, to) in [
        (client, NODE),
        (client, NODE_V6),
        (&pod.namespace, NODE),
        // Set the source: the kernel uses another one until duplicate address detection has finished.
        (&pod.namespace, &format!("-I {} {NODE_V6}", pod.address_v6)),
        (node, pod.address.as_str()),
        (node, pod.address_v6.as_str()),
    ] {
        answers(from, to);
    }
    assert_eq!(path.packets("to_network"), 0, "it is in none of them");
    assert!(path.packets("not_forwarded") >= 4, "the pod's requests and answers");
    node.ip(&["address", "add", "10.88.0.253/24", "dev", UPLINK]);
    answers(&pod.namespace, "10.88.0.253");
    answers(client, "10.88.0.253");
    assert_eq!(path.packets("to_network"), 0);
}

#[test]
fn only_packets_of_pods_take_the_route_to_a_network() {
    if lacks_tcx("only_packets_of_pods_take_the_route_to_a_network") {
        return;
    }
    let path = FastPath::new();
    path.know_all();
    let Cluster { client, node, pods } = &path.cluster;
    let pod = &pods[0].namespace;
    for (address, network, next_hop) in
        [("10.77.0.1/32", "10.77.0.0/24", CLIENT), ("fd77::1/128", "fd77::/64", CLIENT_V6)]
    {
        client.ip(&["address", "add", address, "dev", "lo"]);
        node.ip(&["route", "add", network, "via", next_hop]);
        path.run(&format!("add {network} {UPLINK}")).success();
    }
    for (to, network) in [("10.77.0.1", "10.77.0.0/24"), ("fd77::1", "fd77::/64")] {
        answers(pod, to);
        let (forwarded, sent) = (path.cluster.forwarded_by_stack(), path.sent_to(network));
        ping(pod, 3, to).success();
        assert_eq!((path.cluster.forwarded_by_stack(), path.sent_to(network)), (forwarded, sent + 3));
    }
    path.run(&format!("add 10.66.0.0/24 {UPLINK}")).success();
    client.ip(&["route", "add", "10.66.0.0/24", "via", NODE]);
    for from in [client, pod] {
        let refused = ping(from, 1, "10.66.0.1");
        assert!(refused.stdout.contains("nreachable"), "{refused:?}");
    }
    assert_eq!(path.sent_to("10.66.0.0/24"), 0);
}

#[test]
fn a_prefix_of_one_family_has_no_address_of_the_other() {
    if lacks_tcx("a_prefix_of_one_family_has_no_address_of_the_other") {
        return;
    }
    let path = FastPath::new();
    path.know_pods();
    path.run(&format!("add ::/0 {UPLINK}")).success();
    let pod = &path.cluster.pods[0].namespace;
    let seen = || (path.cluster.forwarded_by_stack(), path.packets("to_network"));
    for (to, forwarded, to_network) in [(CLIENT, 3, 0), (CLIENT_V6, 0, 3)] {
        answers(pod, to);
        let before = seen();
        ping(pod, 3, to).success();
        assert_eq!(seen(), (before.0 + forwarded, before.1 + to_network), "{to}");
    }
}
