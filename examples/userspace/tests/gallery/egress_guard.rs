mod at_interface;
mod guarded;

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, ChildStdout};

use bpfman_tests::control_group::Group;
use bpfman_tests::network::{FAR_ADDRESS, NEAR_ADDRESS};
use bpfman_tests::wait::within;
use bpfman_tests::{Network, wait};
use serde_json::{Value, json};

use self::guarded::{CDN, Client, EVIL, Guarded, PORT, RULES, SHOP, SHOP_V6};
use crate::equipment::{Gallery, refusals, turns};
use crate::name_server::{Data, SILENT, answer};

fn refused(side: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = within("an event of the side", || side.next());
    serde_json::from_str(&line.unwrap().unwrap()).unwrap()
}

fn next_with(side: &mut Lines<BufReader<ChildStdout>>, key: &str, value: &str) -> Value {
    loop {
        let event = refused(side);
        if event[key] == value {
            return event;
        }
    }
}

fn end(mut side: Child) {
    side.kill().unwrap();
    side.wait().unwrap();
}

#[test]
fn only_allowed_names_prefixes_and_ports_leave_the_group() {
    let mut guarded = Guarded::new("egress-allowed");
    assert_eq!(guarded.udp(EVIL), "sent", "without rules everything passes");
    assert_eq!(guarded.arrived(), 1);
    guarded.run("mode enforce").fails(6, &["there are no rules to enforce", "hint: "]);
    assert_eq!(guarded.with_rules("apply", RULES).success(), "5 rules, mode shadow\n");
    guarded.run("mode enforce").success();
    assert_eq!(guarded.run("mode").success(), "enforce\n");
    assert_eq!(guarded.run("list").success(), RULES);

    let mut side = guarded.follow();
    let mut events = BufReader::new(side.stdout.take().unwrap()).lines();
    let group = fs::metadata(&guarded.group.folder).unwrap().ino();
    assert_eq!(guarded.udp(SHOP), "refused");
    let event = refused(&mut events);
    assert_eq!(
        (&event["destination"], &event["reason"], &event["dropped"], &event["protocol"]),
        (&json!(SHOP), &json!("destination"), &json!(true), &json!("udp"))
    );
    assert_eq!((&event["source"], &event["destination_port"]), (&json!(NEAR_ADDRESS), &json!(PORT)));
    assert_eq!((&event["cgroup"], &event["bytes"]), (&json!(group), &json!(29)));
    assert_eq!(guarded.does("resolve SHOP.example.com"), format!("{SHOP} {SHOP_V6}"));
    for address in [SHOP, SHOP_V6] {
        assert_eq!(guarded.udp(address), "sent");
    }
    wait::until("both came", || guarded.arrived() == 2);
    assert_eq!(guarded.does(&format!("udp {SHOP} 4243")), "refused");
    assert_eq!(refused(&mut events)["reason"], "port");
    assert_eq!(guarded.tcp(SHOP), "refused");
    assert_eq!(next_with(&mut events, "protocol", "tcp")["reason"], "port");
    assert_eq!(guarded.does("resolve a.img.example.com"), CDN);
    assert_eq!(guarded.tcp(CDN), "connected");
    assert_eq!(guarded.does("say hello"), "hello");
    assert_eq!(guarded.udp(CDN), "refused");
    assert_eq!(next_with(&mut events, "destination", CDN)["protocol"], "udp");
    assert_eq!(guarded.does("resolve db.local"), EVIL);
    assert_eq!(guarded.udp(EVIL), "refused");
    assert_eq!(refused(&mut events)["reason"], "port");
    for name in ["evil.example", "img.example.com", "an-img.example.com", "example.com"] {
        assert_eq!(guarded.does(&format!("resolve {name}")), "unknown");
        assert_eq!(next_with(&mut events, "name", name)["reason"], "name");
    }
    end(side);
    assert_eq!(guarded.does("udp 192.0.2.7 9"), "sent");
    assert_eq!(guarded.does("udp 192.0.3.7 9"), "refused");
    assert_eq!(guarded.does("options 192.0.2.7 9"), "refused");
    assert_eq!(
        guarded.learned(),
        [
            ("*.img.example.com".to_owned(), CDN.to_owned()),
            ("*.local".to_owned(), EVIL.to_owned()),
            ("shop.example.com".to_owned(), SHOP.to_owned()),
            ("shop.example.com".to_owned(), SHOP_V6.to_owned()),
        ]
    );
    assert_eq!(guarded.arrived(), 0, "nothing else arrived");
    assert!(guarded.count("dropped") >= 13 && guarded.count("refused_in_shadow") == 0);
}

#[test]
fn a_name_is_known_as_long_as_its_ttl_and_a_connection_longer() {
    let rules = "resolver 10.77.0.2\nttl 0 2\nallow name *.img.example.com\n";
    let mut guarded = Guarded::enforcing("egress-ttl", rules);
    for (name, longest) in [("short.img.example.com", 1), ("a.img.example.com", 2)] {
        // A slow machine may take longer than the TTL: resolve the name again in that case.
        wait::until("it connects", || {
            guarded.does(&format!("resolve {name}"));
            guarded.tcp(CDN) == "connected"
        });
        wait::until("it is not known any more", || guarded.udp(CDN) == "refused");
        assert!(guarded.learned().is_empty());
        assert_eq!(guarded.does("say hello"), "hello", "a connection that is there stays");
        guarded.does(&format!("resolve {name}"));
        let known = guarded.run("learned --json").json();
        assert!(known.as_array().unwrap().iter().all(|one| one["seconds"].as_u64().unwrap() <= longest));
    }
    guarded.with_rules("apply", &format!("{rules}allow dst 192.0.2.0/24\n")).success();
    assert_eq!(guarded.does("say again"), "again");
    let dropped = guarded.count("dropped");
    guarded.with_rules("apply", "allow name *.img.example.com proto udp\n").success();
    writeln!(guarded.client.orders, "say no").unwrap();
    wait::until("the connection's packets are dropped", || guarded.count("dropped") > dropped);
    guarded.with_rules("apply", rules).success();
    assert_eq!(guarded.client.answers.next().unwrap().unwrap(), "no", "TCP sends it again");
}

#[test]
fn unrequested_answers_are_ignored() {
    let rules = "resolver 10.77.0.2\nallow name *.example.com\nask *\n";
    let mut guarded = Guarded::enforcing("egress-poison", rules);
    let name = format!("{SILENT}.example.com");
    let evil = ["silent.example.com", "silenz.example.com"]
        .map(|name| (name, 60, Data::Address(EVIL.parse().unwrap())));
    let port: u16 = guarded.does(&format!("open {NEAR_ADDRESS}")).parse().unwrap();
    let client = SocketAddr::new(IpAddr::V4(NEAR_ADDRESS.parse::<Ipv4Addr>().unwrap()), port);
    assert_eq!(guarded.does(&format!("ask {FAR_ADDRESS} {name} 7")), "sent");
    let (query, from) = guarded.server.unanswered();
    assert_eq!(from, client);
    assert_eq!(&query[13..19], b"silent");
    let with = |number: u16, name: &str| {
        let mut query = query.clone();
        query[..2].copy_from_slice(&number.to_be_bytes());
        query[13..19].copy_from_slice(name.as_bytes());
        query
    };
    let stranger = guarded.network.far.inside(|| UdpSocket::bind((EVIL, 53)).unwrap());
    let elsewhere = guarded.network.far.inside(|| UdpSocket::bind((FAR_ADDRESS, 5353)).unwrap());
    let good = answer(&query, &evil);
    let mut query_again = good.clone();
    query_again[2] &= 0x7f;
    let mut failed = good.clone();
    failed[3] |= 2;
    // Each message arrives, and none is trusted: wrong address, port, query id or name, or not a response.
    let mut unasked = 0;
    let resolver = guarded.server.socket.try_clone().unwrap();
    for (what, sender, message, counted) in [
        ("not the resolver", &stranger, good.clone(), 0),
        ("another port", &elsewhere, good.clone(), 0),
        ("another number", &resolver, answer(&with(8, "silent"), &evil), 1),
        ("another name", &resolver, answer(&with(7, "silenz"), &evil), 1),
        ("a query", &resolver, query_again, 1),
        ("cut short", &resolver, good[..20].to_vec(), 1),
    ] {
        sender.send_to(&message, client).unwrap();
        guarded.does("receive");
        unasked += counted;
        assert_eq!(guarded.count("answers_unasked"), unasked, "{what}");
        assert!(guarded.learned().is_empty(), "{what}");
        assert_eq!(guarded.udp(EVIL), "refused", "{what}");
    }
    for (message, counted) in [(failed, 0), (good, 1)] {
        guarded.server.socket.send_to(&message, client).unwrap();
        assert_eq!(guarded.does("receive"), "0007");
        unasked += counted;
        assert_eq!(guarded.count("answers_unasked"), unasked);
        assert!(guarded.learned().is_empty());
    }
    // A message that ends inside a record: the records before it are used, and nothing else happens.
    assert_eq!(guarded.does(&format!("ask {FAR_ADDRESS} {name} 9")), "sent");
    let (query, _) = guarded.server.unanswered();
    let two = [evil[0].clone(), ("silent.example.com", 60, Data::Address(SHOP.parse().unwrap()))];
    let whole = answer(&query, &two);
    guarded.server.socket.send_to(&whole[..whole.len() - 3], client).unwrap();
    assert_eq!(guarded.does("receive"), "0009");
    assert_eq!(guarded.learned(), [("*.example.com".to_owned(), EVIL.to_owned())]);
    assert_eq!(guarded.udp(EVIL), "sent");
    let strange = guarded.does(&format!("strange {FAR_ADDRESS} a.example.com"));
    assert_eq!(strange, ["refused"; 8].join(" "));
    let reader = guarded.run("follow --count 14").success();
    assert_eq!(reader.matches(r#""reason":"query""#).count(), 8, "{reader}");
}

#[test]
fn in_shadow_everything_passes_and_what_would_not_is_reported() {
    let mut guarded = Guarded::new("egress-shadow");
    guarded.with_rules("apply", RULES).success();
    let mut side = guarded.follow();
    let mut events = BufReader::new(side.stdout.take().unwrap()).lines();
    assert_eq!(guarded.udp(SHOP), "sent");
    wait::until("it came", || guarded.arrived() == 1);
    let event = refused(&mut events);
    assert_eq!((&event["reason"], &event["dropped"]), (&json!("destination"), &json!(false)));
    assert_eq!(guarded.does("resolve evil.example"), EVIL);
    assert_eq!(next_with(&mut events, "name", "evil.example")["dropped"], false);
    assert_eq!(guarded.tcp(EVIL), "connected");
    assert!(guarded.learned().is_empty());
    // Addresses of allowed names are learned in both modes, so `enforce` knows them at once.
    assert_eq!(guarded.does("resolve shop.example.com"), format!("{SHOP} {SHOP_V6}"));
    assert_eq!(guarded.count("dropped"), 0);
    guarded.run("mode enforce").success();
    assert_eq!((guarded.udp(SHOP), guarded.udp(EVIL)), ("sent".to_owned(), "refused".to_owned()));
    guarded.run("mode shadow").success();
    assert_eq!(guarded.udp(EVIL), "sent");
    end(side);
}

#[test]
fn a_file_of_rules_may_say_the_mode() {
    let mut guarded = Guarded::new("egress-mode");
    let enforcing = format!("mode enforce # at once\n{RULES}");
    let difference = guarded.with_rules("diff", &enforcing);
    assert!(difference.stdout.ends_with("- mode shadow\n+ mode enforce\n"), "{difference:?}");
    assert_eq!(guarded.with_rules("apply", &enforcing).success(), "5 rules, mode enforce\n");
    assert_eq!(guarded.udp(EVIL), "refused");
    guarded.with_rules("diff", &enforcing).success();
    assert_eq!(guarded.run("list").success(), RULES);
    assert_eq!(guarded.with_rules("apply", RULES).success(), "5 rules, mode enforce\n");
    for (rules, says) in [
        ("mode shadow\nmode enforce\n", "two lines say the mode"),
        ("ask a\nmode on\n", "line 2: \"on\" is no mode"),
        ("mode shadow\nallow dst 10.0.0.1/8\n", "line 2: "),
    ] {
        guarded.with_rules("apply", rules).fails(6, &[says, "nothing was changed"]);
        assert_eq!(guarded.run("mode").success(), "enforce\n", "{rules}");
    }
    guarded.with_rules("apply", &format!("{RULES}mode shadow\n")).success();
    assert_eq!((guarded.run("mode").success().as_str(), guarded.udp(EVIL).as_str()), ("shadow\n", "sent"));
}

#[test]
fn bad_rules_are_named_and_change_nothing() {
    let mut guarded = Guarded::enforcing("egress-bad", RULES);
    for (rules, says) in [
        ("allow name a\nallow dst 10.0.0.1/8\n", "line 2: \"10.0.0.1/8\" is no prefix"),
        ("allow name *a.com", "line 1: \"*a.com\" has a star that is no label"),
        ("ask a\n\nask A # the same", "line 3: line 1 says the same"),
        ("resolver ns.example", "line 1: \"ns.example\" is no address"),
    ] {
        guarded.with_rules("apply", rules).fails(6, &["standard input, ", says, "nothing was changed"]);
        guarded.with_rules("diff", rules).fails(6, &[says]);
    }
    guarded.with_rules("apply", "ttl 1 2\nttl 1 3").fails(6, &["two rules are about ttl"]);
    let many: String = (0..=128).map(|number| format!("resolver 10.0.0.{number}\n")).collect();
    guarded.with_rules("apply", &many).fails(6, &["room for 128 resolvers", "nothing was changed"]);
    guarded.run("apply /no/such/rules").fails(1, &["cannot read /no/such/rules"]);
    guarded.run("mode open").fails(2, &["shadow", "enforce"]);
    let difference = guarded.with_rules("diff", &format!("ask x\n{}", RULES.replace("ask *.local\n", "")));
    assert_eq!((difference.code, difference.stdout.as_str()), (1, "- ask *.local\n+ ask x\n"));
    guarded.with_rules("diff", RULES).success();
    let program = guarded.program;
    for line in ["list", "learned", "mode shadow", "follow --count 1", "apply /dev/null"] {
        refusals(&mut guarded.gallery, "egress-guard", program, line);
    }
    assert_eq!(guarded.run("list --json").json()["mode"], "enforce");
    assert_eq!(guarded.run("list").success(), RULES);
    turns(&guarded.gallery, program, &|| guarded.with_rules("apply", RULES), &|| guarded.run("unlock"));
}

#[test]
fn works_without_its_daemon_and_counts_unread_reports() {
    let mut guarded = Guarded::enforcing("egress-away", RULES);
    let mut side = guarded.follow();
    let mut lines = BufReader::new(side.stdout.take().unwrap()).lines();
    assert_eq!(guarded.udp(EVIL), "refused");
    assert_eq!(refused(&mut lines)["destination"], EVIL);
    guarded.gallery.daemon.kill();
    assert_eq!(guarded.does("resolve shop.example.com"), format!("{SHOP} {SHOP_V6}"));
    assert_eq!((guarded.udp(SHOP), guarded.udp(EVIL)), ("sent".to_owned(), "refused".to_owned()));
    guarded.gallery.restart();
    assert_eq!((guarded.udp(SHOP), guarded.udp(EVIL)), ("sent".to_owned(), "refused".to_owned()));
    assert_eq!(guarded.learned().len(), 2);
    // The output is not read, so the companion command blocks on its pipe; then the ring buffer fills.
    assert_eq!(guarded.does(&format!("udp {EVIL} {PORT} 5000")), "refused");
    let mut errors = BufReader::new(side.stderr.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let mut count = 0_u64;
        while refused(&mut lines)["destination"] != SHOP {
            count += 1;
        }
        count
    });
    let said = errors.next().unwrap().unwrap();
    let lost: u64 = said.strip_suffix(" events lost: the ring was full").unwrap().parse().unwrap();
    assert_eq!(guarded.does(&format!("udp {SHOP} 1")), "refused");
    assert_eq!(reader.join().unwrap() + lost, 5002, "each is reported, or counted as lost");
    end(side);
}

fn with_rules_by_name(gallery: &Gallery, programs: [&str; 2], text: &str) {
    for program in programs {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    let rules = gallery.daemon.path("rules");
    fs::write(&rules, text).unwrap();
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    gallery.side("egress-guard", &format!("--app egress-guard apply {}", rules.display())).success();
    assert_eq!(gallery.side("egress-guard", "--app egress-guard list").success(), text);
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let (group, network) = (Group::new("egress-manifest"), Network::new());
    let mut client = Client::new(&gallery, &network, &group);
    let manifest = gallery.manifest("egress-guard");
    let text = fs::read_to_string(&manifest).unwrap();
    assert_eq!(text.matches("path: /guarded.slice").count(), 2);
    fs::write(&manifest, text.replace("/guarded.slice", &group.path)).unwrap();
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    with_rules_by_name(&gallery, ["egress_guard_out", "egress_guard_in"], "allow dst ::1/128 proto udp\n");
    assert_eq!(client.does("udp 127.0.0.1 9"), "sent");
    gallery.side("egress-guard", "--app egress-guard mode enforce").success();
    assert_eq!(client.does("udp 127.0.0.1 9"), "refused");
    assert_eq!(client.does("udp ::1 9"), "sent");
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("egress-guard", "--app egress-guard list").fails(5, &["egress-guard"]);
    assert_eq!(client.does("udp 127.0.0.1 9"), "sent");
}
