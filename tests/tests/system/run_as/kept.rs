//! Pins and attachments that stay after a command, by a grant with `keep`.

use bpfman_tests::control_group::Group;
use bpfman_tests::wait::until;
use bpfman_tests::{Launch, Network, Outcome, compile};
use serde_json::Value;

use super::{ADA, BOB, EVE, Sessions, sessions, sessions_of};

fn policy() -> String {
    format!(
        "[[grants]]\nname = \"agents\"\nusers = [{ADA}]\nallow = [\"raw\"]\nkeep = true\n\
         [[grants]]\nname = \"others\"\nusers = [{BOB}]\nallow = [\"raw\"]\n"
    )
}

fn list(daemon: &Sessions) -> Vec<Value> {
    daemon.bpfman("list sessions -o json").json()["sessions"].as_array().unwrap().clone()
}

/// Starts the daemon again after it was killed.
fn again(daemon: &mut Sessions) {
    let policy = std::fs::read_to_string(daemon.path("policy.toml")).unwrap();
    daemon.daemon.again(&Launch { policy, ..Launch::default() });
    daemon.open_to_users();
}

#[test]
fn pins_stay_over_restarts_until_their_owner_removes_them() {
    let mut daemon = sessions_of(&policy());
    let object = daemon.readable(&compile::object("drop")).display().to_string();
    daemon.session_shell(ADA, &format!("bpftool prog load {object} /sys/fs/bpf/d && mkdir /sys/fs/bpf/x && bpftool map create /sys/fs/bpf/x/m type hash key 4 value 4 entries 8 name kept")).success();
    until("the session is left", || list(&daemon).first().is_some_and(|one| one["state"] == "left"));
    daemon.daemon.kill();
    again(&mut daemon);
    let left = list(&daemon);
    assert_eq!(
        (left.len(), &left[0]["state"], &left[0]["owner"]),
        (1, &"left".into(), &"grant:agents".into())
    );
    let id = left[0]["programs"][0].clone();
    let listed = daemon.bpfman("list programs --all -o json").json();
    let program = listed["programs"].as_array().unwrap().iter().find(|one| one["program_id"] == id).unwrap();
    assert_eq!(program["owner"], format!("left by sh of user {ADA}"), "{program}");
    let name = left[0]["name"].as_str().unwrap();
    daemon.bpfman_as(EVE, &format!("detach session {name}")).fails(4, &["may not raw"]);
    daemon.bpfman_as(BOB, &format!("detach session {name}")).fails(4, &["by its \"over\""]);
    daemon.bpfman("detach session nothing").fails(5, &["no session \"nothing\" left anything"]);
    let pins = daemon.path(format!("run/sessions/{name}.pins"));
    assert!(pins.join("d").exists());
    daemon.bpfman_as(ADA, &format!("detach session {name}")).success();
    assert!(list(&daemon).is_empty() && !pins.exists());
    until("the program is gone", || {
        Outcome::of(std::process::Command::new("bpftool").args(["prog", "show", "id", &id.to_string()])).code
            != 0
    });
}

#[test]
fn session_that_leaves_nothing_is_forgotten() {
    let daemon = sessions_of(&policy());
    let object = daemon.object();
    daemon
        .session_shell(ADA, &format!("bpftool prog load {object} /sys/fs/bpf/d && rm /sys/fs/bpf/d"))
        .success();
    until("no session is listed", || list(&daemon).is_empty());
    assert_eq!(daemon.path("run/sessions").read_dir().unwrap().count(), 1);
}

#[test]
fn pins_of_a_grant_that_keeps_nothing_end() {
    let daemon = sessions_of(&policy());
    let object = daemon.object();
    daemon.session_shell(BOB, &format!("bpftool prog load {object} /sys/fs/bpf/d")).success();
    until("no session is listed", || list(&daemon).is_empty());
}

#[test]
fn attachments_are_kept_and_removed_with_their_session() {
    let daemon = sessions_of(&policy());
    let group = Group::new("run-as-kept");
    let object = daemon.readable(&compile::object("allow")).display().to_string();
    let at = group.folder.display().to_string();
    let show = || bpfman_tests::command::run(&["bpftool", "cgroup", "show", &at]);
    let attach = format!(
        "bpftool prog load {object} /sys/fs/bpf/p && bpftool cgroup attach {at} egress pinned /sys/fs/bpf/p && rm /sys/fs/bpf/p"
    );
    daemon.session_shell(ADA, &attach).success();
    until("the session is left", || list(&daemon).first().is_some_and(|one| one["state"] == "left"));
    assert!(show().contains("egress"));
    assert_eq!(list(&daemon)[0]["attachments"], 1);
    let name = list(&daemon)[0]["name"].as_str().unwrap().to_owned();
    daemon.bpfman(&format!("detach session {name}")).success();
    assert!(!show().contains("egress"));
}

#[test]
fn attachments_end_that_a_killed_daemon_knew() {
    let (mut daemon, network) = (sessions(), Network::new());
    let group = Group::new("run-as-killed");
    let (at, interface) = (group.folder.display().to_string(), bpfman_tests::network::INTERFACE);
    let [egress, xdp, tc] = ["allow", "drop", "page_count"]
        .map(|name| daemon.readable(&compile::object(name)).display().to_string());
    let go = daemon.path("go").display().to_string();
    let script = format!(
        "bpftool prog load {egress} /sys/fs/bpf/e && bpftool cgroup attach {at} egress pinned /sys/fs/bpf/e && \
         bpftool prog load {xdp} /sys/fs/bpf/x && ip link set {interface} xdpgeneric pinned /sys/fs/bpf/x && \
         bpftool prog load {tc} /sys/fs/bpf/t && tc qdisc add dev {interface} clsact && \
         tc filter add dev {interface} egress bpf da pinned /sys/fs/bpf/t && echo && \
         while [ ! -e {go} ]; do sleep 0.05; done"
    );
    let mut command = daemon.session_command(ADA, &["sh", "-c", &script]);
    command.stdout(std::process::Stdio::piped());
    let mut child = network.near.inside(move || command.spawn().unwrap());
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let show = || {
        let look = |words: &'static [&'static str]| network.near.inside(|| bpfman_tests::command::run(words));
        bpfman_tests::command::run(&["bpftool", "cgroup", "show", &at])
            + &look(&["ip", "link", "show", bpfman_tests::network::INTERFACE])
            + &look(&["tc", "filter", "show", "dev", bpfman_tests::network::INTERFACE, "egress"])
    };
    for attached in ["egress", "prog/xdp", "direct-action"] {
        assert!(show().contains(attached), "{attached}: {}", show());
    }
    daemon.daemon.kill();
    std::fs::write(&go, "").unwrap();
    assert!(child.wait().unwrap().success());
    again(&mut daemon);
    for attached in ["egress", "prog/xdp", "direct-action"] {
        until("nothing is attached", || !show().contains(attached));
    }
}

#[test]
fn sessions_that_left_something_count_for_their_user() {
    let daemon = sessions_of(&policy());
    let leave = || {
        daemon.session(
            ADA,
            &[
                "bpftool",
                "map",
                "create",
                "/sys/fs/bpf/m",
                "type",
                "array",
                "key",
                "4",
                "value",
                "4",
                "entries",
                "1",
                "name",
                "m",
            ],
        )
    };
    for _ in 0..64 {
        leave().success();
    }
    until("all are listed", || list(&daemon).iter().filter(|one| one["state"] == "left").count() == 64);
    leave().fails(1, &["has 64 sessions already", "bpfman detach session"]);
    daemon.session(BOB, &["true"]).success();
    let names: Vec<String> =
        list(&daemon).iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    daemon.bpfman(&format!("detach session {}", names.join(" "))).success();
    assert!(list(&daemon).is_empty());
    leave().success();
}
