mod networks;
mod xdp;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command};
use std::thread;

use bpfman_tests::command::run;
use bpfman_tests::local_connection::{pattern, read};
use bpfman_tests::network::Namespace;
use bpfman_tests::pods::{CLIENT, CLIENT_V6, Cluster, NODE, Pod, UPLINK};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::{Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

struct FastPath {
    gallery: Gallery,
    cluster: Cluster,
    program: u64,
}

impl FastPath {
    fn new() -> Self {
        let (gallery, cluster) = (Gallery::open(), Cluster::new(2));
        let programs = gallery.load("pod-fastpath", "--programs tcx:from_network tcx:from_pod");
        let [from_network, from_pod] = programs[..] else { panic!("two programs: {programs:?}") };
        let path = Self { gallery, cluster, program: from_network };
        path.attach(from_network, "tcx --direction ingress", UPLINK);
        path.attach_to_pods(from_pod);
        path
    }

    fn attach(&self, program: u64, hook: &str, interface: &str) {
        let netns = self.cluster.node.path().display().to_string();
        let at = format!("--iface {interface} --netns {netns} --priority 100");
        self.gallery.daemon.bpfman(&format!("attach {program} {hook} {at}")).success();
    }

    fn attach_to_pods(&self, program: u64) {
        for pod in &self.cluster.pods {
            self.attach(program, "tcx --direction ingress", &pod.interface);
        }
    }

    fn run(&self, line: &str) -> Outcome {
        self.run_of(&format!("--program {} {line}", self.program))
    }

    fn run_of(&self, line: &str) -> Outcome {
        run_in(&self.gallery, &self.cluster.node, line)
    }

    fn know_pods(&self) {
        for pod in &self.cluster.pods {
            self.run(&format!("add {} {}", pod.address, pod.interface)).success();
            self.run(&format!("add {} {} --mac {}", pod.address_v6, pod.interface, pod.mac)).success();
        }
    }

    fn know_all(&self) {
        self.know_pods();
        self.run(&format!("add 10.88.0.0/24 {UPLINK}")).success();
        self.run(&format!("add fd88::/64 {UPLINK}")).success();
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line).success()).unwrap()
    }

    /// Sets the MTU of the pod's interface to 1,400 bytes, and asserts that senders learn it.
    fn assert_senders_learn_the_mtu(&self, pod: &Pod) {
        let Cluster { client, node, .. } = &self.cluster;
        let expired = ping(client, 1, &format!("-t 1 {}", pod.address));
        assert!(
            expired.stdout.contains(&format!("From {NODE}")) && expired.stdout.contains("exceeded"),
            "{expired:?}"
        );
        assert_eq!(self.packets("expired"), 1);

        node.ip(&["link", "set", &pod.interface, "mtu", "1400"]);
        let large = ping(client, 1, &format!("-M do -s 1450 {}", pod.address));
        let said = format!("{}{}", large.stdout, large.stderr);
        assert!(said.contains("mtu = 1400") || said.contains("mtu=1400"), "{said}");
        assert_eq!(self.packets("too_large"), 1);
    }

    fn packets(&self, outcome: &str) -> u64 {
        self.json("stats --json")[outcome]["packets"].as_u64().unwrap()
    }

    fn sent_to(&self, prefix: &str) -> u64 {
        let listed = self.json("list --json");
        let found = listed.as_array().unwrap().iter().find(|row| row["prefix"] == prefix);
        found.unwrap_or_else(|| panic!("no {prefix} in {listed}"))["packets"].as_u64().unwrap()
    }
}

fn run_in(gallery: &Gallery, node: &Namespace, line: &str) -> Outcome {
    Outcome::of(&mut side_in(gallery, node, line))
}

fn side_in(gallery: &Gallery, node: &Namespace, line: &str) -> Command {
    let side = gallery.side_as(WATCHER, "pod-fastpath");
    let mut inside = node.command(&side.get_program().to_string_lossy());
    inside.args(side.get_args()).args(line.split_whitespace());
    inside.envs(side.get_envs().filter_map(|(name, value)| Some((name, value?))));
    inside
}

struct Staying(Child);

impl Drop for Staying {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn ping(from: &Namespace, count: u32, words: &str) -> Outcome {
    let mut ping: Command = from.command("ping");
    ping.args(["-n", "-c", &count.to_string(), "-i", "0.01", "-W", "60"]);
    Outcome::of(ping.args(words.split_whitespace()))
}

#[test]
fn packets_of_known_pods_pass_the_stack_by() {
    if lacks_tcx("packets_of_known_pods_pass_the_stack_by") {
        return;
    }
    let path = FastPath::new();
    let Cluster { client, pods, .. } = &path.cluster;
    let [one, two] = &pods[..] else { panic!("two pods") };
    let before = path.cluster.forwarded_by_stack();
    let answered = ping(client, 3, &one.address).success();
    assert!(answered.contains("ttl=63"), "{answered}");
    assert_eq!(path.cluster.forwarded_by_stack(), before + 6, "what is not known is the stack's");
    assert_eq!((path.packets("unknown"), path.packets("to_pod")), (6, 0));

    let (client_v4, client_v6) = (CLIENT.to_owned(), CLIENT_V6.to_owned());
    let pairs = [
        (client, &one.address),
        (client, &two.address_v6),
        (&one.namespace, &two.address),
        (&one.namespace, &two.address_v6),
        (&two.namespace, &client_v4),
        (&two.namespace, &client_v6),
    ];
    // Duplicate address detection: an IPv6 address does not answer for a second.
    for (from, to) in pairs {
        wait::until("neighbours know each other", || ping(from, 1, &format!("-W 1 {to}")).code == 0);
    }
    path.know_all();
    let before = path.cluster.forwarded_by_stack();
    for (from, to) in pairs {
        let answered = ping(from, 5, to).success();
        // With a wrong header checksum, there would be no answer.
        assert_eq!(answered.matches("ttl=63").count(), 5, "{answered}");
    }
    assert_eq!(path.cluster.forwarded_by_stack(), before);
    // Each request and its answer: four pairs with the client, two between pods.
    assert_eq!((path.packets("to_pod"), path.packets("to_network")), (4 * 5 + 2 * 10, 4 * 5));
    assert_eq!(path.sent_to(&format!("{}/32", two.address)), 5 + 5);
    assert_eq!(path.sent_to("fd88::/64"), 10);

    // TCP sends large segments that the interface splits later.
    for (from, to) in [(client, one), (&one.namespace, two)] {
        let address = to.address.clone();
        let listener = to.namespace.inside(|| TcpListener::bind("0.0.0.0:7000").unwrap());
        let sender = from.inside(move || {
            thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect((address.as_str(), 7000)).unwrap();
                stream.write_all(&pattern(4 << 20)).unwrap();
            })
        });
        let mut receiver = listener.accept().unwrap().0;
        assert!(read(&mut receiver, 5 << 20) == pattern(4 << 20));
        sender.join().unwrap();
    }
    assert_eq!(path.cluster.forwarded_by_stack(), before);
    let refused = ["foreign_source", "expired", "too_large"].map(|outcome| path.packets(outcome));
    assert_eq!(refused, [0, 0, 0]);
    let listed = path.run("list").success();
    assert!(listed.contains(&one.mac) && listed.contains(UPLINK), "{listed}");

    path.run(&format!("remove {} {}", one.address, two.address)).success();
    ping(client, 1, &one.address).success();
    assert_eq!(path.cluster.forwarded_by_stack(), before + 2, "both directions are the stack's again");
}

#[test]
fn packets_that_need_the_stack_are_passed_to_it() {
    if lacks_tcx("packets_that_need_the_stack_are_passed_to_it") {
        return;
    }
    let path = FastPath::new();
    path.know_all();
    let Cluster { node, pods, .. } = &path.cluster;
    let [one, two] = &pods[..] else { panic!("two pods") };
    path.assert_senders_learn_the_mtu(one);

    one.namespace.ip(&["address", "add", &format!("{}/32", two.address), "dev", "lo"]);
    let address = two.address.clone();
    one.namespace.inside(move || {
        UdpSocket::bind((address.as_str(), 0)).unwrap().send_to(b"not me", (CLIENT, 9)).unwrap();
    });
    wait::until("it was seen to be another's", || path.packets("foreign_source") == 1);

    node.ip(&["link", "delete", &two.interface]);
    let gone = ping(&path.cluster.client, 1, &two.address);
    assert!(gone.stdout.contains("nreachable"), "the stack says so: {gone:?}");
    assert_eq!(path.packets("too_large"), 2);
    assert!(path.run("list").success().contains("gone: "));
}

#[test]
fn sync_follows_host_routes_and_keeps_added_pods() {
    if lacks_tcx("sync_follows_host_routes_and_keeps_added_pods") {
        return;
    }
    let mut path = FastPath::new();
    let [first, second] = [0, 1].map(|at| path.cluster.pods[at].interface.clone());
    let sync = |path: &FastPath| path.run("sync").success();
    assert_eq!(
        sync(&path),
        format!("+ 10.99.0.1 {first}\n+ 10.99.0.2 {second}\n+ fd99::1 {first}\n+ fd99::2 {second}\n")
    );
    assert_eq!(sync(&path), "", "nothing has changed");
    path.run(&format!("add 10.99.0.77 {first} --mac 02:00:00:00:00:77")).success();
    path.cluster.add_pod();
    path.cluster.node.ip(&["link", "delete", &second]);
    assert_eq!(sync(&path), "+ 10.99.0.3 veth-pod3\n+ fd99::3 veth-pod3\n- 10.99.0.2/32\n- fd99::2/128\n");
    let rows = path.json("list --json");
    let rows = rows.as_array().unwrap().iter();
    let rows: Vec<_> =
        rows.map(|row| (row["prefix"].as_str().unwrap(), row["synced"].as_bool().unwrap())).collect();
    assert_eq!(
        rows,
        [
            ("10.99.0.1/32", true),
            ("10.99.0.3/32", true),
            ("10.99.0.77/32", false),
            ("fd99::1/128", true),
            ("fd99::3/128", true)
        ]
    );
    path.cluster.node.ip(&["neighbour", "delete", "10.99.0.3", "dev", "veth-pod3"]);
    path.run("remove 10.99.0.3").success();
    let outcome = path.run("sync");
    assert!(outcome.stderr.contains("10.99.0.3 is left to the stack"), "{outcome:?}");
    assert_eq!(outcome.success(), "");
}

#[test]
fn sync_follows_pods_and_reports_once_those_left_to_the_stack() {
    if lacks_tcx("sync_follows_pods_and_reports_once_those_left_to_the_stack") {
        return;
    }
    let mut path = FastPath::new();
    let file = path.gallery.daemon.path("said");
    let said = || fs::read_to_string(&file).unwrap();
    let tells = |what: &str| wait::until(what, || said().contains(what));
    let lines = fs::File::create(&file).unwrap();
    let line = format!("--program {} sync --every 1", path.program);
    let mut side = side_in(&path.gallery, &path.cluster.node, &line);
    side.stdout(lines.try_clone().unwrap()).stderr(lines);
    let _staying = Staying(side.spawn().unwrap());
    tells("+ 10.99.0.2 ");
    path.cluster.add_pod();
    tells("+ 10.99.0.3 veth-pod3");
    let left = || said().matches("10.99.0.3 is left to the stack").count();
    let before = left();
    path.cluster.node.ip(&["neighbour", "delete", "10.99.0.3", "dev", "veth-pod3"]);
    wait::until("it says so", || left() > before);
    path.cluster.add_pod();
    tells("+ 10.99.0.4 veth-pod4");
    assert_eq!(left(), before + 1, "{}", said());
}

#[test]
fn bad_words_are_refused_and_change_nothing() {
    if lacks_tcx("bad_words_are_refused_and_change_nothing") {
        return;
    }
    let mut path = FastPath::new();
    path.know_all();
    let before = path.run("list").success();
    for (line, code, says) in [
        ("add 10.99.0.1".to_owned(), 2, "Usage"),
        (format!("add 10.99.0.1/8 {UPLINK}"), 2, "10.0.0.0/8?"),
        (format!("add 10.99.0.9 {UPLINK} --mac 02:00"), 2, "no MAC address"),
        ("add 10.99.0.9 nowhere".to_owned(), 5, "no interface \"nowhere\""),
        ("add 10.99.0.9 lo --mac 02:00:00:00:00:01".to_owned(), 6, "no veth or netkit"),
        ("add 10.99.0.9 veth-pod1".to_owned(), 5, "has not learnt the MAC address"),
        (format!("add 10.88.0.0/24 {UPLINK} --mac 02:00:00:00:00:01"), 6, "a network has no MAC"),
        (format!("add ::ffff:10.0.0.0/104 {UPLINK}"), 6, "write it as 10.0.0.0/8"),
        (format!("add 10.88.0.0/24 {UPLINK} --takes-frames"), 6, "to a network are not sent as frames"),
        ("remove 10.99.0.9 192.0.2.0/24".to_owned(), 5, "not in the table: 10.99.0.9/32, 192.0.2.0/24"),
    ] {
        path.run(&line).fails(code, &[says]);
    }
    assert_eq!(path.run("list").success(), before);
    let program = path.program;
    for line in ["list", "stats", "sync", "remove 10.99.0.1"] {
        refusals(&mut path.gallery, "pod-fastpath", program, line);
    }
    assert_eq!(path.run("list").success(), before);
}

#[test]
fn example_runs_without_its_daemon() {
    if lacks_tcx("example_runs_without_its_daemon") {
        return;
    }
    let mut path = FastPath::new();
    path.know_all();
    let before = path.cluster.forwarded_by_stack();
    let pod = path.cluster.pods[0].address.clone();
    path.gallery.daemon.kill();
    ping(&path.cluster.client, 3, &pod).success();
    path.gallery.restart();
    ping(&path.cluster.client, 3, &pod).success();
    assert_eq!((path.cluster.forwarded_by_stack(), path.packets("to_pod")), (before, 6));
}

struct OwnEnd {
    name: String,
    pod: Namespace,
}

impl OwnEnd {
    fn new() -> Self {
        let (name, pod) = (format!("veth{}", std::process::id()), Namespace::new("own"));
        let namespace = pod.path().file_name().unwrap().to_string_lossy().into_owned();
        run(&[
            "ip",
            "link",
            "add",
            &name,
            "address",
            "02:00:00:00:00:01",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace,
        ]);
        run(&["ip", "link", "set", &name, "up"]);
        pod.ip(&["address", "add", "10.98.0.1/24", "dev", "eth0"]);
        pod.ip(&["link", "set", "eth0", "up"]);
        pod.ip(&[
            "neighbour",
            "replace",
            "10.98.0.2",
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "eth0",
            "nud",
            "permanent",
        ]);
        Self { name, pod }
    }

    fn manifest(&self, gallery: &Gallery, file: &str) -> String {
        let manifest = gallery.manifest_of("pod-fastpath", file);
        let mut text = fs::read_to_string(&manifest).unwrap();
        for (published, here) in [
            ("primaryNodeInterface: true", format!("interfaces: [{}]", self.name)),
            ("/^(veth|cali|lxc)/", format!("/^{}$/", self.name)),
        ] {
            assert!(text.contains(published), "{text}");
            text = text.replace(published, &here);
        }
        fs::write(&manifest, text).unwrap();
        manifest
    }
}

/// Uses interfaces of the test, because those of the machine are in use.
#[test]
fn companion_finds_programs_of_its_manifest() {
    if lacks_tcx("companion_finds_programs_of_its_manifest") {
        return;
    }
    let (gallery, end) = (Gallery::open(), OwnEnd::new());
    let manifest = end.manifest(&gallery, "app.yaml");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in ["from_network", "from_pod"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let side = |line: &str| gallery.side("pod-fastpath", &format!("--app pod-fastpath {line}"));
    end.pod.inside(|| {
        let sender = UdpSocket::bind("10.98.0.1:0").unwrap();
        // TTL 1: the packet must not leave this machine.
        sender.set_ttl(1).unwrap();
        sender.send_to(b"to nobody", "10.98.0.2:9").unwrap();
    });
    wait::until("both programs have run", || {
        let stats: Value = serde_json::from_str(&side("stats --json").success()).unwrap();
        stats["unknown"]["packets"] == 2
    });
    side(&format!("add 10.98.0.1 {}", end.name)).fails(5, &["has not learnt"]);
    side(&format!("add 10.98.0.1 {} --mac 02:00:00:00:00:09", end.name)).success();
    assert!(side("list").success().starts_with("10.98.0.1/32"));
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    side("list").fails(5, &["pod-fastpath"]);
}
