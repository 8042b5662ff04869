//! Commands about chains and switches of hooks, on real hooks.

use std::fs;
use std::process::Command;

use bpfman_tests::command::{Outcome, run};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Network, compile};
use serde_json::{Value, json};

pub struct Bench {
    pub daemon: Daemon,
    pub network: Network,
}

impl Bench {
    pub fn new() -> Self {
        Self { daemon: Daemon::start(), network: Network::new() }
    }

    pub fn far(&self) -> String {
        self.network.far.path().display().to_string()
    }

    fn hook(&self) -> String {
        format!("xdp:{INTERFACE}@{}", self.far())
    }

    pub fn load(&self, who: u8, verdict: u8) -> String {
        let path = compile::object("chain").display().to_string();
        let line = format!(
            "load file -p {path} --programs xdp:xdp_member -g who={who:02x}000000 verdict={verdict:02x}000000 -q"
        );
        self.daemon.bpfman(&line).success().trim().to_owned()
    }

    pub fn attach(&self, program: &str, flags: &str) -> String {
        let line = format!("attach {program} xdp -i {INTERFACE} -n {} {flags} -q", self.far());
        self.daemon.bpfman(&line).success().trim().to_owned()
    }

    pub fn run(&self, line: &str) -> Outcome {
        self.daemon.bpfman(&line.replace("HOOK", &self.hook()))
    }

    pub fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} -o json")).json()
    }
}

pub const DROP: u8 = 1;
pub const PASS: u8 = 2;

pub fn strings<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap()).collect()
}

#[test]
fn counters_say_where_packets_ended() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    bench.run("chain counters HOOK off").success();
    let drops = bench.attach(&bench.load(2, DROP), "-p 20");
    bench.attach(&bench.load(3, PASS), "-p 30");
    let traffic = Traffic::new(&bench.network);
    assert_eq!(traffic.send(5), 0, "this is not counted");
    assert!(bench.json("chain show HOOK")["members"][0]["runs"].is_null());
    let switched = bench.json("chain counters HOOK on");
    assert_eq!((&switched["outcome"], &switched["counters"]), (&json!("changed"), &json!(true)));
    assert_eq!(bench.json("chain counters HOOK on")["outcome"], "unchanged");
    assert_eq!(traffic.send(4), 0);
    // Other packets of the namespace pass all three members, like the marker that follows the datagrams.
    let shown = bench.json("chain show HOOK");
    let runs = |shown: &Value| -> Vec<u64> {
        shown["members"].as_array().unwrap().iter().map(|member| member["runs"].as_u64().unwrap()).collect()
    };
    let [first, second, third] = runs(&shown)[..] else { panic!("{shown:#}") };
    assert_eq!((first, second), (third + 4, third + 4), "{shown:#}");
    assert_eq!(shown["members"][1]["ended"], json!([{"verdict": "drop", "packets": 4}]), "{shown:#}");
    assert_eq!(shown["all_proceeded"], third);
    bench.run(&format!("detach {drops}")).success();
    assert_eq!(traffic.send(2), 2);
    let shown = bench.json("chain show HOOK");
    let [now, last] = runs(&shown)[..] else { panic!("{shown:#}") };
    assert!(now >= first + 3 && now == last + 4, "{shown:#}");
    let drawn = bench.run("chain show HOOK").success();
    assert!(drawn.contains("   |    runs  ") && drawn.contains("\n every program proceeded: "), "{drawn}");
}

#[test]
fn rates_are_measured_over_the_time_that_is_asked_for() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    bench.attach(&bench.load(2, PASS), "-p 20");
    bench.run("chain counters HOOK on").success();
    assert_eq!(bench.json("chain show HOOK")["packets_per_second"], 0.0);
    let traffic = Traffic::new(&bench.network);
    let stream = traffic.stream();
    let shown = bench.json("chain show HOOK --sample 300");
    assert!(shown["packets_per_second"].as_f64().unwrap() > 0.0, "{shown:#}");
    assert!(shown["members"][1]["runs_per_second"].as_f64().unwrap() > 0.0, "{shown:#}");
    assert!(stream.end() > 0);
}

#[test]
fn hooks_are_listed_and_verified_and_the_doctor_is_content() {
    let bench = Bench::new();
    assert_eq!(bench.run("chain list -q").success(), "");
    let program = bench.load(1, PASS);
    bench.attach(&program, "-p 10");
    bench.attach(&bench.load(2, PASS), "-p 20");
    let list = bench.json("chain list");
    assert_eq!(strings(&list["hooks"], "hook"), [bench.hook()], "{list:#}");
    assert_eq!((&list["hooks"][0]["member_count"], &list["hooks"][0]["state"]), (&json!(2), &json!("ok")));
    let verified = bench.json("chain verify HOOK");
    assert_eq!(verified["matches"], true, "{verified:#}");
    assert!(verified["parts"].as_array().unwrap().len() > 2, "{verified:#}");
    let diagnosis = bench.json("doctor");
    assert_eq!(diagnosis["checked"], json!({"programs": 2, "links": 2, "chains": 1, "matches": 0}));
    assert_eq!(diagnosis["findings"], json!([]));
}

#[test]
fn explanations_name_what_stands_before() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, DROP), "-p 10");
    let last = bench.attach(&bench.load(2, PASS), "-p 20");
    bench.run("chain counters HOOK on").success();
    assert_eq!(Traffic::new(&bench.network).send(3), 0);
    let explained = bench.json(&format!("explain HOOK {last}"));
    assert_eq!(explained["member"], last.as_str());
    let findings = explained["findings"].to_string();
    assert!(findings.contains("xdp_member") && findings.contains("drop"), "{explained:#}");
    assert!(!bench.run("explain HOOK").success().is_empty());
    bench.run("explain HOOK nobody").fails(5, &["nobody", "xdp_member (link"]);
    bench.network.far.ip(&["link", "set", INTERFACE, "down"]);
    let found = bench.json("explain HOOK")["findings"][0].to_string();
    assert!(found.contains(INTERFACE) && found.contains("is down"), "{found}");
    let pins = bench.daemon.fs().join("xdp");
    let pin = std::fs::read_dir(&pins).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(pin).unwrap();
    let found = bench.json("explain HOOK")["findings"][0].to_string();
    assert!(found.contains("lost: its link was removed"), "{found}");
}

#[test]
fn a_held_chain_stays_as_it_is_until_it_is_released() {
    let bench = Bench::new();
    let program = bench.load(1, PASS);
    let link = bench.attach(&program, "-p 10");
    assert_eq!(bench.json("debug hold HOOK")["held"], true);
    let state = bench.daemon.state();
    for line in [
        format!("attach {program} xdp -i {INTERFACE} -n {} -p 20 --again", bench.far()),
        format!("detach {link}"),
        format!("update link {link} --proceed-on drop"),
        format!("unload {program}"),
        "chain counters HOOK on".to_owned(),
    ] {
        bench.run(&line).fails(7, &["frozen", "user 0"]);
    }
    assert_eq!(bench.daemon.state(), state);
    assert!(
        bench
            .run("chain show HOOK")
            .success()
            .contains("Switches:                    frozen by user 0 for another ")
    );
    bench.run("debug release HOOK").success();
    bench.run(&format!("detach {link}")).success();
}

#[test]
fn members_become_functions_that_tracing_tools_see() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    bench.attach(&bench.load(2, PASS), "-p 20");
    let ways = |shown: &Value| -> Vec<String> {
        strings(&shown["members"], "way").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(ways(&bench.json("chain show HOOK")), ["inline", "inline"]);
    bench.run("debug subprograms HOOK on").success();
    let shown = bench.json("chain show HOOK");
    assert_eq!(ways(&shown), ["function", "function"], "{shown:#}");
    let dump = run(&["bpftool", "prog", "dump", "xlated", "id", &shown["program_id"].to_string()]);
    assert!(dump.matches("call pc").count() >= 2, "{dump}");
    assert_eq!(bench.json("chain verify HOOK")["matches"], true);
    bench.run("debug subprograms HOOK off").success();
    assert_eq!(ways(&bench.json("chain show HOOK")), ["inline", "inline"]);
}

#[test]
fn tools_see_the_lines_and_names_of_members() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    bench.attach(&bench.load(2, PASS), "-p 20");
    let id = bench.json("chain show HOOK")["program_id"].to_string();
    let lines = run(&["bpftool", "prog", "dump", "xlated", "id", &id, "linum"]);
    assert!(lines.contains("chain.bpf.c"), "{lines}");
    let program = run(&["bpftool", "prog", "show", "id", &id]);
    assert!(program.contains("name xdp_chain"), "{program}");
    let far = format!("--net={}", bench.far());
    let hooks = run(&["nsenter", &far, "bpftool", "net", "show"]);
    assert!(hooks.contains(&format!("{INTERFACE}(")) && hooks.contains(&id), "{hooks}");
}

#[test]
fn an_empty_chain_is_kept_where_that_is_asked_for() {
    let bench = Bench::new();
    let program = bench.load(1, DROP);
    let link = bench.attach(&program, "-p 10 --hold");
    let kept = bench.json("chain show HOOK");
    assert_eq!(kept["keep_attached"], true, "{kept:#}");
    bench.run(&format!("detach {link}")).success();
    assert_eq!(Traffic::new(&bench.network).send(2), 2, "an empty chain passes everything");
    let shown = bench.json("chain show HOOK");
    assert_eq!(shown["members"], json!([]), "{shown:#}");
    assert!(shown["program_id"].as_u64().is_some(), "{shown:#}");
    assert_eq!(bench.json("chain list")["hooks"][0]["member_count"], 0);
    let again = bench.attach(&program, "-p 10");
    assert_eq!(
        bench.json("chain show HOOK")["kernel_link_id"],
        kept["kernel_link_id"],
        "the hook never changed hands"
    );
    bench.run("chain keep HOOK off").success();
    bench.run(&format!("detach {again}")).success();
    bench.run("chain show HOOK").fails(5, &[INTERFACE]);
    assert_eq!(bench.run("chain list -q").success(), "");
}

#[test]
fn level_of_optimisation_is_chosen_for_a_hook() {
    let bench = Bench::new();
    for (slot, priority) in [(1, 10), (2, 20)] {
        bench.attach(&bench.load(slot, PASS), &format!("-p {priority}"));
    }
    let level = |level: &str| {
        let answer = bench.json(&format!("chain optimise HOOK {level}"));
        let shown = bench.json("chain show HOOK");
        assert_eq!((&answer["optimisation"], &shown["optimisation_limit"]), (&json!(level), &json!(level)));
        assert_eq!(Traffic::new(&bench.network).send(2), 2);
        bench.run("chain verify HOOK").success();
        shown
    };
    let folded = level("fold");
    assert_eq!(folded["optimisation"], "fold", "{folded:#}");
    assert!(folded["folded_instructions"].as_u64() > Some(0), "{folded:#}");
    let plain = level("none");
    assert_eq!(
        (&plain["optimisation"], &plain["folded_instructions"]),
        (&json!("none"), &json!(0)),
        "{plain:#}"
    );
    assert_ne!(plain["program_tag"], folded["program_tag"]);
    let shared = level("share");
    assert_eq!(shared["optimisation"], "share", "{shared:#}");
    assert!(shared["shared_header_tests"].as_u64() > Some(0), "{shared:#}");
    assert!(
        bench.run("chain show HOOK").success().contains("tests of headers are taken from a program before")
    );
    bench.run("chain optimise HOOK fast").fails(2, &["fast", "none", "fold", "share"]);
}

#[test]
fn isolated_members_run_as_programs_of_their_own() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    let apart = bench.attach(&bench.load(2, PASS), "-p 20 --isolated");
    let shown = bench.json("chain show HOOK");
    assert_eq!(strings(&shown["members"], "way"), ["inline", "own"], "{shown:#}");
    assert_eq!(Traffic::new(&bench.network).send(2), 2);
    bench.run(&format!("update link {apart} --isolated false")).success();
    let shown = bench.json("chain show HOOK");
    assert_eq!(strings(&shown["members"], "way"), ["inline", "inline"], "{shown:#}");
}

#[test]
fn missing_redirect_is_warned_of_unless_explicitly_allowed() {
    let bench = Bench::new();
    let program = bench.load(1, PASS);
    bench.attach(&program, "-p 20");
    let line = format!(
        "attach {program} xdp -i {INTERFACE} -n {} -p 10 --again --proceed-on redirect pass",
        bench.far()
    );
    let warned = bench.run(&line);
    assert_eq!(warned.code, 0, "{warned:?}");
    assert!(warned.stderr.contains("warning: the chain proceeds on redirect"), "{warned:?}");
    let explained = bench.run(&format!("explain {}", bench.hook())).success();
    assert!(explained.contains("proceeds on redirect"), "{explained}");
    let meant = bench.run(&format!("{line} --allow-redirect"));
    assert_eq!((meant.code, meant.stderr.as_str()), (0, ""), "{meant:?}");
}

#[test]
fn patterns_find_interfaces_now_and_later() {
    let bench = Bench::new();
    let program = bench.load(1, PASS);
    let far = bench.far();
    let line = format!("attach {program} xdp --iface-match veth* --iface-except veth9 -n {far} -p 10");
    let matching = bench.json(&line);
    let id = matching["match_id"].as_u64().unwrap();
    assert_eq!(matching["links"].as_array().unwrap().len(), 1, "{matching:#}");
    assert_eq!((&matching["iface_match"], &matching["netns_match"]), (&json!(["veth*"]), &json!([far])));
    for name in ["veth1", "veth9"] {
        bench.network.far.ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("p{name}")]);
    }
    let hooks = || bench.run("chain list -q").success();
    until("the new interface is attached", || hooks().contains(":veth1@"));
    assert!(!hooks().contains(":veth9@"), "{}", hooks());
    assert_eq!(bench.run("list matches -q").success(), format!("{id}\n"));
    assert_eq!(bench.json("list matches")["matches"][0]["links"].as_array().unwrap().len(), 2);
    let ended = bench.json(&format!("detach match {id}"));
    assert_eq!((&ended["links_ended"], &ended["outcome"]), (&json!(2), &json!("detached")));
    assert_eq!((hooks(), bench.run("list links -q").success()), (String::new(), String::new()));
    for (line, code, says) in [
        (format!("detach match {id}"), 5, id.to_string()),
        (format!("attach {program} xdp --iface-match veth* --iface-except * -p 1"), 6, "contradicts".into()),
        (format!("attach {program} xdp --iface-match [ -p 1"), 6, "[".into()),
        (format!("attach {program} xdp --iface-index 0 -p 1"), 6, "index 0".into()),
        (format!("attach {program} xdp --iface-match veth* -p 1 --hold"), 6, "hook by hook".into()),
        (format!("attach {program} xdp --iface-match veth* -p 1 -i veth0"), 2, "--iface".into()),
    ] {
        bench.run(&line).fails(code, &[&says]);
    }
    assert_eq!(bench.run("list matches -q").success(), "");
}

#[test]
fn a_program_is_replaced_and_put_back() {
    let bench = Bench::new();
    let program = bench.load(1, DROP);
    bench.attach(&program, "-p 10");
    let traffic = Traffic::new(&bench.network);
    assert_eq!(traffic.send(1), 0);
    let path = compile::object("chain").display().to_string();
    let replaced = bench.json(&format!("replace {program} file -p {path} -g who=05000000 verdict=02000000"));
    assert_eq!(traffic.send(2), 2, "the new version passes");
    let now = replaced["program"]["program_id"].as_u64().unwrap();
    assert_eq!(replaced["previous_program_id"].to_string(), program, "{replaced:#}");
    assert_eq!(replaced["links_switched"], 1);
    let kept = strings(&replaced["map_outcomes"], "outcome");
    assert!(kept.contains(&"kept"), "{replaced:#}");
    let back = bench.json(&format!("replace {now} --rollback"));
    assert_eq!(traffic.send(1), 0, "the old version drops: {back:#}");
    let id = back["program"]["program_id"].as_u64().unwrap();
    let state = bench.daemon.state();
    for (line, code, says) in [
        (format!("replace {id} file -p /nonexistent.o"), 5, "/nonexistent.o"),
        (format!("replace {id} file -p {path} --name absent"), 6, "absent"),
        (format!("replace {id} --rollback file -p {path}"), 2, "--rollback"),
        (format!("replace {id}"), 2, "file"),
        ("replace 4000000000 --rollback".to_owned(), 5, "4000000000"),
        (format!("replace {id} image -i 127.0.0.1:1/x:1"), 9, "127.0.0.1:1"),
    ] {
        bench.run(&line).fails(code, &[says]);
    }
    assert_eq!(bench.daemon.state(), state);
}

#[test]
fn commands_about_chains_need_a_daemon_and_complete_in_shells() {
    let nobody = Daemon::prepare();
    for line in ["chain list", "history", "list matches", "explain xdp:eth0", "debug hold xdp:eth0"] {
        nobody.bpfman(line).fails(3, &["hint: "]);
    }
    let folder = nobody.path("generated");
    nobody.bpfman(&format!("completions {}", folder.display())).success();
    nobody.bpfman(&format!("man {}", folder.display())).success();
    let bash = fs::read_to_string(folder.join("bpfman.bash")).unwrap();
    for word in ["--iface-match", "rollback", "subprograms", "--sample"] {
        assert!(bash.contains(word), "{word}");
    }
    let outcome = Outcome::of(Command::new("bash").arg("-n").arg(folder.join("bpfman.bash")));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for page in ["bpfman-chain-trace.1", "bpfman-update-link.1", "bpfman-replace-file.1", "bpfman-doctor.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
}
