//! Program types without numbers in `bpfman.v1`, on the command line, with a sandboxed daemon.

use std::process::Command;

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_tests::control_group::Group;
use bpfman_tests::daemon::State;
use bpfman_tests::skip::is_older_than;
use bpfman_tests::{Daemon, Launch, Network, Wire, compile, kernel};
use tonic::Status;

use crate::kill::{Operation, kill_at_every_step};

fn load(daemon: &Daemon, programs: &str) -> Vec<u32> {
    load_of(daemon, "points", programs)
}

fn load_of(daemon: &Daemon, object: &str, programs: &str) -> Vec<u32> {
    let object = compile::object(object).display().to_string();
    let ids = daemon.bpfman(&format!("load file -p {object} --programs {programs} -q")).success();
    ids.lines().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn a_program_of_a_control_group_lives_as_others_do() {
    let (mut daemon, group) = (Daemon::start(), Group::new("life"));
    let program = load(&daemon, "cgroup_sock_addr:forbid")[0];
    assert!(group.connects());
    let link = daemon
        .bpfman(&format!("attach {program} cgroup --path {} -m who=test -o json", group.folder.display()))
        .json();
    let attachment = format!("{} connect4", group.path);
    assert_eq!(
        (&link["type"], &link["attachment"]),
        (&"cgroup_sock_addr".into(), &attachment.as_str().into())
    );
    assert_eq!(link["attach"]["cgroup"], group.path.as_str());
    assert_eq!(link["metadata"]["who"], "test");
    assert!(!group.connects());
    let id = &link["link_id"];
    let shown = daemon.bpfman(&format!("get link {id}")).success();
    assert!(shown.contains("Cgroup") && shown.contains("connect4"), "{shown}");
    let listed = daemon.bpfman("list programs --program-type cgroup-sock-addr -q").success();
    assert_eq!(listed.trim(), program.to_string());
    daemon.kill();
    assert!(!group.connects(), "it runs without the daemon");
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    daemon.bpfman(&format!("detach {id}")).success();
    assert!(group.connects());
    daemon.bpfman(&format!("unload {program}")).success();
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn cgroup_programs_run_in_the_requested_order() {
    let (mut daemon, group) = (Daemon::start(), Group::new("ordered"));
    let [first, second, third] = [(); 3].map(|()| load(&daemon, "cgroup_sock_addr:forbid")[0]);
    let attach = |daemon: &Daemon, program: u32, order: &str| {
        daemon.bpfman(&format!("attach {program} cgroup --path {} {order} -o json", group.path))
    };
    let link = attach(&daemon, first, "--role gate").json();
    assert_eq!(link["attach"]["order"]["role"], "gate");
    let all = daemon.bpfman("features -o json").json();
    if crate::features::state(&all, "probe", "cgroup_order")["state"] == "no" {
        attach(&daemon, second, "--before role=gate").fails(6, &["order among programs", "Linux 6.17"]);
        eprintln!("SKIPPED(order in cgroups): cgroup_programs_run_in_the_requested_order");
        return;
    }
    let second_link = attach(&daemon, second, "--before role=gate").json();
    let between = format!("--before {} --after {}", link["link_id"], second_link["link_id"]);
    let third_link = attach(&daemon, third, &between).json()["link_id"].clone();
    let now = || kernel::programs_of_group(&group.folder);
    assert_eq!(now(), [second, third, first]);
    let shown = daemon.bpfman(&format!("get link {third_link}")).success();
    assert!(shown.contains("Before:") && shown.contains("After:"), "{shown}");

    daemon.bpfman(&format!("update link {third_link} --after role=gate")).success();
    assert_eq!(now(), [second, first, third]);
    daemon.kill();
    daemon.again(&Launch::default());
    assert_eq!(now(), [second, first, third]);
    let before = daemon.state();
    let contradiction = format!("update link {third_link} --before role=gate --after role=gate");
    daemon.bpfman(&contradiction).fails(7, &["would contradict itself", "connect4 of cgroup"]);
    attach(&daemon, second, "--before nobody").fails(5, &["--before nobody names nothing"]);
    assert_eq!((daemon.state(), now()), (before, vec![second, first, third]));
}

#[test]
fn an_iterator_prints_what_its_program_writes() {
    let daemon = Daemon::start();
    let program = load(&daemon, "iter:processes")[0];
    let link = daemon.bpfman(&format!("attach {program} iter -q")).success();
    let link = link.trim();
    let text = daemon.bpfman(&format!("iter {link}")).success();
    // Output that is not to a terminal is not escaped.
    let own = format!("process {}\x1b[2J", daemon.pid());
    assert!(text.lines().any(|line| line == own), "{text}");
    daemon.bpfman("iter 4000000000").fails(5, &["link 4000000000", "hint: "]);
    daemon.bpfman(&format!("attach {program} cgroup --path /")).fails(6, &["of type iter", "hint: "]);
    daemon.bpfman(&format!("detach {link}")).success();
    daemon.bpfman(&format!("iter {link}")).fails(5, &[link]);
}

/// One link of the daemon has a kernel link for each CPU.
#[test]
fn a_program_of_a_perf_event_lives_as_others_do() {
    let mut daemon = Daemon::start();
    let program = load(&daemon, "perf_event:tick")[0];
    let line = format!("attach {program} perf-event --event cpu-clock --frequency 99 -o json");
    let link = daemon.bpfman(&line).json();
    assert_eq!((&link["type"], &link["attachment"]), (&"perf_event".into(), &"cpu-clock 99 Hz".into()));
    assert_eq!(link["attach"]["perf_event"]["frequency"], 99);
    let (id, folder) = (&link["link_id"], link["pin_path"].as_str().unwrap());
    let pins = || {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = pins();
    assert!(before.iter().any(|name| name == "cpu_0"), "{before:?}");
    let shown = daemon.bpfman(&format!("get link {id}")).success();
    assert!(shown.contains("cpu-clock") && shown.contains("99 Hz"), "{shown}");
    daemon.kill();
    assert_eq!(pins(), before, "it runs without the daemon");
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    let own = daemon.pid();
    let line =
        format!("attach {program} perf_event --event page-faults --period 1 --cpu 0 --pid {own} -o json");
    let of_one = daemon.bpfman(&line).json();
    assert_eq!(of_one["attachment"], format!("page-faults every 1 on CPU 0 of {own}").as_str());
    assert_eq!((&of_one["attach"]["pid"], &of_one["attach"]["perf_event"]["cpu"]), (&own.into(), &0.into()));
    daemon.bpfman(&format!("detach {id}")).success();
    assert!(!std::path::Path::new(folder).exists());
    daemon.bpfman(&format!("unload {program}")).success();
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn programs_of_a_map_of_sockets_live_as_others_do() {
    let mut daemon = Daemon::start();
    let programs = load_of(&daemon, "sockets", "sk_skb:stream sk_msg:message");
    let before = daemon.state();
    if is_older_than((6, 10), "sockmap-links", "programs_of_a_map_of_sockets_live_as_others_do") {
        let line = format!("attach {} sockmap --map connections", programs[0]);
        daemon.bpfman(&line).fails(6, &["Linux 6.10 or later"]);
        return;
    }
    let [stream, message] = programs[..] else { panic!("two programs") };
    let link = daemon.bpfman(&format!("attach {stream} sockmap --map connections -o json")).json();
    assert_eq!(
        (&link["type"], &link["attachment"]),
        (&"sk_skb".into(), &"connections stream_verdict".into())
    );
    assert_eq!(
        (&link["attach"]["map"], &link["attach"]["fn_name"]),
        (&"connections".into(), &"stream_verdict".into())
    );
    let id = &link["link_id"];
    let shown = daemon.bpfman(&format!("get link {id}")).success();
    assert!(shown.contains("connections") && shown.contains("stream_verdict"), "{shown}");
    daemon.bpfman(&format!("attach {message} sockmap --map other")).fails(5, &["no map \"other\""]);
    daemon.bpfman(&format!("attach {message} sockmap")).fails(2, &["--map"]);
    daemon.bpfman(&format!("attach {stream} sockmap --map connections")).fails(7, &["another program"]);
    daemon.bpfman(&format!("attach {message} sockmap --map connections")).success();
    daemon.kill();
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    for link in daemon.state().links {
        daemon.bpfman(&format!("detach {}", link["link_id"])).success();
    }
    assert_eq!(daemon.state(), before);
}

#[test]
fn impossible_attachment_is_refused_without_changes() {
    let daemon = Daemon::start();
    let object = compile::object("points").display().to_string();
    let program = load(&daemon, "cgroup_sock_addr:forbid")[0];
    let tick = load(&daemon, "perf_event:tick")[0];
    let before = daemon.state();
    let event = |rest: &str| format!("attach {tick} perf-event --event {rest}");
    for (line, code, says) in [
        (event("cpu-clock"), 2, "--frequency <HZ>|--period <NUMBER>"),
        (event("cpu-clock --frequency 1 --period 1"), 2, "cannot be used with"),
        (event("cpu-clock --frequency 0"), 6, "at least 1"),
        (event("cpu-clock --frequency 4294967296"), 6, "this machine takes at most"),
        (event("cpu-clock --period 18446744073709551615"), 6, "period is at most"),
        (event("cpu-clock --period 1 --cpu 4096"), 5, "CPU 4096 is not online"),
        (event("cpu-clock --period 1 --pid 0"), 6, "0"),
        (event("cpu-clock --period 1 --pid 2147483647"), 5, "2147483647"),
        (event("wall-clock --period 1"), 6, "\"wall-clock\" is none of cpu-clock"),
        (format!("attach {tick} raw-tracepoint -t sched_switch"), 6, "cannot be attached"),
        (format!("load file -p {object} --programs cgroup_skb:forbid"), 6, "cgroup_sock_addr"),
        (format!("load file -p {object} --programs cgroup_sock_addr:forbid:egress"), 6, "one of bind4"),
        (format!("load file -p {object} --programs iter:processes:nothing"), 6, "\"nothing\""),
        (format!("attach {program} cgroup --path web"), 6, "not absolute"),
        (format!("attach {program} cgroup --path /no/such/group"), 5, "/no/such/group does not exist"),
        (format!("attach {program} netns"), 6, "cannot be attached"),
        (format!("attach {program} netfilter --family inet --hook input -p 1"), 2, "ipv4"),
        (format!("attach {program} netfilter --family ipv4 --hook input -p -2147483648"), 6, "kernel's own"),
    ] {
        let outcome = daemon.bpfman(&line);
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{line}: {outcome:?}");
    }
    assert_eq!(daemon.state(), before);
}

struct AttachToGroup<'a> {
    program: u32,
    group: &'a Group,
}

impl Operation for AttachToGroup<'_> {
    fn act(&self, wire: &Wire) -> Result<(), Status> {
        let at = Some(ext::point::At::Cgroup(self.group.path.clone()));
        let point = Some(ext::Point { at, ..ext::Point::default() });
        let program_id = self.program;
        wire.attach_by_chains(ext::ChainAttachRequest { program_id, point, ..Default::default() }).map(drop)
    }

    fn undo(&self, wire: &Wire, _: &State, after: &State) {
        let link_id = after.links[0]["link_id"].as_u64().unwrap() as u32;
        wire.detach(v1::DetachRequest { link_id }).unwrap();
    }
}

struct AttachToAllCpus {
    program: u32,
}

impl Operation for AttachToAllCpus {
    fn act(&self, wire: &Wire) -> Result<(), Status> {
        let (event, frequency) = ("cpu-clock".to_owned(), Some(99));
        let at = ext::PerfEventPoint { event, frequency, ..Default::default() };
        let point = Some(ext::Point { at: Some(ext::point::At::PerfEvent(at)), ..ext::Point::default() });
        let program_id = self.program;
        wire.attach_by_chains(ext::ChainAttachRequest { program_id, point, ..Default::default() }).map(drop)
    }

    fn undo(&self, wire: &Wire, _: &State, after: &State) {
        let link_id = after.links[0]["link_id"].as_u64().unwrap() as u32;
        wire.detach(v1::DetachRequest { link_id }).unwrap();
    }
}

#[test]
fn an_attachment_to_all_cpus_that_is_cut_short_is_there_or_not() {
    let mut daemon = Daemon::start();
    let program = load(&daemon, "perf_event:tick")[0];
    let operation = AttachToAllCpus { program };
    kill_at_every_step(&mut daemon, &Launch::default(), &operation, |daemon, happened| {
        assert_eq!(!daemon.state().links.is_empty(), happened);
    });
}

#[test]
fn an_attachment_to_a_group_that_is_cut_short_is_there_or_not() {
    let (mut daemon, group) = (Daemon::start(), Group::new("killed"));
    let program = load(&daemon, "cgroup_sock_addr:forbid")[0];
    let operation = AttachToGroup { program, group: &group };
    kill_at_every_step(&mut daemon, &Launch::default(), &operation, |_, happened| {
        assert_eq!(group.connects(), !happened);
    });
}

fn algorithms() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap()
}

#[test]
fn a_structure_of_functions_is_the_kernels_while_it_is_attached() {
    let mut daemon = Daemon::start();
    let before = daemon.state();
    let programs = "struct_ops:threshold struct_ops:window struct_ops:grow";
    if is_older_than(
        (6, 4),
        "struct-ops-links",
        "a_structure_of_functions_is_the_kernels_while_it_is_attached",
    ) {
        let loaded = load_of(&daemon, "functions", programs);
        let line = format!("attach {} struct-ops --map calm", loaded[1]);
        daemon.bpfman(&line).fails(6, &["Linux 6.4 or later"]);
        return;
    }
    let loaded = load_of(&daemon, "functions", programs);
    let link = daemon.bpfman(&format!("attach {} struct-ops --map calm -o json", loaded[1])).json();
    assert_eq!((&link["type"], &link["attach"]["map"]), (&"struct_ops".into(), &"calm".into()));
    assert!(algorithms().contains("bpfman_calm"));
    let id = &link["link_id"];
    let shown = daemon.bpfman(&format!("get link {id}")).success();
    assert!(shown.contains("calm"), "{shown}");
    daemon.bpfman(&format!("attach {} struct-ops --map calm", loaded[0])).fails(7, &["by the same name"]);
    daemon.bpfman(&format!("attach {} struct-ops --map other", loaded[0])).fails(5, &["no map \"other\""]);
    daemon.kill();
    assert!(algorithms().contains("bpfman_calm"), "it is there without the daemon");
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    daemon.bpfman(&format!("detach {id}")).success();
    assert!(!algorithms().contains("bpfman_calm"));
    for program in loaded {
        daemon.bpfman(&format!("unload {program}")).success();
    }
    assert_eq!(daemon.state(), before);
    // `bpfman run` attaches the struct_ops map once, by one of its programs.
    let object = compile::object("functions").display().to_string();
    let run = format!("run {object} threshold window grow --for 1s -o json");
    let ran = daemon.bpfman(&format!("{run} --attach struct_ops:calm")).success();
    assert_eq!(ran.matches("\"hook\":\"struct_ops:calm\"").count(), 1, "{ran}");
    daemon.bpfman(&run).fails(6, &["does not say where it attaches", "struct_ops:MAP"]);
    assert_eq!(daemon.state(), before);
}

/// Python has USDT probes with arguments and a semaphore.
#[test]
fn a_static_probe_lives_as_others_do() {
    let mut daemon = Daemon::start();
    let program = load_of(&daemon, "functions", "usdt:sold")[0];
    let line = format!("attach {program} usdt --target /usr/bin/python3 --name python:audit -o json");
    if is_older_than((6, 6), "uprobe-multi", "a_static_probe_lives_as_others_do") {
        daemon.bpfman(&line).fails(6, &["Linux 6.6 or later"]);
        return;
    }
    let link = daemon.bpfman(&line).json();
    assert_eq!(
        (&link["type"], &link["attachment"]),
        (&"usdt".into(), &"/usr/bin/python3 python:audit".into())
    );
    assert!(Command::new("/usr/bin/python3").args(["-c", "open('/dev/null')"]).status().unwrap().success());
    let id = &link["link_id"];
    let shown = daemon.bpfman(&format!("get link {id}")).success();
    assert!(shown.contains("python:audit"), "{shown}");
    let other = format!("attach {program} usdt --target /usr/bin/python3 --name");
    daemon.bpfman(&format!("{other} python:none")).fails(5, &["has no USDT probe python:none"]);
    daemon.bpfman(&format!("{other} python")).fails(2, &["its provider and its name"]);
    daemon.kill();
    daemon.again(&Launch::default());
    assert_eq!(daemon.bpfman(&format!("get link {id} -o json")).json(), link);
    daemon.bpfman(&format!("detach {id}")).success();
    daemon.bpfman(&format!("unload {program}")).success();
    assert_eq!(daemon.state().pins, [""; 0]);
    let object = compile::object("functions").display().to_string();
    let run = format!("run {object} sold --attach usdt:/usr/bin/python3:python:audit --for 1s -o json");
    let ran = daemon.bpfman(&run).success();
    assert!(ran.contains("\"hook\":\"usdt:/usr/bin/python3:python:audit\""), "{ran}");
    assert_eq!(daemon.state().pins, [""; 0]);
}

#[test]
fn every_kind_of_place_is_taken_again_when_all_pins_are_lost() {
    let (mut daemon, network, group) = (Daemon::start(), Network::new(), Group::new("lost"));
    let netns = network.far.path().display().to_string();
    let at_group = format!("cgroup --path {}", group.path);
    let places: [(&str, &str, String, (u32, u32)); 8] = [
        ("points", "cgroup_sock_addr:forbid", at_group, (5, 7)),
        ("points", "perf_event:tick", "perf-event --event cpu-clock --frequency 99".to_owned(), (5, 15)),
        ("points", "raw_tracepoint:entered", "raw-tracepoint -t sys_enter".to_owned(), (5, 7)),
        ("points", "sk_lookup:choose", format!("netns -n {netns}"), (5, 9)),
        ("points", "netfilter:accept", format!("netfilter -f ipv4 --hook input -p -50 -n {netns}"), (6, 4)),
        ("points", "iter:processes", "iter".to_owned(), (5, 9)),
        ("functions", "usdt:sold", "usdt --target /usr/bin/python3 --name python:audit".to_owned(), (6, 6)),
        ("sockets", "sk_skb:stream", "sockmap --map connections".to_owned(), (6, 10)),
    ];
    let mut links = Vec::new();
    for (object, program, place, since) in &places {
        let name = program.split_once(':').map_or(*program, |(name, _)| name);
        if is_older_than(*since, name, "every_kind_of_place_is_taken_again_when_all_pins_are_lost") {
            continue;
        }
        let program = load_of(&daemon, object, program)[0];
        let link = daemon.bpfman(&format!("attach {program} {place} -o json")).json();
        links.push(link["link_id"].as_u64().unwrap());
    }
    assert!(!group.connects());
    daemon.terminate();
    rustix::mount::unmount(daemon.fs(), rustix::mount::UnmountFlags::DETACH).unwrap();
    bpfman_tests::wait::until("the kernel lets go of all", || group.connects());
    daemon.again(&Launch::default());
    assert!(!group.connects(), "loaded and attached again");
    for link in links {
        let shown = daemon.bpfman(&format!("get link {link} -o json")).json();
        assert_eq!(shown["standing"], "running", "{shown}");
    }
}
