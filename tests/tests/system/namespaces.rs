//! Network namespaces that lose or change their paths under traffic, whose sockets keep them alive: detached
//! programs must let packets pass there, and attached ones must continue to run.

use std::path::Path;
use std::process::Command;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::run;
use bpfman_tests::inside::Inside;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{tc, tcx, xdp};
use bpfman_tests::skip::has_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Outcome, Wire, binaries, kernel};

use crate::chains::{TC_PIPE, TC_SHOT, put, tc_program};
use crate::equipment::{Program, detach, link, unload};

fn launch() -> Launch {
    let config = "[tc]\nattach = \"clsact\"\n[watch]\ncheck_seconds = 0.2\n".to_owned();
    let flags = ["--log", "info,bpfmand::watch=debug"].map(str::to_owned).to_vec();
    Launch { config, flags, ..Launch::default() }
}

/// Waits until the daemon has noticed that a path leads nowhere. The programs in the namespace are not affected.
fn knows_that_it_leads_nowhere(daemon: &Daemon, path: &Path, id: u32) {
    let line = format!("the namespace is gone netns=Some({path:?})");
    until("the daemon looks", || daemon.log().contains(&line));
    assert_eq!(link(&daemon.wire(), id).state, "ok");
}

fn comes_to(wire: &Wire, id: u32, word: &str) {
    until(&format!("the state is {word}"), || link(wire, id).state.starts_with(word));
}

#[test]
fn filter_attached_by_a_process_ends_with_its_link() {
    let (daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    for direction in ["ingress", "egress", "ingress"] {
        let end = if direction == "ingress" { &network.far } else { &network.near };
        let (first, stays) = (Inside::new(&end.path()), Inside::new(&end.path()));
        let program = tc_program(&wire, 1, TC_SHOT);
        let id = put(&wire, &program, tc(&first.path(), INTERFACE, direction, 50, &[]));
        assert_eq!(traffic.send(3), 0);
        let path = first.path();
        first.end();
        knows_that_it_leads_nowhere(&daemon, &path, id);
        // Attach again by the path of another process: one hook, one filter.
        let other = tc_program(&wire, 2, TC_PIPE);
        let again = put(&wire, &other, tc(&stays.path(), INTERFACE, direction, 60, &[]));
        assert_eq!(stays.filters().len(), 1, "{:?}", stays.filters());
        detach(&wire, id);
        assert_eq!(traffic.send(2), 2);
        assert_eq!(link(&wire, again).state, "ok");
        unload(&wire, program.id);
        unload(&wire, other.id);
        assert_eq!(stays.filters(), Vec::<String>::new());
    }
    daemon.bpfman("doctor").success();
}

#[test]
fn filter_ends_where_only_the_name_was_removed() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let inside = Inside::new(&network.far.path());
    let program = tc_program(&daemon.wire(), 1, TC_SHOT);
    let id = put(&daemon.wire(), &program, tc(&network.far.path(), INTERFACE, "ingress", 50, &[]));
    let path = network.far.path();
    network.far.delete();
    knows_that_it_leads_nowhere(&daemon, &path, id);
    assert_eq!(inside.filters().len(), 1);
    daemon.bpfman("doctor").success();
    daemon.kill();
    daemon.again(&launch());
    knows_that_it_leads_nowhere(&daemon, &path, id);
    detach(&daemon.wire(), id);
    unload(&daemon.wire(), program.id);
    assert_eq!(inside.filters(), Vec::<String>::new());
    assert_eq!(traffic.send(2), 2);
}

fn chain_at(daemon: &Daemon, netns: &Path) -> String {
    let hook = format!("tc:{INTERFACE}:ingress@{}", netns.display());
    ["chain show", "explain"].map(|command| daemon.bpfman(&format!("{command} {hook}")).success()).concat()
}

/// Attaches two isolated members that pass everything: the array between them keeps its contents by its pin alone.
fn cut_chain(daemon: &Daemon, netns: &Path) -> Vec<u32> {
    let wire = daemon.wire();
    let attached = [1, 2].map(|who| {
        let program = tc_program(&wire, who, TC_PIPE);
        let line = format!(
            "attach {} tc -d ingress -i {INTERFACE} -p {who} --netns {} --isolated -q",
            program.id,
            netns.display()
        );
        daemon.bpfman(&line).success().trim().parse().unwrap()
    });
    attached.to_vec()
}

#[test]
fn chain_stays_whole_when_its_process_ends() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let inside = Inside::new(&network.far.path());
    let links = cut_chain(&daemon, &inside.path());
    assert_eq!(traffic.send(5), 5);
    let path = inside.path();
    inside.end();
    knows_that_it_leads_nowhere(&daemon, &path, links[1]);
    let shown = chain_at(&daemon, &path);
    assert!(shown.contains("every program proceeded: 5 packets"), "{shown}");
    assert!(shown.contains("tc_member is reached by 5 of"), "{shown}");
    assert_eq!(traffic.send(5), 5);
    daemon.kill();
    daemon.again(&launch());
    knows_that_it_leads_nowhere(&daemon, &path, links[0]);
    assert_eq!(traffic.send(5), 5);
    for id in links {
        detach(&daemon.wire(), id);
        assert_eq!(traffic.send(2), 2);
    }
}

#[test]
fn chain_in_an_unreachable_namespace_stays_whole() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let (path, links) = (network.far.path(), cut_chain(&daemon, &network.far.path()));
    // Now only the sockets of the traffic keep the namespace.
    network.far.delete();
    for _ in 0..2 {
        comes_to(&daemon.wire(), links[0], "unreachable: ");
        assert!(chain_at(&daemon, &path).contains("may run on"));
        assert_eq!(traffic.send(5), 5);
        let refused =
            daemon.wire().detach(bpfman_proto::v1::DetachRequest { link_id: links[0] }).unwrap_err();
        assert!(refused.message().contains("no name, mount or process leads"), "{refused:?}");
        assert!(daemon.bpfman("doctor").stdout.contains("may run on"));
        daemon.kill();
        daemon.again(&launch());
        let started = daemon.log();
        assert!(started.contains("records and kernel were compared, and differ in what was not mended"));
    }
    drop(traffic);
    for id in links {
        comes_to(&daemon.wire(), id, "waiting: ");
        detach(&daemon.wire(), id);
    }
    daemon.bpfman("doctor").success();
}

#[test]
fn chain_stays_whole_when_the_records_are_lost() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let inside = Inside::new(&network.far.path());
    cut_chain(&daemon, &inside.path());
    network.far.delete();
    assert_eq!(traffic.send(4), 4);
    daemon.kill();
    std::fs::remove_dir_all(daemon.path("run/state/store")).unwrap();
    daemon.again(&launch());
    assert_eq!(traffic.send(4), 4);
    let strays = daemon.bpfman("stray list").success();
    assert!(strays.contains(" filter "), "{strays}");
    let pins: Vec<String> = daemon.bpfman("stray list -q").success().lines().map(str::to_owned).collect();
    for pin in pins {
        daemon.bpfman(&format!("stray remove {pin}")).success();
    }
    assert_eq!((inside.filters(), traffic.send(2)), (Vec::new(), 2));
}

#[test]
fn unrecorded_chain_without_reachable_namespace_stays() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    cut_chain(&daemon, &network.far.path());
    network.far.delete();
    assert_eq!(traffic.send(4), 4);
    let lose_records = |daemon: &mut Daemon| {
        daemon.kill();
        std::fs::remove_dir_all(daemon.path("run/state/store")).unwrap();
        daemon.again(&launch());
    };
    for _ in 0..2 {
        lose_records(&mut daemon);
        assert_eq!(traffic.send(4), 4);
        let strays = daemon.bpfman("stray list -o json").success();
        assert!(strays.contains("\"filter\"") && strays.contains("nothing leads there"), "{strays}");
    }
    let has_chains =
        |daemon: &Daemon| kernel::pins(&daemon.fs()).iter().any(|pin| pin.starts_with("chains/"));
    assert!(has_chains(&daemon));
    drop(traffic);
    until("the namespace has ended", || {
        daemon.kill();
        daemon.again(&launch());
        !has_chains(&daemon)
    });
}

#[test]
fn name_of_another_namespace_is_followed_again() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let wire = daemon.wire();
    let inside = Inside::new(&network.far.path());
    let path = network.far.path();
    let member = |name, kind, who| Program::member(&daemon.wire(), name, kind, who, 2);
    let mut attached = vec![
        put(&wire, &member("xdp_member", Type::Xdp, 1), xdp(&path, INTERFACE, 50, &[])),
        put(&wire, &tc_program(&wire, 2, TC_PIPE), tc(&path, INTERFACE, "ingress", 50, &[])),
    ];
    if has_tcx() {
        let program = Program::member(&wire, "tcx_member", Type::Tcx, 3, -1);
        attached.push(put(&wire, &program, tcx(&path, INTERFACE, "ingress", 50)));
    }
    network.far.delete();
    let name = path.file_name().unwrap().to_str().unwrap();
    run(&["ip", "netns", "add", name]);
    network.far.ip(&["link", "add", INTERFACE, "type", "veth", "peer", "name", "peer"]);
    for id in &attached {
        comes_to(&wire, *id, "elsewhere: ");
    }
    let fresh = put(&wire, &member("xdp_member", Type::Xdp, 4), xdp(&path, INTERFACE, 50, &[]));
    assert_eq!(link(&wire, fresh).state, "ok");
    assert!(run(&["ip", "-n", name, "link", "show", "dev", INTERFACE]).contains("xdp"));
    assert!(daemon.bpfman("doctor").stdout.contains("does not lead to its network namespace any more"));
    daemon.kill();
    daemon.again(&launch());
    let wire = daemon.wire();
    assert_eq!(link(&wire, fresh).state, "ok");
    for id in attached {
        comes_to(&wire, id, "elsewhere: ");
        detach(&wire, id);
    }
    assert_eq!(inside.filters(), Vec::<String>::new());
    assert_eq!(link(&wire, fresh).state, "ok");
}

#[test]
fn match_over_names_follows_what_they_lead_to() {
    let (daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let program = tc_program(&daemon.wire(), 1, TC_SHOT);
    let pattern = format!("{}*", network.far.path().display());
    let line = format!(
        "attach {} tc -d ingress --iface-match {INTERFACE} --netns-match {pattern} -p 50",
        program.id
    );
    daemon.bpfman(&line).success();
    let inside = Inside::new(&network.far.path());
    until("it is attached", || inside.filters().len() == 1);
    assert_eq!(traffic.send(2), 0);
    let again = network.far.named_again("again");
    network.far.delete();
    let links = || daemon.bpfman("list links -o json").success();
    until("the link has the other name", || links().contains("-again") && links().contains("running"));
    assert_eq!((traffic.send(2), inside.filters().len()), (0, 1));
    again.delete();
    until("it is detached", || inside.filters().is_empty());
    assert_eq!(traffic.send(2), 2);
}

#[test]
fn break_glass_detaches_filters_in_namespaces_without_a_name() {
    let (mut daemon, network) = (Daemon::start_with(&launch()), Network::new());
    let traffic = Traffic::new(&network);
    let inside = Inside::new(&network.far.path());
    let program = tc_program(&daemon.wire(), 1, TC_SHOT);
    put(&daemon.wire(), &program, tc(&network.far.path(), INTERFACE, "ingress", 50, &[]));
    network.far.delete();
    daemon.kill();
    let mut command = Command::new(binaries::find("bpfmand"));
    command.arg("--break-glass").arg("--runtime-dir").arg(daemon.path("run"));
    command.arg("--socket-path").arg(daemon.socket());
    let told = Outcome::of(&mut command).success();
    assert!(told.contains("1 detached, 0 not"), "{told}");
    assert_eq!((inside.filters(), traffic.send(2)), (Vec::new(), 2));
}
