//! Third-party programs at hooks on the command line, and their adoption.

use std::fs;

use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::traffic::Traffic;
use bpfman_tests::{Daemon, Network, compile};
use serde_json::json;

use crate::chain_front::{Bench, DROP, PASS, strings};

#[test]
fn a_stranger_at_the_hook_is_shown_and_what_is_missing_is_named() {
    let bench = Bench::new();
    let stranger = compile::object("stranger").display().to_string();
    let script = format!("ip link set dev {INTERFACE} xdpgeneric obj {stranger} sec xdp");
    crate::strangers::with_bpffs(&bench.network.far, &script);
    let shown = bench.json("chain show HOOK");
    assert_eq!((&shown["strategy"], &shown["members"]), (&json!("none"), &json!([])), "{shown:#}");
    assert_eq!(
        (&shown["entries"][0]["ours"], &shown["entries"][0]["via"]),
        (&json!(false), &json!("xdp netlink"))
    );
    assert!(bench.run("chain show HOOK").success().contains("+- others: "));
    for command in ["chain verify", "chain trace", "explain", "chain counters", "debug hold"] {
        let rest = match command {
            "chain trace" => "--packet 000102030405060708090a0b0800",
            "chain counters" => "on",
            _ => "",
        };
        bench.run(&format!("{command} HOOK {rest}")).fails(5, &[INTERFACE]);
    }
    bench.daemon.bpfman(&format!("chain show xdp:absent0@{}", bench.far())).fails(6, &["absent0", "hint: "]);
    bench.network.far.ip(&["link", "set", INTERFACE, "xdpgeneric", "off"]);
    bench.run("chain show HOOK").fails(5, &[INTERFACE]);
}

#[test]
fn links_that_the_kernel_orders_are_drawn_among_those_of_others() {
    if lacks_tcx("links_that_the_kernel_orders_are_drawn_among_those_of_others") {
        return;
    }
    let bench = Bench::new();
    let path = compile::object("chain").display().to_string();
    let load = || bench.run(&format!("load file -p {path} --programs tcx:tcx_member -q")).success();
    // The kernel attaches a program only once per tcx hook.
    let line = |flags: &str| {
        format!("attach {} tcx -d ingress -i {INTERFACE} -n {} {flags} -q", load().trim(), bench.far())
    };
    let attach = |flags: &str| bench.run(&line(flags)).success().trim().to_owned();
    let one = attach("-p 10 --role first");
    let other = attach("-p 5 --after role=first");
    let hook = format!("tcx:{INTERFACE}:ingress@{}", bench.far());
    let shown = bench.json(&format!("chain show {hook}"));
    assert_eq!(
        (&shown["strategy"], strings(&shown["entries"], "via")),
        (&json!("kernel"), vec!["tcx link"; 2]),
        "{shown:#}"
    );
    let links: Vec<_> =
        shown["members"].as_array().unwrap().iter().map(|m| m["link_id"].to_string()).collect();
    assert_eq!(links, [one, other]);
    assert_eq!(bench.json("chain list")["hooks"][0]["mode"], "tcx");
    assert_eq!(bench.json(&format!("chain verify {hook}"))["matches"], true);
    bench.run(&line("-p 5 --before foreign:absent")).fails(5, &["foreign:absent"]);
}

#[test]
fn a_program_that_someone_attached_by_a_link_is_adopted() {
    let bench = Bench::new();
    let stranger = Bench { daemon: Daemon::start(), network: Network::new() };
    let far = bench.far();
    let program = stranger.load(1, DROP);
    let line = format!("attach {program} xdp -i {INTERFACE} -n {far} -p 10 -o json");
    let theirs = stranger.daemon.bpfman(&line).json();
    let traffic = Traffic::new(&bench.network);
    assert_eq!(traffic.send(1), 0);
    let id = bench.load(2, PASS);
    let conflict = bench.run(&format!("attach {id} xdp -i {INTERFACE} -n {far} -p 20"));
    conflict.fails(7, &[&program, "hint: "]);
    let kernel_link = theirs["kernel_link_id"].to_string();
    let adopted = bench
        .json(&format!("adopt {kernel_link} -p 50 --role theirs -m from=stranger -i {INTERFACE} -n {far}"));
    assert_eq!(adopted["kernel_link_id"].to_string(), kernel_link, "{adopted:#}");
    assert_eq!(adopted["metadata"]["from"], "stranger");
    assert_eq!(traffic.send(1), 0, "it goes on");
    bench.attach(&id, "-p 90 --before role=theirs --proceed-on drop pass");
    let shown = bench.json("chain show HOOK");
    let names: Vec<_> =
        shown["members"].as_array().unwrap().iter().map(|m| m["program_id"].to_string()).collect();
    assert_eq!(names, [id, program], "{shown:#}");
    assert_eq!(traffic.send(1), 0);
    bench.run(&format!("adopt {kernel_link} -p 50")).fails(7, &["already"]);
}

#[test]
fn adoption_of_unsuitable_link_is_refused() {
    let bench = Bench::new();
    let stranger = compile::object("stranger").display().to_string();
    let script = format!("ip link set dev {INTERFACE} xdpgeneric obj {stranger} sec xdp");
    crate::strangers::with_bpffs(&bench.network.far, &script);
    for (line, code, says) in [
        ("adopt 4000000000 -p 10", 5, "4000000000"),
        ("adopt /nonexistent/pin -p 10", 5, "/nonexistent/pin"),
        ("adopt 1 -p 10 -n /run/netns/x", 2, "--iface"),
        ("adopt 1 -p 10 --proceed-on pipe", 2, "pipe"),
        ("adopt 1", 2, "--priority"),
        ("adopt link -p 1", 2, "link"),
    ] {
        bench.run(line).fails(code, &[says]);
    }
    assert_eq!(bench.run("list links -q").success(), "");
}

#[test]
fn the_doctor_names_what_strangers_did() {
    let bench = Bench::new();
    bench.attach(&bench.load(1, PASS), "-p 10");
    let path = compile::object("probes").display().to_string();
    let id = bench.run(&format!("load file -p {path} --programs tracepoint:on_tracepoint -q")).success();
    let line = format!("attach {} tracepoint -t syscalls/sys_enter_getpriority -q", id.trim());
    let link = bench.run(&line).success().trim().to_owned();
    bench.run("doctor").success();
    fs::remove_file(bench.daemon.fs().join("links").join(&link)).unwrap();
    let outcome = bench.run("doctor");
    outcome.fails(7, &["1 finding\n", "hint: "]);
    assert!(outcome.stdout.contains(&format!(" link {link}   unpinned: ")), "{outcome:?}");
}
