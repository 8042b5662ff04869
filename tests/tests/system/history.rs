//! `bpfman history`: changes and refusals with their callers, from the audit log on disk.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::control_group::naming_hierarchy;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, tcx, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::{Value, json};

use crate::equipment::{Program, detach, link, unload};
use crate::forged_names::{self, Group};

const ADA: u32 = 64_301;
const BOB: u32 = 64_302;

fn history(daemon: &Daemon, line: &str) -> Vec<Value> {
    entries(daemon.bpfman(&format!("history {line} -o json")).json())
}

fn entries(mut answer: Value) -> Vec<Value> {
    assert_eq!(answer["damaged"], 0);
    answer["entries"].take().as_array().unwrap().clone()
}

fn verbs(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["verb"].as_str().unwrap()).collect()
}

fn last_file(daemon: &Daemon) -> PathBuf {
    let files = fs::read_dir(daemon.path("run/state/journal")).unwrap();
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "jsonl");
    files.map(|file| file.unwrap().path()).filter(is_segment).max().unwrap()
}

#[test]
fn root_sees_caller_grant_and_former_state_of_each_change() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let far = network.far.path();
    let link = wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap().link_id;
    detach(&wire, link);
    unload(&wire, program);
    let all = history(&daemon, "");
    assert_eq!(verbs(&all), ["Load", "Attach", "Detach", "Unload"]);
    let hook = format!("xdp:{INTERFACE}@{}", far.display());
    for (place, entry) in all.iter().enumerate() {
        assert_eq!(entry["number"], place + 1);
        assert_eq!((&entry["uid"], &entry["grant"]), (&0.into(), &"root".into()), "{entry}");
        assert_eq!(entry["pid"], std::process::id(), "{entry}");
        assert_eq!((&entry["result"], &entry["owners"]), (&"done".into(), &serde_json::json!(["root"])));
        assert!(entry["programs"].as_array().unwrap().contains(&program.into()), "{entry}");
    }
    assert!(all[0]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(all[1]["hooks"], serde_json::json!([hook]));
    for text in [all[1]["after"].as_str().unwrap(), all[2]["before"].as_str().unwrap()] {
        assert!(text.contains("priority 7") && text.contains("xdp_member"), "{text}");
    }
    assert_eq!(verbs(&history(&daemon, &hook)), ["Attach", "Detach"]);
    assert_eq!(verbs(&history(&daemon, &link.to_string())), ["Attach", "Detach"]);
    assert_eq!(verbs(&history(&daemon, "--limit 2")), ["Detach", "Unload"]);
    assert_eq!(verbs(&history(&daemon, "--by root --since 1h")).len(), 4);
    assert!(history(&daemon, "--by 1000").is_empty());
    assert!(history(&daemon, "--since 2999-01-01T00:00:00Z").is_empty());
    let table = daemon.bpfman("history").success();
    assert!(table.contains("root") && table.contains("unload"), "{table}");
    let numbers = |line: &str| daemon.bpfman(&format!("{line} -q")).success();
    let found = numbers("history --verb attach,Detach --result done");
    assert_eq!(found.lines().count(), 2, "{found}");
    assert_eq!(numbers("events --verb attach,Detach --result done"), found);
    assert_eq!(numbers("history --result denied"), "");
    daemon.bpfman("history eth0").fails(2, &["write 7, or xdp:eth0"]);
}

#[test]
fn answered_change_is_in_the_journal_after_a_kill_mid_line() {
    let mut daemon = Daemon::start();
    for round in 1..=5_usize {
        let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
        daemon.kill();
        let text = fs::read_to_string(last_file(&daemon)).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["programs"], serde_json::json!([program]), "round {round}");
        let mut file = OpenOptions::new().append(true).open(last_file(&daemon)).unwrap();
        file.write_all(b"{\"number\":99,\"verb\":\"Half").unwrap();
        daemon.again(&Launch::default());
    }
    let mut all = Vec::new();
    until("the last cut is in the journal", || {
        all = history(&daemon, "");
        all.iter().filter(|entry| entry["verb"] == "Cut").count() >= 5
    });
    assert_eq!(all.iter().filter(|entry| entry["verb"] == "Load").count(), 5);
    assert_eq!(all.iter().filter(|entry| entry["verb"] == "Cut").count(), 5);
    assert!(!fs::read_to_string(last_file(&daemon)).unwrap().contains("Half"));
    let numbers: Vec<u64> = all.iter().map(|entry| entry["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[test]
fn users_see_their_changes_and_those_of_their_objects_only() {
    let policy = format!(
        "[files]\nusers = [0, {ADA}]\n\
         [[grants]]\nname = \"network\"\nusers = [{ADA}]\nallow = [\"read\", \"load\", \"attach\"]\n"
    );
    let daemon = crate::grants::daemon(policy);
    let roots = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    let path = daemon.path("own.o");
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(ADA), Some(ADA)).unwrap();
    let line = format!("load file -p {} --programs xdp:xdp_member -o json", path.display());
    let own = daemon.bpfman_as(ADA, &line).json()["programs"][0]["program_id"].as_u64().unwrap();
    daemon.bpfman_as(BOB, &format!("unload {own}")).fails(4, &["may not"]);
    daemon.bpfman_as(BOB, &format!("unload {roots}")).fails(4, &["may not"]);
    let unit = forged_names::unit();
    let group = Group::new(&naming_hierarchy(), &format!("system.slice/{unit}"));
    let mut of_unit = Command::new("sh");
    of_unit.args(["-c", "echo 0 > $0/cgroup.procs && exec \"$@\"", &group.folder().display().to_string()]);
    forged_names::client(of_unit, &daemon, &format!("unload {own}")).success();
    let of = |user| entries(daemon.bpfman_as(user, "history -o json").json());
    let told = |entries: &[Value]| -> Vec<(u64, String, String)> {
        let one = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            (entry["uid"].as_u64().unwrap(), text("verb"), text("result"))
        };
        entries.iter().map(one).collect()
    };
    let row = |uid: u32, verb: &str, result: &str| (u64::from(uid), verb.to_owned(), result.to_owned());
    let ada = of(ADA);
    assert_eq!(
        told(&ada),
        [row(ADA, "Load", "done"), row(BOB, "Unload", "denied"), row(0, "Unload", "done")]
    );
    assert_eq!((&ada[0]["grant"], &ada[0]["owners"][0]), (&"network".into(), &"grant:network".into()));
    assert!(ada[0]["pid"].is_number() && ada[1]["pid"].is_null() && ada[2]["cgroup"].is_null(), "{ada:?}");
    let of_root = history(&daemon, "--by root").pop().unwrap();
    assert_eq!((&of_root["unit"], &ada[2]["unit"]), (&unit.into(), &Value::Null));
    assert_eq!(told(&of(BOB)), [row(BOB, "Unload", "denied"), row(BOB, "Unload", "denied")]);
    assert_eq!(history(&daemon, "").len(), 5);
    assert_eq!(history(&daemon, "--by network").len(), 1);
    let version = daemon.bpfman("version -o json").json();
    let counted = serde_json::json!([{"verb": "Unload", "reason": "denied", "count": 2}]);
    assert_eq!(version["daemon"]["refused_calls"], counted);
}

#[test]
fn daemon_actions_are_in_the_audit_log() {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    let mut daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let network = Network::new();
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let far = network.far.path();
    let link = wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap().link_id;
    let pin = fs::read_dir(daemon.fs().join("xdp")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(pin).unwrap();
    until("it is put back, and told", || verbs(&history(&daemon, "--by checks")).contains(&"PutBack"));
    let put_back = &history(&daemon, "--by checks")[0];
    let hook = format!("xdp:{INTERFACE}@{}", far.display());
    assert_eq!(
        (&put_back["links"], &put_back["programs"], &put_back["owners"], &put_back["hooks"]),
        (&json!([link]), &json!([program]), &json!(["root"]), &json!([hook])),
        "{put_back}"
    );
    assert!(put_back["object"].as_str().unwrap().starts_with(&format!("hook {hook}: ")), "{put_back}");
    daemon.kill();
    let pin = fs::read_dir(daemon.fs().join("xdp")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(pin).unwrap();
    daemon.again(&Launch::default());
    let starts = history(&daemon, "--by start");
    assert_eq!(verbs(&starts), ["Recover"]);
    assert!(starts[0]["object"].as_str().unwrap().contains("1 links and chains put back"), "{starts:?}");
}

#[test]
fn a_journal_that_cannot_be_written_fails_no_change_and_is_told() {
    let mut daemon = Daemon::start();
    daemon.terminate();
    let folder = daemon.path("run/state/journal");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    daemon.again(&Launch::default());
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    let status = |daemon: &Daemon| daemon.bpfman("version -o json").json()["daemon"]["journal"].take();
    assert_eq!(status(&daemon)["lost"], 1);
    assert!(!status(&daemon)["failure"].as_str().unwrap().is_empty());
    fs::remove_file(&folder).unwrap();
    Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2);
    assert!(status(&daemon)["failure"].is_null());
    assert_eq!(verbs(&history(&daemon, "")), ["Gap", "Load"]);
}

#[test]
fn end_of_a_namespace_is_no_loss_in_the_history() {
    let config = "[tc]\nattach = \"clsact\"\n".to_owned();
    let (daemon, network) = (Daemon::start_with(&Launch { config, ..Launch::default() }), Network::new());
    let wire = daemon.wire();
    let far = network.far.path();
    let mut points = vec![(Type::Tc, tc(&far, INTERFACE, "ingress", 50, &[]))];
    if has_tcx() {
        points.push((Type::Tcx, tcx(&far, INTERFACE, "ingress", 50)));
    }
    let put = |(kind, point)| {
        let name = if kind == Type::Tcx { "tcx_member" } else { "tc_member" };
        let program = Program::member(&wire, name, kind, 1, 0).id;
        wire.attach(attach(program, point)).unwrap().link_id
    };
    let links: Vec<u32> = points.into_iter().map(put).collect();
    network.far.delete();
    for id in links {
        until("the link waits", || link(&wire, id).state.starts_with("waiting"));
    }
    let text = format!("{:?}", history(&daemon, ""));
    assert!(!text.contains("Lost") && !text.contains("HookKey"), "{text}");
    daemon.bpfman("history").success();
}
