//! Access control: grants of `policy.toml`, and owners of programs and links.

use std::fs;
use std::os::unix::fs::chown;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::users::EVERYBODY_MAY;
use bpfman_tests::{Daemon, Launch, Network, compile};

use crate::equipment::Program;

const ADA: u32 = 64_201;
const BOB: u32 = 64_202;

fn grants() -> String {
    format!(
        "[files]\nusers = [0, {ADA}, {BOB}]\n\
         [[grants]]\nname = \"network\"\nusers = [{ADA}]\nallow = [\"read\", \"load\", \"attach\"]\n\
         types = [\"xdp\"]\nhooks = [\"xdp:{INTERFACE}\"]\npriorities = \"100-900\"\n\
         [[grants]]\nname = \"others\"\nusers = [{BOB}]\nallow = [\"all\"]\n"
    )
}

pub fn daemon(policy: String) -> Daemon {
    let daemon = Daemon::start_with(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
    daemon
}

pub fn load_as(daemon: &Daemon, user: u32) -> u64 {
    let path = daemon.path(format!("own-{user}.o"));
    fs::copy(compile::object("chain"), &path).unwrap();
    chown(&path, Some(user), Some(user)).unwrap();
    let line = format!("load file -p {} --programs xdp:xdp_member -o json", path.display());
    let loaded = daemon.bpfman_as(user, &line).json();
    loaded["programs"][0]["program_id"].as_u64().unwrap()
}

#[test]
fn without_a_grant_users_read_and_are_told_what_they_would_need() {
    let (daemon, network) = (daemon(String::new()), Network::new());
    let far = network.far.path().display().to_string();
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    let before = daemon.state();
    daemon.bpfman_as(ADA, "list programs").success();
    daemon.bpfman_as(ADA, "doctor");
    let attach = format!("attach {program} xdp -i {INTERFACE} -p 200 -n {far}");
    let needed = format!("bpfman policy allow {ADA} attach");
    daemon.bpfman_as(ADA, &attach).fails(4, &[&format!("user {ADA} may not attach"), "hint: ", &needed]);
    for line in [
        format!("unload {program}"),
        format!("load file -p {} --programs xdp:xdp_member", compile::object("chain").display()),
        "image pull -i 127.0.0.1:1/x:1".to_owned(),
        "image prune".to_owned(),
        format!("debug freeze xdp:{INTERFACE}"),
    ] {
        daemon.bpfman_as(ADA, &line).fails(4, &[&format!("user {ADA} may not")]);
    }
    assert_eq!(daemon.state(), before);
    let may = daemon.bpfman_as(ADA, "whoami -o json").json();
    assert_eq!((&may["uid"], &may["everybody"]), (&ADA.into(), &serde_json::json!(["read"])));
    assert_eq!(may["grants"], serde_json::json!([]));
    daemon.bpfman_as(ADA, "auth can-i read").success();
    let asked = daemon.bpfman_as(ADA, &format!("auth can-i attach xdp:{INTERFACE}"));
    asked.fails(4, &["the daemon would refuse this caller"]);
    assert!(
        asked.stdout.starts_with("no: ") && asked.stdout.contains("bpfman policy allow"),
        "{}",
        asked.stdout
    );
    daemon.bpfman(&attach).success();
    daemon.bpfman("auth can-i settings").success();
}

#[test]
fn a_grant_reaches_as_far_as_it_says_and_each_owner_to_its_own() {
    let (daemon, network) = (daemon(grants()), Network::new());
    let far = network.far.path().display().to_string();
    let roots = u64::from(Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id);
    let at = |priority: u32| format!("xdp -i {INTERFACE} -p {priority} -n {far}");
    let roots_link =
        daemon.bpfman(&format!("attach {roots} {} -o json", at(150))).json()["link_id"].to_string();
    let (ada, bob) = (load_as(&daemon, ADA), load_as(&daemon, BOB));
    let link = daemon.bpfman_as(ADA, &format!("attach {ada} {} -o json", at(200))).json();
    let link = link["link_id"].to_string();
    let before = daemon.state();
    for (line, why) in [
        (format!("attach {ada} {}", at(99)), "\"priorities\""),
        (format!("attach {ada} {} --before {roots_link}", at(200)), "\"priorities\""),
        (format!("attach {ada} {} --role firewall", at(200)), "\"priorities\""),
        (format!("attach {ada} xdp -i lo -p 200"), "\"hooks\""),
        (format!("attach {roots} {}", at(200)), "\"over\""),
        (format!("attach {bob} {}", at(200)), "\"over\""),
        (format!("update link {link} --priority 1"), "\"priorities\""),
        (format!("update link {link} --position 0"), "\"priorities\""),
        (format!("update link {roots_link} --priority 500"), "\"over\""),
        (format!("detach {roots_link}"), "\"over\""),
        (format!("unload {roots}"), "\"over\""),
        (format!("unload {bob}"), "\"over\""),
        (format!("replace {ada} file -p {}", daemon.path(format!("own-{ADA}.o")).display()), "\"replace\""),
        (format!("chain trace xdp:{INTERFACE} --packet {}", "00".repeat(14)), "\"trace\""),
        (format!("debug freeze xdp:{INTERFACE}"), "\"settings\""),
    ] {
        daemon.bpfman_as(ADA, &line).fails(4, &[&format!("user {ADA} may not"), "grant \"network\"", why]);
    }
    daemon.bpfman_as(BOB, &format!("detach {link}")).fails(4, &["grant \"others\"", "\"over\""]);
    assert_eq!(daemon.state(), before);
    let shown = daemon.bpfman(&format!("get program {ada} -o json")).json();
    assert_eq!((&shown["owner"], &shown["loaded_by_uid"]), (&"grant:network".into(), &ADA.into()));
    let shown = daemon.bpfman(&format!("get link {roots_link} -o json")).json();
    assert_eq!(shown["owner"], "root");
    daemon.bpfman_as(ADA, &format!("update link {link} --priority 300")).success();
    let whoami = daemon.bpfman_as(ADA, "whoami");
    assert!(whoami.stdout.contains("Grant network:"), "{}", whoami.stdout);
    assert!(whoami.stdout.contains("priorities = \"100-900\""), "{}", whoami.stdout);
    daemon.bpfman_as(ADA, &format!("auth can-i attach xdp:{INTERFACE}")).success();
    daemon.bpfman_as(ADA, "auth can-i attach uprobe:/bin/sh").fails(4, &[]);
    daemon.bpfman_as(ADA, "auth can-i fly").fails(6, &["\"fly\" is no verb"]);
    daemon.bpfman_as(ADA, &format!("detach {link}")).success();
    daemon.bpfman_as(ADA, &format!("unload {ada}")).success();
    let log = daemon.log();
    let by_grant =
        log.lines().any(|line| line.contains("verb=\"Attach\"") && line.contains("grant=\"network\""));
    assert!(by_grant, "{log}");
}

#[test]
fn grant_reaches_no_other_users_programs() {
    let daemon = daemon(format!("[files]\nusers = [0, {ADA}, {BOB}]\n{EVERYBODY_MAY}"));
    let (ada, bob) = (load_as(&daemon, ADA), load_as(&daemon, BOB));
    let shown = daemon.bpfman(&format!("get program {bob} -o json")).json();
    assert_eq!(shown["owner"], format!("user:{BOB}"));
    fs::write(daemon.path("policy.toml"), grants()).unwrap();
    daemon.bpfman_as(ADA, &format!("unload {bob}")).fails(4, &["grant \"network\"", "\"over\""]);
    daemon.bpfman_as(BOB, &format!("unload {ada}")).fails(4, &["grant \"others\"", "\"over\""]);
    daemon.bpfman_as(ADA, &format!("unload {ada}")).success();
    daemon.bpfman_as(BOB, &format!("unload {bob}")).success();
}

#[test]
fn owners_outlive_the_daemon_and_a_removed_grant_ends_at_once() {
    let mut daemon = daemon(grants());
    let ada = load_as(&daemon, ADA);
    daemon.kill();
    daemon.again(&Launch { policy: grants(), ..Launch::default() });
    daemon.open_to_users();
    daemon.bpfman_as(BOB, &format!("unload {ada}")).fails(4, &["of grant:network"]);
    fs::write(daemon.path("policy.toml"), "[access]\n").unwrap();
    daemon.bpfman_as(ADA, &format!("unload {ada}")).fails(4, &["no grant is for this user"]);
    fs::write(daemon.path("policy.toml"), "[[grants]]\nname = 1\n").unwrap();
    daemon.bpfman_as(ADA, &format!("unload {ada}")).fails(4, &["no grant is for this user", "has mistakes"]);
    fs::write(daemon.path("policy.toml"), EVERYBODY_MAY).unwrap();
    daemon.bpfman_as(BOB, &format!("unload {ada}")).success();
}
