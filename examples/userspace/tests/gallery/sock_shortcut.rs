//! Local TCP connections through the shortcut: data arrives complete and in order, whichever path it takes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use bpfman_tests::control_group::Group;
use bpfman_tests::local_connection::{Ends, pattern, read};
use bpfman_tests::network::Namespace;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::{Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

/// Returns whether the kernel lacks links on sockmaps (Linux 6.10), and prints the skip line.
fn lacks_it(test: &str) -> bool {
    is_older_than((6, 10), "sockmap-links", test)
}

struct Shortcut {
    gallery: Gallery,
    group: Group,
    namespace: Namespace,
    program: u64,
}

impl Shortcut {
    fn new(test: &str, words: &str) -> Self {
        let (gallery, group) = (Gallery::open(), Group::new(test));
        let programs =
            gallery.load("sock-shortcut", &format!("--programs sk_msg:carry sock_ops:remember {words}"));
        let [carry, remember] = programs[..] else { panic!("two programs: {programs:?}") };
        gallery.daemon.bpfman(&format!("attach {carry} sockmap --map sockets")).success();
        gallery.daemon.bpfman(&format!("attach {remember} cgroup --path {}", group.path)).success();
        Self { gallery, group, namespace: Namespace::new("local"), program: carry }
    }

    fn run(&self, line: &str) -> Outcome {
        self.gallery.side("sock-shortcut", &format!("--program {} {line}", self.program))
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line).success()).unwrap()
    }

    fn messages(&self, outcome: &str) -> u64 {
        self.json("stats --json")[outcome]["messages"].as_u64().unwrap()
    }

    fn connect(&self, address: &'static str) -> Ends {
        self.group.inside(|| {
            self.namespace.inside(move || {
                let listener = TcpListener::bind((address, 0)).unwrap();
                Ends::of(&listener, listener.local_addr().unwrap())
            })
        })
    }

    fn packets(&self) -> u64 {
        let text = self.namespace.ip(&["-s", "-j", "link", "show", "dev", "lo"]);
        let links: Value = serde_json::from_str(&text).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    }
}

fn passes(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    assert!(read(to, bytes.len()) == bytes, "other bytes than were sent");
}

#[test]
fn shortcut_messages_pass_no_network_and_are_counted() {
    if lacks_it("shortcut_messages_pass_no_network_and_are_counted") {
        return;
    }
    let shortcut = Shortcut::new("counted", "");
    for address in ["127.0.0.1", "::1"] {
        let Ends { mut client, mut server } = shortcut.connect(address);
        let (packets, before) = (shortcut.packets(), shortcut.json("stats --json"));
        for round in 1..=10 {
            passes(&mut client, &mut server, &pattern(round * 100));
            passes(&mut server, &mut client, &pattern(round * 10));
        }
        // An acknowledgement of the handshake may arrive late.
        assert!(shortcut.packets() <= packets + 1, "{address}: they went over loopback");
        let after = shortcut.json("stats --json");
        let more = |field: &str| {
            after["shortcut"][field].as_u64().unwrap() - before["shortcut"][field].as_u64().unwrap()
        };
        assert_eq!((more("messages"), more("bytes")), (20, 6_050), "{address}");
        let ends = [server.local_addr().unwrap(), client.local_addr().unwrap()].map(|end| end.to_string());
        let listed = shortcut.json("list --json");
        let pair = listed.as_array().unwrap().iter().find(|pair| {
            ends.iter().all(|end| pair["ends"].as_array().unwrap().contains(&end.as_str().into()))
        });
        assert_eq!(pair.unwrap_or_else(|| panic!("{ends:?} in {listed}"))["shortcut"], true);
        assert!(shortcut.run("list").success().contains(&ends[0]));
        drop((client, server));
        wait::until("closed sockets leave the map", || shortcut.json("list --json") == Value::Array(vec![]));
    }
    let stats = shortcut.json("stats --json");
    assert_eq!((&stats["sockets"], &stats["errors"]["messages"]), (&4.into(), &0.into()), "{stats}");
}

/// Like Go and Java, which listen on one IPv6 socket for both families.
#[test]
fn an_ipv4_client_of_an_ipv6_socket_takes_the_shortcut() {
    if lacks_it("an_ipv4_client_of_an_ipv6_socket_takes_the_shortcut") {
        return;
    }
    let shortcut = Shortcut::new("dual", "");
    let Ends { mut client, mut server } = shortcut.group.inside(|| {
        shortcut.namespace.inside(|| {
            let listener = TcpListener::bind("[::]:0").unwrap();
            Ends::of(&listener, ([127, 0, 0, 1], listener.local_addr().unwrap().port()).into())
        })
    });
    passes(&mut client, &mut server, b"to an IPv6 socket");
    passes(&mut server, &mut client, b"and back");
    assert_eq!(shortcut.messages("shortcut"), 2);
}

#[test]
fn streams_of_any_size_end_as_they_would_over_tcp() {
    if lacks_it("streams_of_any_size_end_as_they_would_over_tcp") {
        return;
    }
    let shortcut = Shortcut::new("streams", "");
    for length in [1, 70_000, 8 << 20] {
        let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
        let bytes = pattern(length);
        let sent = bytes.clone();
        let sender = thread::spawn(move || {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client
        });
        assert!(read(&mut server, 16 << 20) == bytes, "{length} bytes arrive, and then the end");
        let mut client = sender.join().unwrap();
        passes(&mut server, &mut client, b"received");
        drop(server);
        assert_eq!(read(&mut client, 1), b"");
    }
    assert_eq!(shortcut.messages("after_tcp") + shortcut.messages("no_peer"), 0);
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    client.write_all(&pattern(100_000)).unwrap();
    drop(client);
    assert!(read(&mut server, 200_000) == pattern(100_000));
    let error = (0..).find_map(|_| server.write_all(b"x").err()).unwrap();
    assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
}

#[test]
fn a_peer_that_is_not_known_gets_everything_over_tcp() {
    if lacks_it("a_peer_that_is_not_known_gets_everything_over_tcp") {
        return;
    }
    let shortcut = Shortcut::new("unknown", "");
    let listener = shortcut.namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let client =
        shortcut.group.inside(|| shortcut.namespace.inside(move || TcpStream::connect(address).unwrap()));
    let (mut server, mut client) = (listener.accept().unwrap().0, client);
    passes(&mut client, &mut server, &pattern(300));
    passes(&mut server, &mut client, &pattern(300));
    assert_eq!((shortcut.messages("shortcut"), shortcut.messages("no_peer")), (0, 1));
    assert_eq!(shortcut.json("list --json")[0]["shortcut"], false);
    assert!(shortcut.run("list").success().contains("one end alone"));
}

#[test]
fn nothing_overtakes_when_a_stream_changes_its_way() {
    if lacks_it("nothing_overtakes_when_a_stream_changes_its_way") {
        return;
    }
    let shortcut = Shortcut::new("order", "");
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    let port = server.local_addr().unwrap().port();
    client.write_all(b"socket to socket, ").unwrap();
    shortcut.run(&format!("deny {port}")).success();
    client.write_all(b"over TCP, ").unwrap();
    shortcut.run(&format!("allow {port}")).success();
    client.write_all(b"and still so").unwrap();
    assert_eq!(read(&mut server, 40), b"socket to socket, over TCP, and still so");
    let counted = ["shortcut", "denied", "after_tcp"].map(|outcome| shortcut.messages(outcome));
    assert_eq!(counted, [1, 1, 1]);
    passes(&mut server, &mut client, b"the other direction is as it was");
    assert_eq!(shortcut.messages("shortcut"), 2);

    // A client that sends at once may do so before the other end is in the map.
    let listener =
        shortcut.group.inside(|| shortcut.namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap()));
    let address = listener.local_addr().unwrap();
    let bytes = pattern(20 * 64);
    let sent = bytes.clone();
    let clients = shortcut.group.inside(|| {
        shortcut.namespace.inside(move || {
            let hasty = move |_| {
                let mut client = TcpStream::connect(address).unwrap();
                sent.chunks(64).for_each(|part| client.write_all(part).unwrap());
                client
            };
            (0..100).map(hasty).collect::<Vec<_>>()
        })
    });
    for client in clients {
        let mut server = listener.accept().unwrap().0;
        drop(client);
        assert!(read(&mut server, 2 * bytes.len()) == bytes);
    }
    assert!(shortcut.messages("shortcut") > 2, "{}", shortcut.run("stats").success());
}

/// Without this, a sender would fill the machine's memory.
#[test]
fn a_sender_waits_for_a_receiver_that_does_not_read() {
    if lacks_it("a_sender_waits_for_a_receiver_that_does_not_read") {
        return;
    }
    let shortcut = Shortcut::new("slow", "--global queue_limit=1000000");
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    client.set_nonblocking(true).unwrap();
    let bytes = pattern(64 << 20);
    let mut sent = 0;
    while sent < bytes.len() {
        match client.write(&bytes[sent..bytes.len().min(sent + 100_000)]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("after {sent} bytes: {error}"),
        }
    }
    assert!(sent > 1_000_000, "{sent}");
    assert!(sent < bytes.len(), "nothing stopped it");
    assert_eq!(shortcut.messages("queue_full"), 1);
    assert!(read(&mut server, sent) == bytes[..sent]);
    client.set_nonblocking(false).unwrap();
    passes(&mut client, &mut server, b"more");
}

#[test]
fn equal_addresses_of_two_namespaces_do_not_mix() {
    if lacks_it("equal_addresses_of_two_namespaces_do_not_mix") {
        return;
    }
    let shortcut = Shortcut::new("pods", "");
    let other = Namespace::new("other");
    let connect = |namespace: &Namespace| {
        shortcut.group.inside(|| {
            namespace.inside(|| {
                let listener = TcpListener::bind("127.0.0.1:4000").unwrap();
                Ends::from("127.0.0.1:5000".parse().unwrap(), &listener)
            })
        })
    };
    let [mut here, mut there] = [connect(&shortcut.namespace), connect(&other)];
    here.client.write_all(b"here ").unwrap();
    there.client.write_all(b"there").unwrap();
    assert_eq!(read(&mut here.server, 5), b"here ");
    assert_eq!(read(&mut there.server, 5), b"there");
    assert_eq!(shortcut.messages("shortcut"), 2);
    let listed = shortcut.json("list --json");
    assert_eq!(listed[0]["ends"], listed[1]["ends"]);
    assert_ne!(listed[0]["namespace"], listed[1]["namespace"]);
}

#[test]
fn ports_are_allowed_and_denied_and_bad_words_change_nothing() {
    if lacks_it("ports_are_allowed_and_denied_and_bad_words_change_nothing") {
        return;
    }
    let mut shortcut = Shortcut::new("ports", "");
    let sockets = |shortcut: &Shortcut| shortcut.json("stats --json")["sockets"].as_u64().unwrap();
    assert_eq!(shortcut.run("ports").success(), "allow all\n");
    shortcut.run("deny all").success();
    shortcut.run("allow 4001 4000").success();
    assert_eq!(shortcut.run("ports").success(), "deny all\nallow 4000\nallow 4001\n");
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    passes(&mut client, &mut server, b"over TCP");
    assert_eq!((sockets(&shortcut), shortcut.messages("shortcut")), (0, 0), "such sockets are left alone");
    let Ends { mut client, mut server } = shortcut.group.inside(|| {
        shortcut.namespace.inside(|| {
            let listener = TcpListener::bind("127.0.0.1:4000").unwrap();
            Ends::of(&listener, listener.local_addr().unwrap())
        })
    });
    passes(&mut client, &mut server, b"socket to socket");
    assert_eq!((sockets(&shortcut), shortcut.messages("shortcut")), (2, 1));
    for (line, says) in [
        ("allow 0", "neither a port"),
        ("deny 70000", "neither a port"),
        ("allow http", "neither a port"),
        ("deny", "Usage"),
        ("list 7", "Usage"),
    ] {
        shortcut.run(line).fails(2, &[says]);
    }
    let program = shortcut.program;
    for line in ["allow 22", "stats", "list", "ports"] {
        refusals(&mut shortcut.gallery, "sock-shortcut", program, line);
    }
    assert_eq!(shortcut.json("ports --json").to_string(), r#"{"4000":"allow","4001":"allow","all":"deny"}"#);
    shortcut.run("deny 4001").success();
    assert_eq!(shortcut.run("ports").success(), "deny all\nallow 4000\n");
    shortcut.run("allow all").success();
    assert_eq!(shortcut.run("ports").success(), "allow all\n");
}

#[test]
fn rules_from_a_file_replace_earlier_rules() {
    if lacks_it("rules_from_a_file_replace_earlier_rules") {
        return;
    }
    let mut shortcut = Shortcut::new("file", "");
    let apply = |shortcut: &Shortcut, rules: &str| {
        let file = shortcut.gallery.daemon.path("rules");
        fs::write(&file, rules).unwrap();
        let mut side = shortcut.gallery.side_as(WATCHER, "sock-shortcut");
        let side = side.args(["--program", &shortcut.program.to_string(), "apply", "-"]);
        Outcome::of(side.stdin(File::open(file).unwrap()))
    };
    shortcut.run("deny 22 4000").success();
    for (rules, said, ports) in [
        ("allow 4000\ndeny all # but these\nallow 8080\n", "3 rules\n", "deny all\nallow 4000\nallow 8080\n"),
        ("allow 8080\nallow 9090\ndeny all", "3 rules\n", "deny all\nallow 8080\nallow 9090\n"),
        ("deny 8080\nallow 22\n", "2 rules\n", "allow all\ndeny 8080\n"),
        ("", "0 rules\n", "allow all\n"),
    ] {
        assert_eq!(apply(&shortcut, rules).success(), said);
        assert_eq!(shortcut.run("ports").success(), ports, "{rules}");
        let shown = shortcut.run("ports").success();
        apply(&shortcut, &shown).success();
        assert_eq!(shortcut.run("ports").success(), ports, "what `ports` shows can be applied");
    }
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    let port = server.local_addr().unwrap().port();
    passes(&mut client, &mut server, b"socket to socket");
    let rules = format!("deny {port}\n");
    apply(&shortcut, &rules).success();
    passes(&mut client, &mut server, b"by TCP");
    assert_eq!((shortcut.messages("shortcut"), shortcut.messages("denied")), (1, 1));
    for (wrong, says) in [
        ("deny 1\nallow 70000\n", "line 2: `70000` is neither a port"),
        ("allow all\ndeny all\n", "all is both allowed and denied"),
        ("block 1\n", "begins with allow or deny"),
    ] {
        apply(&shortcut, wrong).fails(6, &["standard input", says, "nothing was changed"]);
    }
    shortcut.run("apply /no/such/rules").fails(1, &["cannot read /no/such/rules"]);
    let program = shortcut.program;
    refusals(&mut shortcut.gallery, "sock-shortcut", program, "apply /dev/null");
    assert_eq!(shortcut.run("ports").success(), format!("allow all\n{rules}"));
}

#[test]
fn example_runs_without_its_daemon() {
    if lacks_it("example_runs_without_its_daemon") {
        return;
    }
    let mut shortcut = Shortcut::new("away", "");
    let Ends { mut client, mut server } = shortcut.connect("127.0.0.1");
    passes(&mut client, &mut server, b"before");
    shortcut.gallery.daemon.kill();
    passes(&mut client, &mut server, b"meanwhile");
    let mut later = shortcut.connect("127.0.0.1");
    passes(&mut later.client, &mut later.server, b"a connection made meanwhile");
    shortcut.gallery.restart();
    passes(&mut server, &mut client, b"after");
    assert_eq!(
        (shortcut.messages("shortcut"), shortcut.json("list --json").as_array().unwrap().len()),
        (4, 2)
    );
    let loaded = shortcut.gallery.daemon.bpfman("list programs -q").success();
    shortcut.gallery.daemon.bpfman(&format!("unload {loaded}")).success();
    passes(&mut client, &mut server, b"without");
    passes(&mut server, &mut client, b"without");
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    if lacks_it("companion_finds_programs_of_its_manifest") {
        return;
    }
    let (gallery, group) = (Gallery::open(), Group::new("applied"));
    let manifest = gallery.manifest("sock-shortcut");
    // The root cgroup of the manifest would affect the whole machine.
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("- path: /\n"));
    fs::write(&manifest, text.replace("- path: /\n", &format!("- path: {}\n", group.path))).unwrap();
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in ["carry", "remember"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let namespace = Namespace::new("applied");
    let Ends { mut client, mut server } = group.inside(|| {
        namespace.inside(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Ends::of(&listener, listener.local_addr().unwrap())
        })
    });
    passes(&mut client, &mut server, b"by a manifest");
    let stats = gallery.side("sock-shortcut", "--app sock-shortcut stats").success();
    assert!(
        stats.lines().any(|line| line.split_whitespace().take(2).eq(["shortcut", "1"])),
        "the message took it: {stats}"
    );
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("sock-shortcut", "--app sock-shortcut list").fails(5, &["sock-shortcut"]);
}
