//! Sessions in lists: their objects, their owners, and the users who see them.

use std::io::Read as _;
use std::process::{Child, Stdio};

use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::wait::until;
use bpfman_tests::{Network, command};
use serde_json::Value;

use super::{ADA, BOB, EVE, Sessions, sessions, sessions_of};

/// A command of Ada's that has a program and a map until its input ends.
fn running(daemon: &Sessions) -> Child {
    let object = daemon.object();
    let script = format!(
        "bpftool prog load {object} /sys/fs/bpf/p && bpftool map create /sys/fs/bpf/m type array key 4 value 4096 \
         entries 16 name m && echo && cat"
    );
    let mut command = daemon.session_command(ADA, &["sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    // Wait until the kernel has freed the library's probe programs.
    until("the session has one program", || {
        list(daemon, 0)[0]["programs"].as_array().is_some_and(|all| all.len() == 1)
    });
    child
}

fn list(daemon: &Sessions, user: u32) -> Value {
    let answer = match user {
        0 => daemon.bpfman("list sessions -o json"),
        user => daemon.bpfman_as(user, "list sessions -o json"),
    };
    answer.json()["sessions"].clone()
}

#[test]
fn session_is_listed_with_what_it_has() {
    let daemon = sessions();
    let mut child = running(&daemon);
    let listed = list(&daemon, 0);
    let session = &listed[0];
    let shell = std::fs::canonicalize("/usr/bin/sh").unwrap();
    let sum = command::run(&["sha256sum", &shell.display().to_string()]);
    assert_eq!(session["sha256"].as_str(), sum.split(' ').next(), "{session}");
    assert!(session["executable"].as_str().unwrap().ends_with("/sh"), "{session}");
    assert!(session["command"].as_str().unwrap().starts_with("sh -c bpftool prog load"), "{session}");
    assert_eq!((&session["uid"], &session["state"]), (&ADA.into(), &"running".into()));
    assert_eq!((&session["owner"], &session["grant"]), (&"grant:tools".into(), &Value::Null));
    assert_eq!(session["maps"].as_array().unwrap().len(), 1, "{session}");
    assert!(session["map_memory_bytes"].as_u64().unwrap() >= 16 * 4096, "{session}");
    assert!(session["calls_granted"].as_u64().unwrap() > 4, "{session}");
    let name = session["name"].as_str().unwrap();
    let table = daemon.bpfman("list sessions").success();
    assert!(table.contains(name) && table.contains("running"), "{table}");
    let shown = daemon.bpfman(&format!("get session {name}")).success();
    assert!(shown.contains("grant:tools") && shown.contains(sum.split(' ').next().unwrap()), "{shown}");
    daemon.bpfman("get session nobody").fails(5, &["no session \"nobody\""]);
    daemon.bpfman(&format!("detach session {name}")).fails(7, &[&format!("session {name} runs")]);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    until("no session is listed", || list(&daemon, 0).as_array().unwrap().is_empty());
}

#[test]
fn users_see_their_own_sessions_alone_without_the_radar() {
    let daemon = sessions_of(&format!(
        "[[grants]]\nname = \"tools\"\nusers = [{ADA}]\nallow = [\"raw\"]\n\
         [[grants]]\nname = \"watch\"\nusers = [{EVE}]\nallow = [\"read\", \"radar\"]\n"
    ));
    let mut child = running(&daemon);
    let name = list(&daemon, ADA)[0]["name"].as_str().unwrap().to_owned();
    assert!(list(&daemon, BOB).as_array().unwrap().is_empty());
    daemon.bpfman_as(BOB, &format!("get session {name}")).fails(5, &["another user's"]);
    assert_eq!(list(&daemon, EVE)[0]["name"], name.as_str());
    daemon.bpfman_as(EVE, &format!("detach session {name}")).fails(4, &["may not raw"]);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn programs_of_a_session_name_it_as_their_owner() {
    let daemon = sessions();
    let mut child = running(&daemon);
    let session = list(&daemon, 0)[0].clone();
    let owner = format!("session {} of user {ADA}", session["name"].as_str().unwrap());
    let id = session["programs"][0].clone();
    let of = |all: &Value, key: &str| -> Value {
        all.as_array().unwrap().iter().find(|one| one[key] == id).unwrap_or_else(|| panic!("{all}")).clone()
    };
    let listed = daemon.bpfman("list programs --all -o json").json();
    let program = of(&listed["programs"], "program_id");
    assert_eq!((&program["owner"], &program["managed"]), (&owner.as_str().into(), &false.into()));
    assert!(daemon.bpfman("list programs --all").success().contains(&owner));
    assert!(daemon.bpfman(&format!("get program {id}")).success().contains(&owner));
    let survey = daemon.bpfman("radar -o json").json();
    assert_eq!(of(&survey["programs"], "id")["session"], owner.as_str());
    let figures = daemon.bpfman("top --others --once -o json").json();
    assert_eq!(of(&figures["programs"], "program_id")["owner"], owner.as_str());
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn program_at_tcx_ends_with_its_session() {
    if lacks_tcx("run_as::lists::program_at_tcx_ends_with_its_session") {
        return;
    }
    let (daemon, network) = (sessions(), Network::new());
    let binary = daemon.readable(&bpfman_tests::compile::executable("radar_stranger")).display().to_string();
    let begin = |user| {
        let mut command = daemon.session_command(user, &[&binary, "tcx", INTERFACE, "wait"]);
        command.stdout(Stdio::piped()).stdin(Stdio::piped());
        let mut child = network.near.inside(move || command.spawn().unwrap());
        let made = super::life::line(&mut std::io::BufReader::new(child.stdout.take().unwrap()));
        (child, made)
    };
    let (mut child, made) = begin(ADA);
    assert_eq!(made, "tcx 0");
    let id = list(&daemon, 0)[0]["programs"][0].as_u64().unwrap();
    let history = daemon.bpfman("history --accesses").success();
    assert!(history.contains(&format!("PROG_ATTACH (tcx:{INTERFACE}:ingress, type ")), "{history}");
    child.stdin.take();
    assert!(child.wait().unwrap().success());
    bpfman_tests::kernel::program_ends(id.try_into().unwrap());
    // Bob's grant has another hook.
    let (mut child, made) = begin(BOB);
    assert_ne!(made, "tcx 0");
    child.stdin.take();
    child.wait().unwrap();
}

/// Starts a command with an XDP program at the network's interface, which waits until its input ends.
fn stranger(daemon: &Sessions, network: &Network, user: u32) -> Child {
    let binary = daemon.readable(&bpfman_tests::compile::executable("radar_stranger")).display().to_string();
    let index = network.near.inside(|| command::run(&["ip", "-o", "link", "show", INTERFACE]));
    let words = [&binary, "load", "link", index.split(':').next().unwrap(), "wait"];
    let mut command = daemon.session_command(user, &words);
    command.stdout(Stdio::piped()).stdin(Stdio::piped());
    network.near.inside(move || command.spawn().unwrap())
}

#[test]
fn links_of_a_session_name_it_as_their_owner() {
    let (daemon, network) = (sessions(), Network::new());
    let mut child = stranger(&daemon, &network, ADA);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let made = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("link ")).unwrap();
    let id: u32 = made.trim_start_matches("link ").parse().unwrap();
    let session = list(&daemon, 0)[0].clone();
    assert_eq!(session["links"], serde_json::json!([id]), "{session}");
    let owner = format!("session {} of user {ADA}", session["name"].as_str().unwrap());
    let listed = daemon.bpfman("list links --all -o json").json();
    let of_kernel = |one: &&Value| one["kernel_link_id"] == id;
    let link =
        listed["links"].as_array().unwrap().iter().find(of_kernel).unwrap_or_else(|| panic!("{listed}"));
    assert_eq!((&link["link_id"], &link["owner"]), (&0.into(), &owner.as_str().into()));
    assert_eq!((&link["program_name"], &link["type"]), (&"stranger".into(), &"xdp".into()));
    assert!(daemon.bpfman("list links --all").success().contains(&owner));
    let history = daemon.bpfman("history --accesses").success();
    assert!(history.contains(&format!("LINK_CREATE (xdp:{INTERFACE}, type xdp) in session")), "{history}");
    let own = daemon.bpfman("list links -o json").json();
    assert!(own["links"].as_array().unwrap().is_empty(), "{own}");
    assert!(!daemon.bpfman("list links --all -q").success().lines().any(|line| line == "0"));
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn objects_of_others_are_there_for_a_grant_over_all_owners() {
    let daemon = sessions_of(&format!(
        "[[grants]]\nname = \"tools\"\nusers = [{ADA}]\nallow = [\"raw\"]\n\
         [[grants]]\nname = \"watch\"\nusers = [{BOB}]\nallow = [\"raw\"]\nhooks = [\"xdp:lo\"]\nover = \"all\"\n"
    ));
    let (network, child) = (Network::new(), running(&daemon));
    let session = list(&daemon, 0)[0].clone();
    let [program, map] = ["programs", "maps"].map(|kind| session[kind][0].to_string());
    let of = |user, words: &str| {
        daemon.session(user, &[&["bpftool"], &words.split(' ').collect::<Vec<_>>()[..]].concat())
    };
    for words in [format!("-j prog show id {program}"), format!("-j map dump id {map}")] {
        assert!(!of(BOB, &words).success().is_empty());
        assert_ne!(of(ADA, &words).code, 0, "{words}");
    }
    let history = daemon.bpfman("history --accesses").success();
    assert!(history.contains(&format!("MAP_GET_FD_BY_ID (map {map} of root) in session")), "{history}");
    assert!(of(BOB, "prog show").success().contains(&format!("{program}: ")));
    assert!(!of(ADA, "prog show").success().contains(&format!("{program}: ")));
    let mut linked = stranger(&daemon, &network, ADA);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(linked.stdout.take().unwrap()));
    let link = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("link ")).unwrap();
    let link = link.trim_start_matches("link ");
    assert!(of(BOB, "link show").success().contains(&format!("{link}: ")));
    let detached = of(BOB, &format!("link detach id {link}"));
    assert!(detached.stderr.contains("not permitted"), "{detached:?}");
    assert!(command::run(&["bpftool", "link", "show", "id", link]).contains("xdp"));
    for mut child in [child, linked] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
