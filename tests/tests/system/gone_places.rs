//! Links with a removed cgroup or network namespace: lists, `get` and doctor use one word, and the hint works.

use bpfman_tests::command::run;
use bpfman_tests::control_group::Group;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::Value;

fn attached(daemon: &Daemon, program: &str, place: &str) -> u64 {
    let object = compile::object("points").display().to_string();
    let line = format!("load file -p {object} --programs {program} -q");
    let id = daemon.bpfman(&line).success().trim().to_owned();
    daemon.bpfman(&format!("attach {id} {place} -o json")).json()["link_id"].as_u64().unwrap()
}

fn state(daemon: &Daemon, link: u64) -> Value {
    daemon.bpfman(&format!("get link {link} -o json")).json()
}

#[test]
fn links_of_a_place_that_is_gone_say_so_and_can_be_detached() {
    let config = "[watch]\ncheck_seconds = 0.2\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let (network, group) = (Network::new(), Group::new("gone"));
    let netns = network.far.path().display().to_string();
    let links = [
        (attached(&daemon, "cgroup_sock_addr:forbid", &format!("cgroup --path {}", group.path)), "cgroup"),
        (attached(&daemon, "sk_lookup:choose", &format!("netns -n {netns}")), "network namespace"),
    ];
    drop((group, network));
    for (link, place) in links {
        let words = format!("gone: its {place} is gone");
        until("the kernel ends the place", || {
            state(&daemon, link)["state"].as_str().unwrap().starts_with(&words)
        });
        assert_eq!(state(&daemon, link)["standing"], "gone");
        let block = daemon.bpfman(&format!("get link {link}")).success();
        assert!(block.contains(&words), "{block}");
    }
    let list = daemon.bpfman("list links").success();
    let rows: Vec<&str> = list.lines().filter(|row| row.trim_end().ends_with(" gone")).collect();
    assert_eq!(rows.len(), links.len(), "{list}");
    let report: Value = serde_json::from_str(&daemon.bpfman("doctor -o json").stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for (link, _) in links {
        let subject = format!("link {link}");
        let found = findings.iter().find(|found| found["subject"] == subject).unwrap();
        assert!(found["finding"].as_str().unwrap().starts_with("gone: "), "{found}");
        let fix = found["fix"].as_str().unwrap();
        assert_eq!(fix, format!("bpfman detach {link}"));
        daemon.bpfman(fix.strip_prefix("bpfman ").unwrap()).success();
    }
    daemon.bpfman("doctor").success();
}

#[test]
fn link_that_was_detached_by_force_does_not_blame_its_place() {
    let config = "[watch]\ncheck_seconds = 3600\n".to_owned();
    let daemon = Daemon::start_with(&Launch { config, ..Launch::default() });
    let group = Group::new("forced");
    let link = attached(&daemon, "cgroup_sock_addr:forbid", &format!("cgroup --path {}", group.path));
    let id = state(&daemon, link)["kernel_link_id"].as_u64().unwrap();
    run(&["bpftool", "link", "detach", "id", &id.to_string()]);
    let shown = state(&daemon, link);
    assert!(shown["state"].as_str().unwrap().starts_with("lost: its link was detached by force"), "{shown}");
}
