use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bpfman_tests::http::request;
use bpfman_tests::network::{FAR_ADDRESS, INTERFACE, NEAR_ADDRESS};
use bpfman_tests::scrape::value_of;
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::within;
use bpfman_tests::{Network, Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, Interface, WATCHER, refusals};

const PORT: u16 = 4242;
const CLOSED: u16 = 4999;
/// Only one test sends to it: each test sees the drops of all, in networks whose interfaces have equal numbers.
const REFUSED: u16 = 4998;
const FULL: u16 = 5999;
const OPEN: u16 = 6999;

struct Flows {
    gallery: Gallery,
    network: Network,
    program: u64,
    dropped: u64,
}

impl Flows {
    /// Drops are recorded for the whole machine, and other tests cause some.
    fn without_drops() -> Self {
        let gallery = Gallery::open();
        let network = Network::new();
        let programs =
            gallery.load("flows", "--programs tcx:flows_ingress tcx:flows_egress tp_btf:flows_dropped");
        let [ingress, egress, dropped] = programs[..] else { panic!("three programs: {programs:?}") };
        let netns = network.far.path().display().to_string();
        for (program, direction) in [(ingress, "ingress"), (egress, "egress")] {
            let words =
                format!("attach {program} tcx -d {direction} -i {INTERFACE} -n {netns} --priority 10");
            gallery.daemon.bpfman(&words).success();
        }
        Self { gallery, network, program: ingress, dropped }
    }

    fn new() -> Self {
        let flows = Self::without_drops();
        flows.gallery.daemon.bpfman(&format!("attach {} tp-btf", flows.dropped)).success();
        flows
    }

    fn run(&self, line: &str) -> Outcome {
        self.gallery.side("flows", &format!("--program {} {line}", self.program))
    }

    fn list(&self, filter: &str) -> Vec<Value> {
        json_lines(&self.run(&format!("list --json {filter}")).success())
    }

    fn one(&self, filter: &str, direction: &str) -> Value {
        let mut found = self.list(filter);
        found.retain(|flow| flow["direction"] == direction);
        assert_eq!(found.len(), 1, "{filter}: {found:?}");
        found.remove(0)
    }

    fn spawn(&self, words: &str, stderr: Stdio) -> Child {
        let mut side = self.gallery.side_as(WATCHER, "flows");
        side.args(["--program", &self.program.to_string()]).args(words.split_whitespace());
        side.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
    }

    fn send_to(&self, ports: impl Iterator<Item = u16> + Send + 'static) {
        self.network.near.inside(|| {
            let socket = UdpSocket::bind((NEAR_ADDRESS, 0)).unwrap();
            for port in ports {
                socket.send_to(b"x", (FAR_ADDRESS, port)).unwrap();
            }
        });
    }
}

struct Serving {
    side: Child,
    address: SocketAddr,
}

impl Serving {
    fn start(flows: &Flows) -> Self {
        let mut side = flows.spawn("serve --listen 127.0.0.1:0", Stdio::piped());
        let mut line = String::new();
        BufReader::new(side.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").unwrap_or_else(|| panic!("{line}")).1;
        Self { side, address: address.parse().unwrap() }
    }

    fn get(&self, path: &str) -> String {
        let answer = request(self.address, &format!("GET {path}"), &[], "");
        let body = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{}\n{body}", answer.head);
        body
    }

    fn metric(&self, series: &str) -> f64 {
        value_of(&self.get("/metrics"), series).unwrap_or_default()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.side.kill().unwrap();
        self.side.wait().unwrap();
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn event(lines: &mut BufReader<ChildStdout>, kind: &str, port: u16) -> Value {
    loop {
        let mut line = String::new();
        let read = within("an event of the side", || lines.read_line(&mut line)).unwrap();
        assert!(read > 0, "the side ended");
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == kind
            && [&event["source_port"], &event["destination_port"]].contains(&&port.into())
        {
            return event;
        }
    }
}

#[test]
fn flow_counts_all_packets_and_reports_its_start_and_end() {
    if lacks_tcx("flow_counts_all_packets_and_reports_its_start_and_end") {
        return;
    }
    let mut flows = Flows::without_drops();
    let program = flows.program;
    refusals(&mut flows.gallery, "flows", program, "list");
    let mut side = flows.spawn("follow", Stdio::inherit());
    let mut events = BufReader::new(side.stdout.take().unwrap());
    let traffic = Traffic::new(&flows.network);
    assert_eq!(traffic.send(5), 5, "everything passes");
    let datagrams = flows.one(&format!("--port {PORT}"), "ingress");
    assert_eq!(datagrams["packets"], 5, "{datagrams}");
    assert_eq!(
        (&datagrams["protocol"], &datagrams["source"], &datagrams["destination"], &datagrams["verdict"]),
        (&"udp".into(), &NEAR_ADDRESS.into(), &FAR_ADDRESS.into(), &"seen".into())
    );
    assert_eq!(event(&mut events, "new", PORT)["direction"], "ingress");

    let Network { near, far } = &flows.network;
    for end in [(near, "fd77::1/64"), (far, "fd77::2/64")] {
        end.0.ip(&["address", "add", end.1, "dev", INTERFACE, "nodad"]);
    }
    for address in [FAR_ADDRESS, "fd77::2"] {
        let listener = far.inside(move || TcpListener::bind((address, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let mut client = near.inside(move || TcpStream::connect((address, port)).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"question").unwrap();
        server.read_exact(&mut [0; 8]).unwrap();
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(event(&mut events, "new", port)["protocol"], "tcp");
        drop((client, server));
        let ended = [event(&mut events, "ended", port), event(&mut events, "ended", port)];
        assert_ne!(ended[0]["direction"], ended[1]["direction"], "both directions end: {ended:?}");
        let filter = format!("--port {port} --address {address}");
        for direction in ["ingress", "egress"] {
            let flow = flows.one(&filter, direction);
            let flags: Vec<&str> =
                flow["flags"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert!(["SYN", "ACK", "PSH", "FIN"].iter().all(|flag| flags.contains(flag)), "{flow}");
            assert!(flow["packets"].as_u64().unwrap() >= 4, "{flow}");
            assert!(flow["first_seen"].as_f64() <= flow["last_seen"].as_f64(), "{flow}");
        }
        assert_eq!(flows.list(&format!("--port {port} --address 192.0.2.0/24")), Vec::<Value>::new());
    }
    flows.gallery.daemon.kill();
    flows.send_to(std::iter::once(CLOSED));
    event(&mut events, "new", CLOSED);
    flows.gallery.restart();
    flows.send_to(std::iter::once(CLOSED + 1));
    event(&mut events, "new", CLOSED + 1);
    side.kill().unwrap();
    side.wait().unwrap();
}

#[test]
fn kernel_drops_have_the_kernel_reason() {
    if lacks_tcx("kernel_drops_have_the_kernel_reason") {
        return;
    }
    let flows = Flows::new();
    let mut side = flows.spawn("follow --dropped", Stdio::inherit());
    let mut events = BufReader::new(side.stdout.take().unwrap());
    flows.send_to(std::iter::repeat_n(REFUSED, 3));
    assert_eq!(event(&mut events, "dropped", REFUSED)["drop_reason"], "NO_SOCKET");
    side.kill().unwrap();
    side.wait().unwrap();
    let dropped = format!("--dropped --port {REFUSED}");
    let mut found = Vec::new();
    wait::until("three datagrams to a closed port were dropped", || {
        found = flows.list(&dropped);
        found.first().is_some_and(|flow| flow["packets"] == 3)
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["drop_reason"], &found[0]["verdict"]), (&"NO_SOCKET".into(), &"dropped".into()));
    // The socket buffer overflows: all datagrams that it does not contain were dropped.
    let full = flows.network.far.inside(|| UdpSocket::bind((FAR_ADDRESS, FULL)).unwrap());
    full.set_nonblocking(true).unwrap();
    // The kernel's queue between the two ends holds 1,000 packets, and a busy processor reads it late.
    let sender = flows.network.near.inside(|| UdpSocket::bind((NEAR_ADDRESS, 0)).unwrap());
    for sent in [500, 1000, 1500, 2000] {
        (0..500).for_each(|_| assert_eq!(sender.send_to(b"x", (FAR_ADDRESS, FULL)).unwrap(), 1));
        wait::until("the last datagram came", || {
            flows.one(&format!("--port {FULL}"), "ingress")["packets"] == sent
        });
    }
    let received = std::iter::repeat_with(|| full.recv(&mut [0; 8])).take_while(Result::is_ok).count();
    let dropped = format!("--dropped --port {FULL}");
    wait::until("what was not received was dropped", || {
        found = flows.list(&dropped);
        found.first().is_some_and(|flow| flow["packets"] == 2000 - received)
    });
    assert_eq!((found.len(), &found[0]["drop_reason"]), (1, &"SOCKET_RCVBUFF".into()), "{found:?}");
    assert!(flows.run(&format!("list {dropped}")).success().contains("dropped: SOCKET_RCVBUFF"));
}

#[test]
fn flows_and_counters_are_served_also_while_the_daemon_is_away() {
    if lacks_tcx("flows_and_counters_are_served_also_while_the_daemon_is_away") {
        return;
    }
    let mut flows = Flows::new();
    let serving = Serving::start(&flows);
    let taken = serving.address;
    flows.run(&format!("serve --listen {taken}")).fails(1, &["cannot listen on", &taken.to_string()]);
    flows.run("serve --listen everywhere").fails(2, &["everywhere"]);
    flows.gallery.daemon.kill();
    let before = serving.metric("flows_drops_total{reason=\"NO_SOCKET\"}");
    flows.send_to(std::iter::repeat_n(CLOSED, 4));
    wait::until("four drops are counted", || {
        serving.metric("flows_drops_total{reason=\"NO_SOCKET\"}") >= before + 4.0
    });
    let served = json_lines(&serving.get("/flows"));
    let wanted = |flow: &&Value| flow["destination_port"] == CLOSED && flow["direction"] == "ingress";
    assert_eq!(served.iter().find(wanted).unwrap()["packets"], 4, "{served:?}");
    assert!(serving.metric("flows_packets_total{kind=\"ingress\"}") >= 4.0);
    assert_eq!(request(serving.address, "GET /other", &[], "").status, 404);
    flows.gallery.restart();
    serving.get("/flows");
}

#[test]
fn events_that_do_not_fit_are_counted_and_no_packet_is_lost() {
    const FLOWS: u16 = 8_000;
    if lacks_tcx("events_that_do_not_fit_are_counted_and_no_packet_is_lost") {
        return;
    }
    let flows = Flows::without_drops();
    let serving = Serving::start(&flows);
    let Network { near, far } = &flows.network;
    near.ip(&["route", "add", "10.78.0.0/16", "via", FAR_ADDRESS]);
    far.ip(&["route", "add", "local", "10.78.0.0/16", "dev", "lo"]);
    let receiver = far.inside(|| UdpSocket::bind(("0.0.0.0", OPEN)).unwrap());
    let sender = near.inside(|| UdpSocket::bind((NEAR_ADDRESS, 0)).unwrap());
    for number in 0..FLOWS {
        let [high, low] = number.to_be_bytes();
        sender.send_to(b"x", (Ipv4Addr::new(10, 78, high, low), OPEN)).unwrap();
        receiver.recv(&mut [0; 8]).unwrap();
    }
    let served = json_lines(&serving.get("/flows"));
    let counted = served.iter().filter(|flow| flow["destination_port"] == OPEN && flow["packets"] == 1);
    assert_eq!(counted.count(), usize::from(FLOWS));
    assert!(serving.metric("flows_events_lost_total") > 0.0, "{}", serving.get("/metrics"));
    assert_eq!(serving.metric("flows_packets_total{kind=\"unstored\"}"), 0.0);
    let mut side = flows.spawn("follow", Stdio::inherit());
    let mut events = BufReader::new(side.stdout.take().unwrap());
    event(&mut events, "new", OPEN);
    // The ring buffer has space again, but other events may take it first: therefore each datagram is a new flow.
    let told = AtomicBool::new(false);
    thread::scope(|scope| {
        let send = || {
            flows.send_to(std::iter::once(CLOSED));
            told.load(Ordering::Relaxed)
        };
        scope.spawn(move || wait::until("the side tells of a new flow", send));
        event(&mut events, "new", CLOSED);
        told.store(true, Ordering::Relaxed);
    });
    side.kill().unwrap();
    side.wait().unwrap();
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    if lacks_tcx("companion_finds_programs_of_its_manifest") {
        return;
    }
    let gallery = Gallery::open();
    let interface = Interface::new();
    let manifest = gallery.manifest_at("flows", "app.yaml", &interface);
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in ["flows_ingress", "flows_egress", "flows_dropped"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    gallery.side("flows", "--app flows list").success();
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("flows", "--app flows list").fails(5, &["flows"]);
}
