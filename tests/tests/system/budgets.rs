//! CPU limits and deadlines of programs.

use std::fs;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::Value;

use crate::grants::load_as;

const ADA: u32 = 64_401;

const MIN_SHARE: &str = "0.0001%";

fn launch(policy: &str) -> Launch {
    let config = "[limits]\ncpu_window_seconds = 0.3\n".to_owned();
    Launch { config, policy: policy.to_owned(), ..Launch::default() }
}

fn load(daemon: &Daemon, words: &str) -> Value {
    let path = compile::object("chain");
    let line = format!("load file -p {} --programs xdp:xdp_member {words} -o json", path.display());
    daemon.bpfman(&line).json()["programs"][0].clone()
}

fn attach(daemon: &Daemon, network: &Network, program: &Value, words: &str) -> Value {
    let far = network.far.path().display().to_string();
    daemon.bpfman(&format!("attach {program} xdp -i {INTERFACE} -n {far} {words} -o json")).json()
}

fn program(daemon: &Daemon, id: &Value) -> Value {
    daemon.bpfman(&format!("get program {id} -o json")).json()
}

fn links(daemon: &Daemon) -> usize {
    daemon.bpfman("list links -o json").json()["links"].as_array().unwrap().len()
}

fn acts(daemon: &Daemon, verb: &str) -> Vec<Value> {
    let all = daemon.bpfman("history -o json").json()["entries"].take();
    let is_own = |entry: &&Value| entry["verb"] == verb && entry["daemon"] == "limits";
    all.as_array().unwrap().iter().filter(is_own).cloned().collect()
}

#[test]
fn program_over_its_cpu_limit_is_detached_until_attached_again() {
    let (mut daemon, network) = (Daemon::start_with(&launch("")), Network::new());
    let traffic = Traffic::new(&network);
    let hot = load(&daemon, &format!("--cpu-limit {MIN_SHARE} --over-cpu detach"));
    assert_eq!((&hot["cpu_limit"], &hot["over_cpu"]), (&MIN_SHARE.into(), &"detach".into()));
    let free = load(&daemon, "")["program_id"].clone();
    let id = hot["program_id"].clone();
    attach(&daemon, &network, &id, "-p 10");
    until("it is detached", || {
        let _received = traffic.send(10);
        links(&daemon) == 0
    });
    let shown = program(&daemon, &id);
    let state = shown["state"].as_str().unwrap();
    assert!(state.starts_with("detached: it took ") && state.contains(MIN_SHARE), "{state}");
    assert_eq!(shown["cpu_done"], "detach");
    assert!(daemon.bpfman(&format!("get program {id}")).stdout.contains("detached: it took "));
    let listed = daemon.bpfman("list programs -o json").json()["programs"].clone();
    let listed = listed.as_array().unwrap().iter().find(|one| one["program_id"] == id).unwrap().clone();
    assert_eq!(listed["cpu_excess"], shown["cpu_excess"]);
    let [entry] = &acts(&daemon, "Detach")[..] else { panic!("{}", daemon.bpfman("history").stdout) };
    assert!(entry["object"].as_str().unwrap().contains("its limit is"), "{entry}");
    assert_eq!((&entry["programs"][0], &entry["owners"][0]), (&id, &"root".into()));
    let diagnosis = daemon.bpfman("doctor");
    assert!(diagnosis.stdout.contains("detached: it took"), "{}", diagnosis.stdout);
    daemon.kill();
    daemon.again(&launch(""));
    attach(&daemon, &network, &free, "-p 10");
    assert_eq!(traffic.send(10), 10);
    assert!(program(&daemon, &id)["state"].as_str().unwrap().starts_with("detached: "));
    assert_eq!(links(&daemon), 1);
    attach(&daemon, &network, &id, "-p 20");
    let again = program(&daemon, &id);
    assert!(again["cpu_done"] != "detach" || again["link_ids"] == serde_json::json!([]), "{again}");
}

#[test]
fn an_owner_over_its_cpu_limit_is_told_and_goes_on() {
    let policy = format!(
        "[files]\nusers = [0, {ADA}]\n[[grants]]\nname = \"network\"\nusers = [{ADA}]\nallow = [\"all\"]\n\
         limits = {{ cpu = \"{MIN_SHARE}\", over_cpu = \"warn\" }}\n"
    );
    let daemon = Daemon::start_with(&launch(&policy));
    daemon.open_to_users();
    let network = Network::new();
    let traffic = Traffic::new(&network);
    let hot = Value::from(load_as(&daemon, ADA));
    let far = network.far.path().display().to_string();
    daemon.bpfman_as(ADA, &format!("attach {hot} xdp -i {INTERFACE} -n {far} -p 10")).success();
    until("it is told", || {
        let _received = traffic.send(10);
        !acts(&daemon, "OverCpu").is_empty()
    });
    let entry = acts(&daemon, "OverCpu")[0].clone();
    assert_eq!((&entry["programs"][0], &entry["owners"][0]), (&hot, &"grant:network".into()));
    assert!(entry["object"].as_str().unwrap().contains("the most of its owner's programs"), "{entry}");
    assert_eq!(links(&daemon), 1);
    assert!(daemon.bpfman_as(ADA, "history").stdout.contains("over cpu"));
    assert!(daemon.bpfman_as(ADA, "whoami").stdout.contains(&format!("limits.cpu = \"{MIN_SHARE}\"")));
    fs::write(daemon.path("policy.toml"), "").unwrap();
    until("no excess is shown", || program(&daemon, &hot)["cpu_excess"].is_null());
}

#[test]
fn lifetimes_expire_also_under_another_daemon() {
    let (mut daemon, network) = (Daemon::start_with(&launch("")), Network::new());
    let long = load(&daemon, "--ttl 1h");
    let left = long["ttl_left"].as_u64().unwrap();
    assert!((3500..=3601).contains(&left), "{left}");
    let id = long["program_id"].clone();
    let far = network.far.path().display().to_string();
    let link = attach(&daemon, &network, &id, "-p 10 --ttl 2s");
    assert!(link["ttl_left"].as_u64().unwrap() <= 3, "{link}");
    until("the link is gone, and that is told", || !acts(&daemon, "Expire").is_empty());
    assert_eq!(links(&daemon), 0);
    let [entry] = &acts(&daemon, "Expire")[..] else { panic!("{}", daemon.bpfman("history").stdout) };
    assert!(entry["object"].as_str().unwrap().ends_with(": expired"), "{entry}");
    assert_eq!(entry["links"][0], link["link_id"]);
    let selector = format!("attach {id} xdp --iface-match {INTERFACE} -n {far} -p 10 --ttl 2s -o json");
    assert!(daemon.bpfman(&selector).json()["ttl_left"].as_u64().unwrap() <= 3);
    until("the attachment is gone", || {
        let left = daemon.bpfman("list matches -o json").json()["matches"].as_array().unwrap().len();
        left == 0 && links(&daemon) == 0
    });
    let short = load(&daemon, "--ttl 3s")["program_id"].clone();
    daemon.kill();
    daemon.again(&launch(""));
    until("the program is gone", || {
        let programs = daemon.bpfman("list programs -o json").json()["programs"].clone();
        !programs.as_array().unwrap().iter().any(|one| one["program_id"] == short)
    });
    assert!(program(&daemon, &id)["ttl_left"].as_u64().unwrap() <= left);
    let before = daemon.state();
    let file = compile::object("chain").display().to_string();
    let line = |words: &str| format!("load file -p {file} --programs xdp:xdp_member {words}");
    daemon.bpfman(&line("--ttl 0s")).fails(6, &["a time to live of 0 s", "1 s to 10 years"]);
    daemon.bpfman(&line("--ttl 4000d")).fails(6, &["345600000 s", "1 s to 10 years"]);
    daemon.bpfman(&line("--ttl soon")).fails(2, &["soon"]);
    daemon.bpfman(&line("--cpu-limit 5")).fails(6, &["\"5\" is no share of a CPU"]);
    daemon.bpfman(&line("--over-cpu detach")).fails(2, &["--cpu-limit"]);
    assert_eq!(daemon.state(), before);
}
