//! Fast path with XDP at the node's interface: packets that it does not redirect go through the stack.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use bpfman_tests::command::run;
use bpfman_tests::local_connection::{pattern, read};
use bpfman_tests::network::Namespace;
use bpfman_tests::pods::{CLIENT, Cluster, NODE, Pod, UPLINK};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::wait;

use super::{FastPath, OwnEnd, ping};
use crate::equipment::Gallery;

const PROGRAMS: &str = "--programs xdp:from_network_xdp tcx:from_pod tracepoint:refused tracepoint:lost";

fn over_xdp() -> (FastPath, u64) {
    let path = without_gro();
    path.cluster.pods.iter().for_each(|pod| set(&pod.namespace, "gro", "on"));
    let firewall = path.gallery.load("xdp-firewall", "--programs xdp:xdp_firewall")[0];
    let netns = path.cluster.node.path().display().to_string();
    let at = format!("--iface {UPLINK} --netns {netns} --priority 10");
    path.gallery.daemon.bpfman(&format!("attach {firewall} xdp {at}")).success();
    (path, firewall)
}

fn without_gro() -> FastPath {
    let (gallery, cluster) = (Gallery::open(), Cluster::new(2));
    let programs = gallery.load("pod-fastpath", PROGRAMS);
    let [from_network, from_pod, refused, lost] = programs[..] else { panic!("{programs:?}") };
    // A sender on a veth leaves checksums to the adapter, but a redirected frame does not say so.
    set(&cluster.client, "tx", "off");
    for (program, point) in [(refused, "xdp/xdp_redirect_err"), (lost, "xdp/xdp_devmap_xmit")] {
        gallery.daemon.bpfman(&format!("attach {program} tracepoint --tracepoint {point}")).success();
    }
    let path = FastPath { gallery, cluster, program: from_network };
    path.attach(from_network, "xdp", UPLINK);
    path.attach_to_pods(from_pod);
    path
}

fn set(namespace: &Namespace, feature: &str, value: &str) {
    let path = format!("--net={}", namespace.path().display());
    run(&["nsenter", &path, "ethtool", "-K", "eth0", feature, value]);
}

fn both(cluster: &Cluster) -> (&Pod, &Pod) {
    (&cluster.pods[0], &cluster.pods[1])
}

fn wait_for_answers(path: &FastPath) {
    let Cluster { client, pods, .. } = &path.cluster;
    for address in pods.iter().flat_map(|pod| [&pod.address, &pod.address_v6]) {
        wait::until("neighbours know each other", || ping(client, 1, &format!("-W 1 {address}")).code == 0);
    }
}

#[test]
fn frames_for_known_pods_pass_the_stack_by_behind_a_firewall() {
    if lacks_tcx("frames_for_known_pods_pass_the_stack_by_behind_a_firewall") {
        return;
    }
    let (path, firewall) = over_xdp();
    let (one, two) = both(&path.cluster);
    let client = &path.cluster.client;
    let before = path.cluster.forwarded_by_stack();
    ping(client, 3, &one.address).success();
    assert_eq!(path.cluster.forwarded_by_stack(), before + 6, "what is not known is the stack's");
    wait_for_answers(&path);
    assert_eq!(path.packets("to_pod"), 0);
    path.know_all();
    let before = path.cluster.forwarded_by_stack();
    for to in [&one.address, &one.address_v6, &two.address, &two.address_v6] {
        let answered = ping(client, 5, to).success();
        assert_eq!(answered.matches("ttl=63").count(), 5, "{answered}");
    }
    assert_eq!((path.packets("to_pod"), path.packets("to_network")), (4 * 5, 4 * 5));
    assert_eq!(path.sent_to(&format!("{}/32", two.address)), 5);
    let address = one.address.clone();
    let listener = one.namespace.inside(|| TcpListener::bind("0.0.0.0:7000").unwrap());
    let sender = client.inside(move || {
        thread::spawn(move || {
            let mut stream = TcpStream::connect((address.as_str(), 7000)).unwrap();
            stream.write_all(&pattern(4 << 20)).unwrap();
        })
    });
    let mut receiver = listener.accept().unwrap().0;
    assert!(read(&mut receiver, 5 << 20) == pattern(4 << 20));
    sender.join().unwrap();
    assert_eq!(path.cluster.forwarded_by_stack(), before);
    let refused = ["foreign_source", "expired", "too_large", "takes_no_frames"];
    assert_eq!(refused.map(|outcome| path.packets(outcome)), [0; 4]);

    let sent = path.packets("to_pod");
    path.gallery.side("xdp-firewall", &format!("--program {firewall} add 10.88.0.0/24")).success();
    assert_ne!(ping(client, 1, &format!("-W 1 {}", one.address)).code, 0, "the firewall comes first");
    ping(client, 1, &one.address_v6).success();
    assert_eq!(path.packets("to_pod"), sent + 1);
    path.gallery.side("xdp-firewall", &format!("--program {firewall} remove 10.88.0.0/24")).success();

    path.run(&format!("remove {}", one.address)).success();
    ping(client, 1, &one.address).success();
    assert_eq!(path.cluster.forwarded_by_stack(), before + 2, "both directions are the stack's again");
}

#[test]
fn a_pod_whose_end_takes_no_frames_is_the_stacks() {
    if lacks_tcx("a_pod_whose_end_takes_no_frames_is_the_stacks") {
        return;
    }
    let path = without_gro();
    let (one, two) = both(&path.cluster);
    let client = &path.cluster.client;
    path.run("sync").success();
    path.run(&format!("add 10.88.0.0/24 {UPLINK}")).success();
    let asked = |code: i32| {
        let answer = ping(client, 1, &format!("-W {} {}", if code == 0 { 60 } else { 1 }, one.address));
        assert_eq!(answer.code, code, "{answer:?}");
    };
    let counted = || ["to_pod", "takes_no_frames", "dropped"].map(|outcome| path.packets(outcome));
    let takes = || {
        let rows = path.json("list --json");
        let rows = rows.as_array().unwrap().iter();
        let v4 = rows.filter(|row| row["mac"].is_string() && row["prefix"].as_str().unwrap().contains('.'));
        v4.map(|row| row["takes_frames"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(path.run("list").stderr, "", "no frame came for them yet");
    asked(0);
    assert_eq!((counted(), takes()), ([0, 1, 0], vec![false, false]));
    let listed = path.run("list");
    assert!(
        listed.stderr.contains(&format!("{}: the pod's end takes no frames", one.interface)),
        "{listed:?}"
    );

    set(&one.namespace, "gro", "on");
    asked(0);
    assert_eq!(counted(), [0, 2, 0], "it has to be told");
    path.run("sync").success();
    asked(0);
    assert_eq!((counted(), takes()), ([1, 2, 0], vec![true, false]));

    set(&one.namespace, "gro", "off");
    asked(1);
    assert_eq!((counted(), takes()), ([2, 2, 1], vec![false, false]));
    path.run("sync").success();
    asked(0);
    assert_eq!(counted(), [2, 3, 1]);

    let mac = format!("add {} {} --mac {}", one.address, one.interface, one.mac);
    path.run(&format!("{mac} --takes-frames")).success();
    path.run("sync").success();
    asked(1);
    assert_eq!((counted(), takes()), ([3, 3, 2], vec![true, false]));
    path.run(&mac).success();
    asked(0);
    assert_eq!((counted(), takes()), ([3, 4, 2], vec![false, false]));
    path.run("sync --takes-frames").success();
    assert_eq!(takes(), [true, true]);
    ping(&two.namespace, 1, &one.address).success();
    assert_eq!(counted(), [5, 4, 2], "among pods it is tcx that brings them");
}

#[test]
fn frames_that_need_more_than_forwarding_are_the_stacks() {
    if lacks_tcx("frames_that_need_more_than_forwarding_are_the_stacks") {
        return;
    }
    let (path, _) = over_xdp();
    path.know_all();
    let Cluster { client, node, .. } = &path.cluster;
    let (one, two) = both(&path.cluster);
    path.assert_senders_learn_the_mtu(one);

    client.ip(&["address", "add", &format!("{}/32", two.address), "dev", "lo"]);
    let (from, to) = (two.address.clone(), one.address.clone());
    client.inside(move || {
        UdpSocket::bind((from.as_str(), 0)).unwrap().send_to(b"not me", (to.as_str(), 9)).unwrap();
    });
    wait::until("it was seen to be a pod's", || path.packets("foreign_source") == 1);
    client.ip(&["address", "delete", &format!("{}/32", two.address), "dev", "lo"]);

    let (other, sent) = (path.packets("other"), path.packets("to_pod"));
    client.ip(&["neighbour", "replace", "10.88.0.7", "lladdr", "02:00:00:88:00:07", "dev", "eth0"]);
    client.ip(&["route", "add", &format!("{}/32", one.address), "via", "10.88.0.7"]);
    let to = one.address.clone();
    client.inside(move || {
        UdpSocket::bind((CLIENT, 0)).unwrap().send_to(b"not here", (to.as_str(), 9)).unwrap();
    });
    wait::until("it was seen not to be the node's", || path.packets("other") > other);
    assert_eq!(path.packets("to_pod"), sent);
    client.ip(&["route", "delete", &format!("{}/32", one.address)]);

    node.ip(&["link", "set", UPLINK, "address", "02:00:00:88:00:aa"]);
    client.ip(&["neighbour", "replace", NODE, "lladdr", "02:00:00:88:00:aa", "dev", "eth0"]);
    ping(client, 1, &one.address).success();
    assert_eq!(path.packets("to_pod"), sent, "the stack's until somebody has told");
    path.run("sync").success();
    ping(client, 1, &one.address).success();
    assert_eq!(path.packets("to_pod"), sent + 1);

    node.ip(&["link", "delete", &two.interface]);
    let gone = ping(client, 1, &two.address);
    assert!(gone.stdout.contains("nreachable"), "the stack says so: {gone:?}");
    assert_eq!(path.packets("too_large"), 2);
    path.run("sync").success();
}

/// The manifests are applied to a veth of the test, because the machine's own interfaces are in use.
#[test]
fn xdp_manifest_replaces_tcx_manifest() {
    if lacks_tcx("xdp_manifest_replaces_tcx_manifest") {
        return;
    }
    let (gallery, end) = (Gallery::open(), OwnEnd::new());
    for (file, programs) in [
        ("app.yaml", ["from_network", "from_pod"].as_slice()),
        ("app-xdp.yaml", &["from_network_xdp", "from_pod", "refused", "lost"]),
    ] {
        let manifest = end.manifest(&gallery, file);
        gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
        gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
        let listed = gallery.daemon.bpfman("list programs -o json").json();
        let listed = listed["programs"].as_array().unwrap();
        assert_eq!(listed.len(), programs.len(), "{listed:?}");
        for program in programs {
            gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
        }
    }
    gallery.side("pod-fastpath", "--app pod-fastpath list").success();
}
