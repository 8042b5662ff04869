//! Activity of other processes is recorded, with its actor and its effect.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, tc, xdp};
use bpfman_tests::skip::lacks_tcx;
use bpfman_tests::wait::{DEADLINE, until, within};
use bpfman_tests::{Daemon, Launch, Network, compile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::*;
use crate::equipment::Program;
use crate::events::follow;
use crate::strangers::command_with_bpffs;

const ADA: u32 = 64_321;
const EVE: u32 = 64_322;
const MAKER: u32 = 64_324;

#[test]
fn loads_links_pins_and_maps_of_third_parties_name_their_makers() {
    let (daemon, network) = (daemon(), Network::new());
    let pin = daemon.fs().join("stranger");
    // Use a separate user: root's entries are limited, and other tests' daemons use them up. The pin's folder is
    // root's.
    let command = as_user(MAKER, network.far.command("setpriv"), "+bpf,+net_admin,+dac_override");
    let words = ["load", "map", "link", "1", "pin", pin.to_str().unwrap(), "detach"];
    let stranger = Stranger::stays(command, &words);
    let (program, link, pid) = (stranger.made("load"), stranger.made("link"), stranger.pid());
    let load = entry(&daemon, pid, "SeenLoad");
    assert_eq!(load["programs"], serde_json::json!([program]), "{load}");
    assert_eq!(
        (&load["uid"], &load["daemon"], &load["result"]),
        (&MAKER.into(), &"radar".into(), &"done".into())
    );
    assert_eq!(load["executable"], binary().display().to_string());
    assert_eq!(load["command"], "radar_stranger_"[..15]);
    let text = load["object"].as_str().unwrap();
    assert!(text.starts_with(&format!("program {program} \"stranger\" of type xdp, tag ")), "{text}");
    let made = entry(&daemon, pid, "SeenLink");
    assert_eq!(made["links"], serde_json::json!([link]), "{made}");
    assert!(made["object"].as_str().unwrap().contains("at xdp of interface 1"), "{made}");
    let pinned = entry(&daemon, pid, "SeenPin");
    assert!(pinned["object"].as_str().unwrap().ends_with(&format!("at {}", pin.display())), "{pinned}");
    assert!(entry(&daemon, pid, "SeenMap")["object"].as_str().unwrap().contains("\"strange\" of type array"));
    assert_eq!(entry(&daemon, pid, "SeenDetach")["links"], serde_json::json!([link]));
    let survey = daemon.bpfman("radar -o json").json();
    let found = |list: &str, id: u64| {
        let all = survey[list].as_array().unwrap();
        all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id} in {survey}")).clone()
    };
    let shown = found("programs", program);
    assert_eq!(shown["loaded_by"]["pid"], pid, "{shown}");
    // A process that queries the kernel about an object holds it briefly too.
    assert!(shown["holders"].as_array().unwrap().iter().any(|holder| holder["pid"] == pid), "{shown}");
    assert_eq!(found("links", link)["made_by"]["pid"], pid);
    let own = programs(&daemon);
    assert!(own.len() >= 2, "{own:?}");
    let strange = survey["programs"].as_array().unwrap();
    assert!(strange.iter().all(|one| !own.contains(&one["id"].to_string())), "{survey}");
    assert!(daemon.bpfman("radar").success().contains("radar_stranger"));
    // Once two readings have shown events, the id list was read after the first one, while the program existed.
    for _ in 0..2 {
        let events = || status(&daemon)["events"].as_u64().unwrap();
        let before = events();
        Stranger::of_user(MAKER, &["load"]).end();
        until("the counts are read again", || events() > before);
    }
    std::fs::remove_file(&pin).unwrap();
    stranger.end();
    until("the end of the program is told", || {
        let is_told = |entry: &Value| entry["programs"].as_array().unwrap().contains(&program.into());
        seen(&daemon).iter().any(|entry| entry["verb"] == "SeenGone" && is_told(entry))
    });
}

fn run_as_process(mut command: Command) -> u32 {
    let mut process = command.spawn().unwrap();
    let ended = within(&format!("{command:?} to end"), || process.wait()).unwrap();
    assert!(ended.success(), "{command:?}");
    process.id()
}

#[test]
fn changes_without_bpf_syscall_are_observed_or_unseen() {
    let (daemon, network) = (daemon(), Network::new());
    let (source, unseen) = (status(&daemon)["source"].clone(), status(&daemon)["unseen"].clone());
    eprintln!("Linux {}: {source}, not seen: {unseen}", rustix::system::uname().release().to_string_lossy());
    let unseen = unseen.as_array().unwrap().clone();
    let sees = |what: &str| {
        let is_unseen = unseen.iter().any(|one| one.as_str().unwrap().starts_with(&format!("{what}: ")));
        // A kernel of the tests that has trampolines has them for these functions, too.
        assert!(!is_unseen || source != "trampolines", "{what}: {unseen:?}");
        !is_unseen
    };
    let (sockets, netlink) = (sees("programs at sockets"), sees("XDP by netlink"));
    let (pins, filters) = (sees("removed pins"), sees("filters of traffic control"));

    let stranger = Stranger::new(&["socket"]);
    let program = serde_json::json!([stranger.made("socket")]);
    assert_eq!(entry(&daemon, stranger.pid(), "SeenLoad")["programs"], program);
    if sockets {
        let attached = entry(&daemon, stranger.pid(), "SeenAttach");
        assert_eq!(attached["programs"], program, "{attached}");
        assert!(attached["object"].as_str().unwrap().ends_with(" at a socket"), "{attached}");
    }

    let object = compile::object("stranger").display().to_string();
    let run = |program: &str, line: &str| {
        run_as_process(command_with_bpffs(&network.far, &format!("exec {program} {line}")))
    };
    let by_ip = run("ip", &format!("link set dev {INTERFACE} xdpgeneric obj {object} sec xdp"));
    // To probe the kernel, the library of `ip` loads other programs first.
    let loads = entry_about(&daemon, by_ip, "SeenLoad", "\"stranger\" of type xdp");
    let off = run("ip", &format!("link set dev {INTERFACE} xdpgeneric off"));
    if netlink {
        let attached = entry(&daemon, by_ip, "SeenAttach");
        assert!(attached["object"].as_str().unwrap().ends_with(", by netlink"), "{attached}");
        assert!(loads["programs"].as_array().unwrap().contains(&attached["programs"][0]), "{attached}");
        assert_eq!(entry(&daemon, off, "SeenDetach")["command"], "ip");
    }

    let pin = daemon.fs().join("stranger");
    let stranger = Stranger::new(&["load", "pin", pin.to_str().unwrap()]);
    entry(&daemon, stranger.pid(), "SeenPin");
    let mut remove = Command::new("rm");
    remove.arg(&pin);
    let removed = run_as_process(remove);
    if pins {
        let told = entry(&daemon, removed, "SeenUnpin");
        assert!(told["object"].as_str().unwrap().contains("stranger"), "{told}");
    }

    run("tc", &format!("qdisc add dev {INTERFACE} clsact"));
    let filter = |preference: u32| {
        run("tc", &format!("filter add dev {INTERFACE} ingress pref {preference} bpf da obj {object} sec tc"))
    };
    let made = filter(7);
    let gone = run("tc", &format!("filter del dev {INTERFACE} ingress pref 7"));
    let wire = daemon.wire();
    let own = Program::member(&wire, "tc_member", Type::Tc, 1, 2).id;
    wire.attach(attach(own, tc(&network.far.path(), INTERFACE, "ingress", 7, &[]))).unwrap();
    let beside = filter(8);
    if filters {
        assert!(
            entry(&daemon, made, "SeenAttach")["object"].as_str().unwrap().starts_with("filter at interface")
        );
        entry(&daemon, gone, "SeenDetach");
        let touched = entry(&daemon, beside, "HookTouched");
        assert!(touched["object"].as_str().unwrap().starts_with("a filter beside ours"), "{touched}");
        assert_eq!(touched["owners"], serde_json::json!(["root"]), "{touched}");
    }

    // Only its pin keeps the link of our hook.
    let own = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    wire.attach(attach(own, xdp(&network.far.path(), INTERFACE, 7, &[]))).unwrap();
    let mut remove = Command::new("rm");
    remove.arg(std::fs::read_dir(daemon.fs().join("xdp")).unwrap().next().unwrap().unwrap().path());
    let removed = run_as_process(remove);
    if pins {
        let touched = entry(&daemon, removed, "HookTouched");
        assert!(touched["object"].as_str().unwrap().starts_with("our pin removed: pin "), "{touched}");
        assert!(touched["hooks"][0].as_str().unwrap().starts_with("xdp:"), "{touched}");
    }
}

#[test]
fn first_load_of_a_process_is_sent_at_once_later_ones_batched() {
    const ROUNDS: usize = 20;
    let daemon = daemon();
    let (told, heard) = std::sync::mpsc::channel();
    let mut follower = follow(&daemon, "--after 0 --verb SeenLoad", move |event| {
        let _nobody_waits = told.send((Instant::now(), event));
    });
    // Other processes of the machine load programs as root too; many of them may be delayed.
    let entry_of = |pid: u32| loop {
        let (at, event) = heard.recv_timeout(DEADLINE).unwrap();
        if event["pid"] == pid {
            return (at, event);
        }
    };
    let _follows = entry_of(Stranger::of_user(LOADER, &["load"]).pid());
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let stranger = Stranger::of_user(LOADER, &["load", "load", "load"]);
            let (at, event) = entry_of(stranger.pid());
            assert_eq!(event["programs"][0], stranger.did[0].1, "{event}");
            at.saturating_duration_since(begun)
        })
        .collect();
    times.sort();
    let (median, most) = (times[ROUNDS / 2], times[ROUNDS - 1]);
    eprintln!(
        "from the start of a process until its load is with who follows: median {median:?}, at most {most:?}"
    );
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn own_actions_are_not_reported_and_refused_calls_are() {
    let daemon = daemon();
    let own = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, 2).id;
    let stranger = Stranger::new(&["refused", "3"]);
    let refused = entry(&daemon, stranger.pid(), "SeenLoad");
    assert_eq!((&refused["result"], &refused["reason"]), (&"failed".into(), &"kernel-refused".into()));
    until("all three are told", || counts(&of_process(&daemon, stranger.pid()), "SeenLoad") == 3);
    let told = seen(&daemon);
    assert!(
        told.iter().all(|entry| !entry["programs"].as_array().unwrap().contains(&own.into())),
        "{told:?}"
    );
    assert!(told.iter().all(|entry| entry["pid"] != daemon.pid()), "{told:?}");
    assert!(status(&daemon)["own_events"].as_u64().unwrap() > 0);
}

fn stands_still(process: u32) -> bool {
    std::fs::read_dir(format!("/proc/{process}/task")).unwrap().all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    })
}

#[test]
fn vanished_process_is_reported_by_kernel_data_without_its_name() {
    let daemon = daemon();
    let signal = |signal| kill_process(Pid::from_raw(daemon.pid().cast_signed()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    // Threads stop some time after the signal was sent.
    until("the daemon stands still", || stands_still(daemon.pid()));
    let stranger = Stranger::new(&["name", "a\n\u{1b}[2Jb\",{", "load"]);
    let pid = stranger.pid();
    stranger.end();
    signal(Signal::CONT);
    let load = entry(&daemon, pid, "SeenLoad");
    assert_eq!((&load["gone"], &load["command"]), (&true.into(), &"a\n\u{1b}[2Jb\",{".into()), "{load}");
    assert_eq!(load["executable"], Value::Null);
    for line in ["history --by radar", "events --by radar"] {
        let table = daemon.bpfman(line).success();
        assert!(table.contains("a\\n\\u{1b}[2Jb"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table}");
    }
    assert!(!daemon.log().contains('\u{1b}'));
}

#[test]
fn process_that_changes_a_managed_hook_is_reported() {
    let (daemon, network) = (daemon(), Network::new());
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, 2).id;
    let far = network.far.path();
    wire.attach(attach(program, xdp(&far, INTERFACE, 7, &[]))).unwrap();
    let hook = format!("xdp:{INTERFACE}@{}", far.display());
    let shown = daemon.bpfman(&format!("chain show {hook} -o json")).json();
    let link = shown["entries"][0]["kernel_link_id"].as_u64().unwrap();
    let stranger = Stranger::new(&["open-link", &link.to_string(), "detach"]);
    assert_eq!(stranger.made("detach"), 0);
    let touched = entry(&daemon, stranger.pid(), "HookTouched");
    assert_eq!(
        (&touched["hooks"][0], &touched["links"][0]),
        (&hook.as_str().into(), &link.into()),
        "{touched}"
    );
    assert!(touched["object"].as_str().unwrap().starts_with("our link detached by force"), "{touched}");
    assert_eq!(touched["owners"], serde_json::json!(["root"]), "{touched}");
    until("it is remembered", || {
        status(&daemon)["touched"][0].as_str().is_some_and(|what| what.contains(&hook))
    });
    assert!(daemon.bpfman(&format!("history {hook}")).success().contains("hook touched"));
    assert!(daemon.bpfman("doctor").stdout.contains("our link detached by force"));
}

#[test]
fn tcx_attach_without_a_link_at_our_hook_is_reported_as_such() {
    if lacks_tcx("tcx_attach_without_a_link_at_our_hook_is_reported_as_such") {
        return;
    }
    let (daemon, network) = (daemon(), Network::new());
    let wire = daemon.wire();
    let own = Program::member(&wire, "tc_member", Type::Tc, 1, 2).id;
    wire.attach(attach(own, tc(&network.far.path(), INTERFACE, "ingress", 7, &[]))).unwrap();
    let command = network.far.command(binary().to_str().unwrap());
    let stranger = Stranger::stays(command, &["tcx", INTERFACE, "tcx-off", INTERFACE]);
    assert_eq!((stranger.made("tcx"), stranger.made("tcx-off")), (0, 0));
    for what in ["a program beside ours: ", "a program beside ours detached: "] {
        let touched = entry_about(&daemon, stranger.pid(), "HookTouched", what);
        assert!(touched["object"].as_str().unwrap().contains(" at tcx_ingress of interface "), "{touched}");
        assert!(touched["hooks"][0].as_str().unwrap().starts_with("tc:"), "{touched}");
    }
}

#[test]
fn third_party_events_need_root_or_a_grant() {
    let policy = format!(
        "[access]\nsocket_group = \"read\"\n\
         [[grants]]\nname = \"watchers\"\nusers = [{ADA}]\nallow = [\"read\", \"radar\"]\n"
    );
    let daemon = Daemon::start_with(&Launch { policy, ..launch() });
    daemon.open_to_users();
    wait_until_on(&daemon);
    let stranger = Stranger::new(&["load"]);
    entry(&daemon, stranger.pid(), "SeenLoad");
    let pids = |uid| {
        let told = daemon.bpfman_as(uid, "events --by radar -o json").success();
        let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        told.iter().any(|entry| entry["pid"] == stranger.pid())
    };
    assert_eq!((pids(ADA), pids(EVE)), (true, false));
    // The same users see the radar's own entries: that a program ended, and that events were lost.
    let entries = |uid| -> Vec<Value> {
        let told = daemon.bpfman_as(uid, "events -o json").success();
        let told = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        told.filter(|event| event["event"] == "entry").collect()
    };
    let has = |uid, verb: &str| entries(uid).iter().any(|entry| entry["verb"] == verb);
    stranger.end();
    until("the end of a program is told", || {
        // An entry is made only for programs that one reading of the ids has, and one a second later has not.
        Stranger::new(&["load"]).end();
        has(ADA, "SeenGone")
    });
    daemon.bpfman(&format!("unload {}", programs(&daemon).first().unwrap())).success();
    until("the radar says what it lost", || has(ADA, "Lost"));
    let object = compile::object("chain").display().to_string();
    daemon.bpfman(&format!("load file -p {object} --programs xdp:xdp_member --ttl 1s")).success();
    until("a program has expired", || has(0, "Expire"));
    let parts = |uid| -> BTreeSet<String> {
        let parts = entries(uid).into_iter();
        parts.filter_map(|entry| entry["daemon"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(parts(ADA), BTreeSet::from(["radar".to_owned()]));
    assert!(!["SeenGone", "Lost", "StartRadar", "Expire"].iter().any(|verb| has(EVE, verb)));
    assert!(daemon.bpfman_as(ADA, "radar -o json").json()["radar"]["events"].is_number());
    for line in ["radar", "radar --follow"] {
        daemon.bpfman_as(EVE, line).fails(4, &["may not use the radar", "hint:"]);
    }
    for user in [ADA, EVE] {
        for line in ["radar stop", "radar start --file /x.o"] {
            daemon.bpfman_as(user, line).fails(4, &["only root"]);
        }
    }
}
