//! Shadow members: they run and are counted, and their verdicts have no effect.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network};
use serde_json::Value;

use crate::equipment::Program;

const DROP: i32 = 1;
const PASS: i32 = 2;

fn chain(daemon: &Daemon, hook: &str) -> Vec<Value> {
    daemon.bpfman(&format!("chain show {hook} -o json")).json()["members"].as_array().unwrap().clone()
}

#[test]
fn dropping_shadow_drops_nothing_and_reports_its_verdicts() {
    let (mut daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let far = network.far.path().display().to_string();
    let hook = format!("xdp:{INTERFACE}@{far}");
    let [wall, behind] = [(1, DROP), (2, PASS)]
        .map(|(who, verdict)| Program::member(&daemon.wire(), "xdp_member", Type::Xdp, who, verdict).id);
    let attach = |program: u32, words: &str| {
        daemon.bpfman(&format!("attach {program} xdp -i {INTERFACE} -n {far} {words} -o json")).json()
    };
    let link = attach(wall, "-p 10 --shadow");
    assert_eq!(link["shadow"], true);
    let link = link["link_id"].clone();
    assert_eq!(traffic.send(10), 10);
    attach(behind, "-p 20");
    assert_eq!(traffic.send(10), 10);
    let members = chain(&daemon, &hook);
    assert_eq!((&members[0]["shadow"], &members[1]["shadow"]), (&true.into(), &false.into()));
    assert_eq!(members[0]["ended"], serde_json::json!([]));
    let drops = |members: &[Value]| {
        let counts = members[0]["shadowed"].as_array().unwrap().clone();
        let drops = counts.iter().find(|count| count["verdict"] == "drop");
        drops.map_or(0, |count| count["packets"].as_u64().unwrap())
    };
    assert_eq!(drops(&members), 20, "{members:?}");
    assert_eq!(members[0]["runs"], members[0]["runs"].as_u64().unwrap().max(20));
    let explained = daemon.bpfman(&format!("explain {hook} {link}")).stdout;
    assert!(explained.contains("is a shadow") && explained.contains("drop for 20"), "{explained}");
    let drawn = daemon.bpfman(&format!("chain show {hook}")).stdout;
    assert!(drawn.contains("anything: it is a shadow") && drawn.contains("drop 20"), "{drawn}");
    daemon.bpfman(&format!("chain verify {hook}")).success();
    let packet = "ff".repeat(64);
    daemon.bpfman(&format!("chain trace {hook} --packet {packet}")).success();
    daemon.kill();
    daemon.again(&bpfman_tests::Launch::default());
    assert_eq!(traffic.send(10), 10);
    let promote = |to: bool| daemon.bpfman(&format!("update link {link} --shadow {to}")).success();
    promote(false);
    assert_eq!(traffic.send(10), 0);
    let members = chain(&daemon, &hook);
    assert_eq!((drops(&members), &members[0]["shadow"]), (30, &false.into()));
    assert_eq!(members[0]["ended"][0]["packets"], 10, "{members:?}");
    promote(true);
    assert_eq!(traffic.send(10), 10);
    let tcx = Program::member(&daemon.wire(), "tc_member", Type::Tcx, 1, 2).id;
    let line = format!("attach {tcx} tcx -d ingress -i {INTERFACE} -n {far} -p 10 --shadow");
    daemon.bpfman(&line).fails(6, &["nor be a shadow"]);
}

#[test]
fn a_shadow_at_tc_does_not_shoot() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let traffic = Traffic::new(&network);
    let far = network.far.path().display().to_string();
    let shot = Program::member(&daemon.wire(), "tc_member", Type::Tc, 1, 2).id;
    let line = format!("attach {shot} tc -d ingress -i {INTERFACE} -n {far} -p 10");
    daemon.bpfman(&format!("{line} --shadow")).success();
    assert_eq!(traffic.send(10), 10);
    let link = daemon.bpfman("list links -o json").json()["links"][0]["link_id"].clone();
    daemon.bpfman(&format!("update link {link} --shadow false")).success();
    assert_eq!(traffic.send(10), 0);
}
