//! Tests of chain commands: requests, and shown answers.

use std::fs;

use crate::fake::{self, FakeDaemon, Script, link, program};
use bpfman_proto::ext::v1 as ext;
use serde_json::{Value, json};

fn script() -> Script {
    let mut script =
        Script { programs: vec![program(7, "pass")], links: vec![link(1007, 7)], ..Script::default() };
    script.chains.shown.chain = Some(ext::GetChainResponse {
        strategy: "direct".into(),
        members: vec![ext::ChainMember { link_id: 1007, program_id: 7, ..Default::default() }],
        ..Default::default()
    });
    script
}

fn daemon() -> FakeDaemon {
    FakeDaemon::start(script())
}

fn json_of(daemon: &FakeDaemon, line: &str) -> Value {
    let outcome = daemon.run(&format!("{line} -o json"));
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn a_chain_is_asked_for_by_its_hook() {
    let daemon = daemon();
    let outcome = daemon.run("chain show tc:eth0:ingress@/run/netns/blue");
    assert!(
        outcome.stdout.starts_with(" Chain\n Hook:                        tc:eth0:ingress@/run/netns/blue\n")
    );
    let asked = "Hook { kind: \"tc\", iface: \"eth0\", direction: \"ingress\", netns: \"/run/netns/blue\" }";
    assert!(daemon.asked().contains(asked), "{}", daemon.asked());
    assert!(daemon.asked().contains("sample_ms: 0"), "{}", daemon.asked());
    assert_eq!(daemon.run("chain show xdp:eth0 --sample 200 -q").stdout, "1007\n");
    assert!(daemon.asked().contains("sample_ms: 200"), "{}", daemon.asked());
}

#[test]
fn watching_ends_when_output_is_closed() {
    let daemon = daemon();
    let socket = daemon.socket.display();
    let script = format!(
        "{} --socket-path {socket} chain show xdp:eth0 --watch --sample 1 | head -n 40 | grep -c ' Chain'",
        env!("CARGO_BIN_EXE_bpfman")
    );
    let outcome = fake::run(std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.trim().parse::<u32>().unwrap() > 1, "{outcome:?}");
}

#[test]
fn chain_members_use_the_newer_call() {
    let daemon = daemon();
    let line = "attach 7 xdp -i eth0 -p 5 --before role=lb,8 --after foreign:cil --role wall --isolated \
                --allow-redirect --hold";
    assert!(daemon.run(line).stdout.contains(" Link ID:            1007\n"));
    for piece in [
        "ChainAttachRequest { program_id: 7",
        "Order { role: \"wall\", before: [\"role=lb\", \"8\"], after: [\"foreign:cil\"] }",
        "isolated: true, redirect_may_proceed: true, keep_attached: true",
    ] {
        assert!(daemon.asked().contains(piece), "{}", daemon.asked());
    }
    let plain = self::daemon();
    let warned = plain.run("attach 7 tc -d ingress -i eth0 -p 5 --proceed-on pipe redirect");
    assert!(warned.stderr.starts_with("warning: the chain proceeds on redirect"), "{warned:?}");
    let plain = self::daemon();
    let quiet = plain.run("attach 7 xdp -i eth0 -p 5");
    assert_eq!(quiet.stderr, "", "{quiet:?}");
    assert!(plain.asked().contains("ChainAttachRequest {") && plain.asked().contains("again: false"));
    let again = self::daemon();
    assert_eq!(again.run("attach 7 xdp -i eth0 -p 5 --again").stderr, "");
    assert!(again.asked().contains("again: true"), "{}", again.asked());
    let tcx = self::daemon();
    assert_eq!(tcx.run("attach 7 tcx -d ingress -i eth0 -p 5").stderr, "");
    assert!(tcx.asked().starts_with("AttachRequest {") && !tcx.asked().contains("ChainAttach"));
}

#[test]
fn patterns_are_attached_listed_and_ended() {
    let mut script = script();
    script.chains.matching = ext::Matching {
        id: 4,
        program_id: 7,
        program_name: "pass".into(),
        links: vec![link(1007, 7)],
        failures: vec!["veth1: held".into()],
        ..Default::default()
    };
    let daemon = FakeDaemon::start(script);
    let json = json_of(&daemon, "attach 7 xdp --iface-match veth*,lo --iface-except veth9 -p 5");
    assert_eq!((&json["match_id"], &json["links"][0]["link_id"]), (&json!(4), &json!(1007)));
    let asked = daemon.asked();
    assert!(asked.contains("names: [\"veth*\", \"lo\"], except: [\"veth9\"]"), "{asked}");
    assert_eq!(daemon.run("list matches -q").stdout, "4\n");
    assert_eq!(json_of(&daemon, "list matches")["matches"][0]["failures"], json!(["veth1: held"]));
    assert_eq!(daemon.run("detach match 4").stdout, "");
    assert_eq!(
        json_of(&daemon, "detach match 4"),
        json!({"match_id": 4, "links_ended": 3, "outcome": "detached"})
    );
}

#[test]
fn changes_in_place_show_what_is_there_now() {
    let mut script = script();
    script.chains.replaced = ext::ReplaceProgramResponse {
        program: Some(program(9, "pass")),
        previous_program_id: Some(7),
        ..Default::default()
    };
    let daemon = FakeDaemon::start(script);
    let updated = json_of(&daemon, "update link 1007 --position 0 --proceed-on drop");
    assert_eq!((&updated["outcome"], &updated["link"]["link_id"]), (&json!("changed"), &json!(1007)));
    assert_eq!(daemon.run("update link 1007 -p 5 -q").stdout, "1007\n");
    let replaced = json_of(&daemon, "replace 7 file -p x.o");
    assert_eq!(replaced["program"]["program_id"], 9);
    assert_eq!(replaced["previous_program_id"], 7);
    assert_eq!(daemon.run("replace 7 --rollback -q").stdout, "9\n");
    assert!(daemon.asked().contains("RollbackProgramRequest { program_id: 7 }"), "{}", daemon.asked());
    assert_eq!(daemon.run("adopt 12 -p 5 -q").stdout, "1007\n");
}

#[test]
fn switches_are_silent_and_json_has_their_state() {
    let mut script = script();
    script.chains.switched = ext::SetHookResponse { changed: true, counters: true, ..Default::default() };
    let daemon = FakeDaemon::start(script);
    for (line, sends) in [
        ("chain counters xdp:eth0 on", "counters: Some(true)"),
        ("chain timing xdp:eth0 off", "timing: Some(false)"),
        ("chain keep xdp:eth0 on", "keep_attached: Some(true)"),
        ("chain optimise xdp:eth0 share", "optimisation: Some(\"share\")"),
        ("debug hold xdp:eth0", "held: Some(true)"),
        ("debug release xdp:eth0", "held: Some(false)"),
        ("debug subprograms xdp:eth0 on", "as_subprograms: Some(true)"),
    ] {
        let outcome = daemon.run(line);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{line}");
        let asked = daemon.asked();
        let last = asked.lines().last().unwrap();
        assert!(last.contains(sends) && last.matches("Some").count() == 2, "{line}: {last}");
    }
    let json = json_of(&daemon, "chain counters xdp:eth0 on");
    assert_eq!((&json["outcome"], &json["counters"]), (&json!("changed"), &json!(true)));
}

#[test]
fn freeze_by_an_older_daemon_warns_that_it_does_not_end() {
    let warns = |left: Option<u64>| {
        let mut script = script();
        script.chains.switched =
            ext::SetHookResponse { changed: true, held: true, held_seconds_left: left, ..Default::default() };
        let outcome = FakeDaemon::start(script).run("debug freeze xdp:eth0 --ttl 10m");
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""));
        outcome.stderr
    };
    assert_eq!(warns(Some(600)), "");
    let older = warns(None);
    assert!(older.starts_with("warning: this freeze does not end by itself"), "{older}");
    assert!(older.contains("`bpfman debug release xdp:eth0`"), "{older}");
}

#[test]
fn explanations_are_paragraphs() {
    let mut script = script();
    script.chains.findings = vec!["wall drops all of it.".into(), "count has no runs.".into()];
    let daemon = FakeDaemon::start(script);
    assert_eq!(
        daemon.run("explain xdp:eth0 count").stdout,
        "wall drops all of it.\n\ncount has no runs.\n\n"
    );
    assert!(daemon.asked().contains("member: \"count\""), "{}", daemon.asked());
    let json = json_of(&daemon, "explain xdp:eth0");
    assert!(json["member"].is_null() && json["findings"][1] == "count has no runs.");
}

#[test]
fn a_chain_that_differs_is_shown_and_ends_with_a_conflict() {
    let part = |matches| ext::VerifiedPart {
        part: "program 1 of 1".into(),
        expected: "tag ab".into(),
        found: "tag cd".into(),
        matches,
        ..Default::default()
    };
    let mut script = script();
    script.chains.verified = ext::VerifyChainResponse { matches: false, parts: vec![part(false)] };
    let daemon = FakeDaemon::start(script);
    let outcome = daemon.run("chain verify xdp:eth0");
    assert_eq!(outcome.code, 7);
    assert!(outcome.stdout.contains("NO    tag ab    tag cd"), "{outcome:?}");
    assert!(outcome.stderr.starts_with("xdp:eth0 does not run what its programs make: 1 of 1"));
    let mut script = self::script();
    script.chains.verified = ext::VerifyChainResponse { matches: true, parts: vec![part(true)] };
    let outcome = FakeDaemon::start(script).run("chain verify xdp:eth0");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[test]
fn the_doctor_names_every_difference_once() {
    let mut script = script();
    script.links[0].state = "unpinned: its pin was removed".into();
    script.links[0].standing = ext::Standing::Unpinned.into();
    script.chains.hooks = vec![
        ext::HookSummary { hook: "xdp:eth0".into(), strategy: "splice".into(), ..Default::default() },
        ext::HookSummary {
            hook: "xdp:eth1".into(),
            state: "replaced: program 3".into(),
            standing: ext::Standing::Replaced.into(),
            ..Default::default()
        },
    ];
    script.chains.verified = ext::VerifyChainResponse {
        matches: false,
        parts: vec![ext::VerifiedPart { part: "program 1 of 1".into(), ..Default::default() }],
    };
    script.chains.matching.failures = vec!["veth1: held".into()];
    let daemon = FakeDaemon::start(script);
    let outcome = daemon.run("doctor");
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert!(outcome.stdout.contains(" fix: xdp:eth0: bpfman chain show xdp:eth0\n"), "{outcome:?}");
    assert!(
        outcome.stdout.starts_with(" checked: 1 programs, 1 links, 1 chains, 1 patterns\n"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.starts_with("4 findings\nhint: "), "{outcome:?}");
    assert_eq!(daemon.run("doctor -q").stdout, "link 1007\nxdp:eth0\nxdp:eth1\nmatch 0\n");
}

#[test]
fn doctor_advises_what_helps_in_each_state() {
    use ext::Standing::{Elsewhere, Gone, Lost, Unreachable, Waiting};
    for (standing, fix) in [
        (Waiting, "bpfman get link 1007"),
        (Elsewhere, "bpfman get link 1007"),
        (Unreachable, "bpfman get link 1007"),
        (Gone, "bpfman detach 1007"),
        (Lost, "systemctl restart bpfmand"),
    ] {
        let mut script = script();
        script.links[0].state = "not as it was".into();
        script.links[0].standing = standing.into();
        let outcome = FakeDaemon::start(script).run("doctor");
        assert_eq!(outcome.code, 7, "{outcome:?}");
        assert!(outcome.stdout.contains(&format!(" fix: link 1007: {fix}\n")), "{outcome:?}");
        let advised = [&outcome.stdout, &outcome.stderr].iter().any(|text| text.contains("restart"));
        assert_eq!(advised, standing == Lost, "{outcome:?}");
    }
    let mut script = script();
    script.programs[0].standing = Waiting.into();
    script.chains.hooks = vec![ext::HookSummary {
        hook: "xdp:eth1".into(),
        state: "unreachable: nothing leads there".into(),
        standing: Unreachable.into(),
        ..Default::default()
    }];
    let outcome = FakeDaemon::start(script).run("doctor");
    for fix in [" fix: program 7: bpfman get program 7\n", " fix: xdp:eth1: bpfman chain show xdp:eth1\n"] {
        assert!(outcome.stdout.contains(fix), "{outcome:?}");
    }
    assert!(!outcome.stdout.contains("restart") && !outcome.stderr.contains("restart"), "{outcome:?}");
}

#[test]
fn change_that_has_not_finished_is_no_finding() {
    let mut script = script();
    let (state, standing) = ("changing: an operation changes it".to_owned(), ext::Standing::Changing.into());
    script.links[0].state.clone_from(&state);
    script.links[0].standing = standing;
    script.chains.hooks =
        vec![ext::HookSummary { hook: "xdp:eth0".into(), state, standing, ..Default::default() }];
    script.chains.verified = ext::VerifyChainResponse { matches: false, parts: Vec::new() };
    let daemon = FakeDaemon::start(script);
    let outcome = daemon.run("doctor");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.contains("xdp:eth0: an operation changes its chain"), "{outcome:?}");
    let listed = daemon.run("list links").stdout;
    assert!(listed.contains("changing"), "{listed}");
}

fn strays() -> ext::ListStraysResponse {
    let stray = |pin: &str, kind: ext::StrayKind| ext::Stray {
        pin: pin.into(),
        kind: kind.into(),
        program_id: 17,
        program_name: "xdp_chain".into(),
        description: "link 5 runs program 17".into(),
        ..Default::default()
    };
    let strays =
        vec![stray("/fs/links/5", ext::StrayKind::Link), stray("/fs/prog_17", ext::StrayKind::Program)];
    ext::ListStraysResponse { strays, pins_problem: "the bpffs is no longer mounted at /fs".into() }
}

#[test]
fn stray_is_a_finding_and_removed_by_pin() {
    let mut script = script();
    script.chains.strays = strays();
    let daemon = FakeDaemon::start(script);
    let outcome = daemon.run("doctor");
    assert_eq!(outcome.code, 14, "{outcome:?}");
    assert!(
        outcome.stderr.contains("hint: the gravest is bpffs: `systemctl restart bpfmand`"),
        "{outcome:?}"
    );
    assert!(
        outcome.stdout.contains(" fix: stray /fs/links/5: bpfman stray remove /fs/links/5\n"),
        "{outcome:?}"
    );
    assert_eq!(daemon.run("doctor -q").stdout, "bpffs\nstray /fs/links/5\nstray /fs/prog_17\n");
    let listed = daemon.run("stray list").stdout;
    assert!(listed.contains("program") && listed.contains("/fs/prog_17"), "{listed}");
    assert_eq!(daemon.run("stray remove /fs/prog_17").stdout, "removed /fs/prog_17\n");
    assert_eq!(daemon.run("stray remove --all").stdout, "removed /fs/links/5\nremoved /fs/prog_17\n");
    assert_eq!(daemon.run("stray remove").code, 2);
    assert_eq!(daemon.run("stray remove --all /fs/prog_17").code, 2);
}

#[test]
fn a_healthy_system_has_no_findings() {
    let outcome = daemon().run("doctor");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.stdout.ends_with(" no differences from the records\n\n"), "{outcome:?}");
}

#[test]
fn packets_are_traced_and_what_goes_on_is_written() {
    let mut script = script();
    let step = ext::TraceStep {
        program_name: "nat".into(),
        verdict: "pass".into(),
        proceeded: true,
        data: Some(vec![9; 20]),
        ..Default::default()
    };
    script.chains.trace = ext::PacketTrace { steps: vec![step], verdict: "pass".into(), agrees: true };
    let daemon = FakeDaemon::start(script);
    let packet = "000102030405060708090a0b0800";
    let outcome =
        daemon.run(&format!("chain trace xdp:eth0 --packet {packet} --packet {packet}ff --out a.pcap"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(
        outcome.stdout.contains(" packet 2 (15 bytes, --packet)\n   0 nat   pass, proceeds"),
        "{outcome:?}"
    );
    let written = fs::read(daemon.folder.path().join("a.pcap")).unwrap();
    assert_eq!(written.len(), 24 + 2 * (16 + 20));
    let json = json_of(&daemon, "chain trace xdp:eth0 --pcap a.pcap");
    assert_eq!(
        (&json["packets"][1]["source"], &json["packets"][1]["length"]),
        (&json!("a.pcap"), &json!(20))
    );
    assert_eq!(json["note"], "a test run");
}

#[test]
fn a_disagreement_is_a_conflict_and_bad_captures_are_named() {
    let daemon = daemon();
    let outcome = daemon.run("chain trace xdp:eth0 --packet 000102030405060708090a0b0800");
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert!(outcome.stderr.contains("for 1 of 1 packets the chain and its programs"), "{outcome:?}");
    fs::write(daemon.folder.path().join("notes"), "no capture").unwrap();
    for (line, code, says) in [
        ("--pcap notes", 6, "notes: not a capture"),
        ("--pcap absent", 5, "absent"),
        ("--packet 00", 6, "packet 1 (--packet) has 1 bytes"),
        ("--packet 0", 2, "pairs of hexadecimal digits"),
    ] {
        let outcome = daemon.run(&format!("chain trace xdp:eth0 {line}"));
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{line}: {outcome:?}");
    }
}
