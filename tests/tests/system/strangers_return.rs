//! Attachments that third parties (`tc`, bpftool) remove are restored, and third-party programs stay.

use std::time::Instant;

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::command::run;
use bpfman_tests::network::{INTERFACE, Namespace};
use bpfman_tests::requests::{attach, tc, tcx, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile, kernel, skip};
use serde_json::Value;

use crate::equipment::{Program, link, test_name};
use crate::strangers::with_bpffs;

fn watchful(config: &str) -> Daemon {
    let config = format!("[watch]\ncheck_seconds = 0.2\n{config}");
    Daemon::start_with(&Launch { config, ..Launch::default() })
}

fn tc_in(end: &Namespace, words: &[&str]) -> String {
    let netns = format!("--net={}", end.path().display());
    run(&[&["nsenter", &netns, "tc"], words].concat())
}

fn filters(end: &Namespace) -> Vec<(u64, String)> {
    let shown = tc_in(end, &["-j", "filter", "show", "dev", INTERFACE, "ingress"]);
    let all: Value = serde_json::from_str(&shown).unwrap();
    let entries = all.as_array().unwrap().iter();
    entries
        .filter_map(|filter| {
            let handle = filter["options"]["handle"].as_str()?.to_owned();
            Some((filter["pref"].as_u64()?, handle))
        })
        .collect()
}

fn is_ok(wire: &Wire, id: u32) -> bool {
    link(wire, id).state == "ok"
}

fn comes_back(traffic: &Traffic, program: &Program, wire: &Wire, id: u32) {
    until("it is back", || is_ok(wire, id));
    let before = program.hits();
    let _through = traffic.send(1);
    assert_eq!(program.hits(), before + 1);
}

#[test]
fn the_race_of_2022_takes_no_filter_of_ours() {
    let (daemon, network) = (watchful("[tc]\nattach = \"clsact\"\n"), Network::new());
    let (wire, traffic, far) = (daemon.wire(), Traffic::new(&network), &network.far);
    let program = Program::member(&wire, "tc_member", Type::Tc, 1, 3);
    let id = wire.attach(attach(program.id, tc(&far.path(), INTERFACE, "ingress", 50, &[]))).unwrap().link_id;
    let ours = filters(far);
    assert_eq!(ours.len(), 1);
    let (priority, handle) = &ours[0];
    assert!(*priority != 1 && handle != "0x1", "{ours:?}: no number that anyone takes for granted");
    let theirs = "pref 1 handle 1 bpf";
    let object = compile::object("stranger").display().to_string();
    let replace = format!(
        "tc filter replace dev {INTERFACE} ingress {theirs} direct-action object-file {object} section tc"
    );
    let delete = format!("filter del dev {INTERFACE} ingress {theirs}");
    for _ in 0..5 {
        with_bpffs(far, &replace);
        assert_eq!(filters(far).len(), 2);
        with_bpffs(far, &replace);
        assert_eq!(filters(far).len(), 2);
        tc_in(far, &delete.split(' ').collect::<Vec<_>>());
        assert_eq!(filters(far), ours);
        assert!(is_ok(&wire, id));
    }
    // Another tool deletes our filter by its handle, and one flushes all; their filters are not restored.
    with_bpffs(far, &replace);
    let numbers = format!("filter del dev {INTERFACE} ingress pref {priority} handle {handle} bpf");
    tc_in(far, &numbers.split(' ').collect::<Vec<_>>());
    until("it is back", || is_ok(&wire, id));
    assert_eq!(filters(far).len(), 2);
    tc_in(far, &delete.split(' ').collect::<Vec<_>>());
    comes_back(&traffic, &program, &wire, id);
    tc_in(far, &["qdisc", "del", "dev", INTERFACE, "clsact"]);
    comes_back(&traffic, &program, &wire, id);
    assert_eq!(filters(far).len(), 1);
    let log = daemon.log();
    assert_eq!(log.matches("was lost and is back").count(), 2, "each is told once: {log}");
}

#[test]
fn a_tcx_link_that_others_force_off_or_unpin_comes_back() {
    if skip::lacks_tcx(&test_name()) {
        return;
    }
    let (daemon, network) = (watchful(""), Network::new());
    let (wire, traffic, far) = (daemon.wire(), Traffic::new(&network), network.far.path());
    let chained = Program::member(&wire, "tc_member", Type::Tc, 1, 3);
    let alone = Program::member(&wire, "tcx_member", Type::Tcx, 2, -1);
    let links = [
        (&chained, wire.attach(attach(chained.id, tc(&far, INTERFACE, "ingress", 50, &[]))).unwrap().link_id),
        (&alone, wire.attach(attach(alone.id, tcx(&far, INTERFACE, "ingress", 50))).unwrap().link_id),
    ];
    for (program, id) in links {
        let kernel_link = link(&wire, id).kernel_link_id.unwrap();
        run(&["bpftool", "link", "detach", "id", &kernel_link.to_string()]);
        comes_back(&traffic, program, &wire, id);
        let now = link(&wire, id);
        assert_ne!(now.kernel_link_id.unwrap(), kernel_link);
        // Without its pin the link ends, and is restored.
        let pin = now.pin_path;
        std::fs::remove_file(daemon.fs().join(&pin)).unwrap_or_else(|error| panic!("{pin}: {error}"));
        comes_back(&traffic, program, &wire, id);
        assert!(daemon.fs().join(&pin).exists());
    }
}

#[test]
fn forced_off_xdp_link_returns_unless_the_hook_was_taken() {
    let (daemon, network) = (watchful(""), Network::new());
    let (wire, traffic, far) = (daemon.wire(), Traffic::new(&network), network.far.path());
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let id = wire.attach(attach(program.id, xdp(&far, INTERFACE, 50, &[]))).unwrap().link_id;
    let detach = || {
        let kernel_link = link(&wire, id).kernel_link_id.unwrap();
        run(&["bpftool", "link", "detach", "id", &kernel_link.to_string()]);
    };
    detach();
    comes_back(&traffic, &program, &wire, id);
    // Another tool attaches before the daemon restores the link. This is a race: repeat until the tool wins.
    let object = compile::object("stranger").display().to_string();
    let take = format!("ip link set dev {INTERFACE} xdpgeneric obj {object} sec xdp 2> /dev/null || true");
    let theirs =
        || kernel::hooks(&far)[0]["xdp"][0]["id"].as_u64().filter(|found| *found != u64::from(program.id));
    until("they have the hook", || {
        detach();
        with_bpffs(&network.far, &take);
        let taken = theirs().is_some();
        if !taken {
            until("it is back", || is_ok(&wire, id));
        }
        taken
    });
    let stranger = theirs().unwrap();
    until("it is named", || {
        let state = link(&wire, id).state;
        state.starts_with("lost: ") && state.contains(&stranger.to_string()) && state.contains("\"stranger\"")
    });
    assert_eq!(theirs(), Some(stranger), "theirs is not overwritten");
    network.far.ip(&["link", "set", "dev", INTERFACE, "xdpgeneric", "off"]);
    comes_back(&traffic, &program, &wire, id);
}

#[test]
fn conflict_names_the_holder_of_the_hook_and_a_remedy() {
    let (daemon, other) = (Daemon::start(), Daemon::start());
    let (wire, network) = (daemon.wire(), Network::new());
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 1);
    let far = network.far.path();
    let attach_ours = || wire.attach(attach(program.id, xdp(&far, INTERFACE, 50, &[]))).unwrap_err();
    let object = compile::object("stranger").display().to_string();
    with_bpffs(&network.far, &format!("ip link set dev {INTERFACE} xdpgeneric obj {object} sec xdp"));
    let id = kernel::hooks(&far)[0]["xdp"][0]["id"].to_string();
    let tag = kernel::program(id.parse().unwrap())["tag"].as_str().unwrap().to_owned();
    let message = attach_ours().message().to_owned();
    let words = [INTERFACE, &id, "\"stranger\"", &tag, "by netlink in generic mode"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    let line =
        format!("attach {} xdp --iface {INTERFACE} --priority 50 --netns {}", program.id, far.display());
    daemon.bpfman(&line).fails(7, &["xdpgeneric off", "without a gap"]);
    network.far.ip(&["link", "set", "dev", INTERFACE, "xdpgeneric", "off"]);
    let theirs = other.wire();
    let holder = Program::member(&theirs, "xdp_member", Type::Xdp, 1, 2);
    let held = theirs.attach(attach(holder.id, xdp(&far, INTERFACE, 50, &[]))).unwrap().link_id;
    let kernel_link = link(&theirs, held).kernel_link_id.unwrap();
    let message = attach_ours().message().to_owned();
    let words =
        [format!("program {} \"xdp_member\"", holder.id), format!("by link {kernel_link} in native mode")];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    daemon.bpfman(&line).fails(7, &[&format!("bpfman adopt {kernel_link}")]);
}

#[test]
fn an_interface_that_comes_back_is_attached_to_again() {
    let (daemon, network) = (watchful(""), Network::new());
    let (wire, far) = (daemon.wire(), &network.far);
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 1);
    let add = || far.ip(&["link", "add", "pod1", "type", "veth", "peer", "name", "peer1"]);
    add();
    let id = wire.attach(attach(program.id, xdp(&far.path(), "pod1", 50, &[]))).unwrap().link_id;
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..5 {
        far.ip(&["link", "del", "pod1"]);
        until("it waits", || link(&wire, id).state.starts_with("waiting: "));
        assert!(kernel::pins(&daemon.fs()).iter().all(|pin| !pin.starts_with("xdp/")));
        add();
        let begun = Instant::now();
        until("it is back", || is_ok(&wire, id));
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("an interface that came back was attached to again after {slowest:?} at the latest");
    far.ip(&["link", "set", "pod1", "name", "wan0"]);
    until("the name is followed", || link(&wire, id).attachment.contains("wan0"));
    assert!(is_ok(&wire, id));
}

#[test]
fn xdp_loader_and_ours_refuse_each_other_and_nobody_is_replaced() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, far) = (daemon.wire(), network.far.path());
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2);
    let object = compile::object("stranger").display().to_string();
    let running = || kernel::hooks(&far)[0]["xdp"][0]["id"].as_u64();
    // The third-party program is attached first; on kernels with freplace, in libxdp's dispatcher.
    with_bpffs(&network.far, &format!("xdp-loader load -m skb -s xdp {INTERFACE} {object}"));
    let theirs = running().unwrap();
    let refused = wire.attach(attach(program.id, xdp(&far, INTERFACE, 50, &[]))).unwrap_err();
    let message = refused.message();
    let name = kernel::program(theirs.try_into().unwrap())["name"].as_str().unwrap().to_owned();
    assert!(message.contains(&theirs.to_string()) && message.contains(&name), "{message}");
    assert_eq!(name == "xdp_dispatcher", message.contains("a dispatcher of libxdp"), "{message}");
    assert_eq!(running(), Some(theirs));
    network.far.ip(&["link", "set", "dev", INTERFACE, "xdpgeneric", "off"]);
    wire.attach(attach(program.id, xdp(&far, INTERFACE, 50, &[]))).unwrap();
    let load = format!("! xdp-loader load -m skb -s xdp {INTERFACE} {object}");
    with_bpffs(&network.far, &load);
    with_bpffs(&network.far, &format!("! xdp-loader unload {INTERFACE} --all"));
    assert_eq!(running(), Some(program.id.into()));
}

#[test]
fn a_stranger_is_adopted_and_runs_in_one_chain_with_ours() {
    let (daemon, other, network) = (Daemon::start(), Daemon::start(), Network::new());
    let (wire, traffic, far) = (daemon.wire(), Traffic::new(&network), network.far.path());
    let theirs = Program::member(&other.wire(), "xdp_member", Type::Xdp, 1, 2);
    let held = other.wire().attach(attach(theirs.id, xdp(&far, INTERFACE, 50, &[]))).unwrap().link_id;
    let kernel_link = link(&other.wire(), held).kernel_link_id.unwrap();
    let adopted = daemon.bpfman(&format!("adopt {kernel_link} -p 50 -o json")).json();
    assert_eq!(
        (&adopted["state"], &adopted["kernel_link_id"]),
        (&"ok".into(), &kernel_link.into()),
        "{adopted}"
    );
    assert_eq!(traffic.send(1), 1);
    assert_eq!(theirs.hits(), 1);
    let ours = Program::member(&wire, "xdp_member", Type::Xdp, 2, 2);
    let id = wire.attach(attach(ours.id, xdp(&far, INTERFACE, 10, &[]))).unwrap().link_id;
    assert_eq!(link(&wire, id).kernel_link_id, Some(kernel_link), "it is their link still");
    assert_eq!(traffic.send(3), 3);
    assert_eq!((theirs.hits(), ours.hits()), (4, 3));
    crate::equipment::detach(&wire, id);
    let adopted = u32::try_from(adopted["link_id"].as_u64().unwrap()).unwrap();
    crate::equipment::detach(&wire, adopted);
    assert_eq!(traffic.send(1), 1);
    assert_eq!((theirs.hits(), ours.hits()), (5, 3));
    assert!(kernel::has_link(kernel_link));
    assert!(kernel::pins(&daemon.fs()).iter().all(|pin| !pin.starts_with("xdp/")));
}

#[test]
fn interfaces_that_match_are_attached_to_as_they_come() {
    let (daemon, network) = (watchful(""), Network::new());
    let (wire, far) = (daemon.wire(), &network.far);
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 1);
    let matching = "--iface-match pod* --iface-except pod9";
    let line =
        format!("attach {} xdp {matching} -p 50 --netns-match {} -q", program.id, far.path().display());
    let id = daemon.bpfman(&line).success().trim().to_owned();
    let attached = || {
        let links = daemon.bpfman("list links -o json").json();
        links["links"].as_array().unwrap().iter().filter(|link| link["state"] == "ok").count()
    };
    let mut slowest = std::time::Duration::ZERO;
    for number in 1..=9 {
        far.ip(&[
            "link",
            "add",
            &format!("pod{number}"),
            "type",
            "veth",
            "peer",
            "name",
            &format!("x{number}"),
        ]);
        let begun = Instant::now();
        until("it is attached to", || {
            kernel::pins(&daemon.fs()).iter().filter(|pin| pin.starts_with("xdp/")).count() == number.min(8)
        });
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("an interface that matches was attached to after {slowest:?} at the latest");
    assert_eq!(attached(), 8);
    far.ip(&["link", "del", "pod3"]);
    until("nothing of it is left", || attached() == 7);
    daemon.bpfman(&format!("detach match {id}")).success();
    assert_eq!(attached(), 0);
}
