//! Programs, links, maps and sessions that a command names wrongly.

use bpfman_model::{Hint, LinkId, MapId, ProgramId};
use bpfman_tests::command::run;
use bpfman_tests::network::INTERFACE;
use bpfman_tests::skip::lacks;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, compile};

use super::Machine;

#[test]
pub fn programs_are_listed() {
    let machine = Machine::new();
    let program = machine.member();
    let right = format!("bpfman unload {program}");
    let shown = machine.leads("bpfman unload 4000000000", &Hint::ListPrograms, &right);
    assert!(shown.contains(&program.to_string()), "{shown}");
}

#[test]
pub fn programs_of_the_machine_are_listed() {
    if lacks("freplace", "sample_fentry", "programs_of_the_machine_are_listed") {
        return;
    }
    let machine = Machine::new();
    let load = |id: u32| {
        let object = compile::object("extended");
        format!("bpfman load file -p {} --programs freplace:drops:{id}", object.display())
    };
    let program = machine.load("extended", "xdp:filter");
    let failed = machine.shell(&load(4_000_000_000));
    assert_ne!(failed.code, 0);
    let shown = machine.paste(&failed, &Hint::ListAllPrograms).success();
    assert!(shown.lines().any(|line| line.contains(&program.to_string())), "{shown}");
    machine.shell(&load(program)).success();
}

#[test]
pub fn links_are_listed() {
    let machine = Machine::new();
    let link = machine.attach(machine.member(), "");
    let shown = machine.leads("bpfman detach 4000000000", &Hint::ListLinks, &format!("bpfman detach {link}"));
    assert!(shown.contains(&link.to_string()), "{shown}");
}

#[test]
pub fn matches_are_listed() {
    let machine = Machine::new();
    let line = format!("bpfman attach {} xdp --iface-match 'veth*' -p 5 -q", machine.member());
    let id = machine.shell(&line).success();
    let right = format!("bpfman detach match {id}");
    let shown = machine.leads("bpfman detach match 4000000000", &Hint::ListMatches, &right);
    assert!(shown.contains(id.trim()), "{shown}");
}

#[test]
pub fn maps_are_listed() {
    let machine = Machine::new();
    machine.load("typed_maps", "xdp:use_all");
    let map = map_id(&machine.daemon, "flows");
    let shown =
        machine.leads("bpfman map dump 4000000000", &Hint::ListMaps, &format!("bpfman map dump {map}"));
    assert!(shown.contains(&map.to_string()), "{shown}");
}

#[test]
pub fn maps_of_a_program_are_shown() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    let hint = Hint::GetProgram(ProgramId(program));
    let right = format!("bpfman map dump {program}:flows");
    let shown = machine.leads(&format!("bpfman map dump {program}:flow"), &hint, &right);
    let map = map_id(&machine.daemon, "flows");
    assert!(shown.contains(&map.to_string()), "{shown}");
}

fn map_id(daemon: &Daemon, name: &str) -> u32 {
    let maps = daemon.bpfman("map list -o json").json();
    let maps = maps.as_array().or_else(|| maps["maps"].as_array()).unwrap();
    let map = maps.iter().find(|map| map["name"] == name).unwrap();
    map["id"].as_u64().unwrap().try_into().unwrap()
}

#[test]
pub fn entries_of_a_map_are_shown() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    machine.shell(&format!("bpfman map set {program}:recent 7 5")).success();
    let hint = Hint::DumpMap(MapId(map_id(&machine.daemon, "recent")));
    let get = |key: u32| format!("bpfman map get {program}:recent {key}");
    assert_eq!(machine.leads(&get(8), &hint, &get(7)), "7 = 5\n");
}

#[test]
pub fn records_of_a_buffer_are_shown() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    let failed = machine.shell(&format!("bpfman map dump {program}:events"));
    let hint = Hint::WatchMap(MapId(map_id(&machine.daemon, "events")));
    // The command runs until the timeout, since no record comes.
    let watched = machine.shell(&format!("timeout 2 {}", machine.printed(&failed, &hint)));
    assert_eq!(watched.code, 124, "{watched:?}");
}

#[test]
pub fn large_map_is_pinned() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    let map = map_id(&machine.daemon, "pages");
    let pin = format!("/sys/fs/bpf/map_{map}");
    let failed = machine.shell(&format!("bpfman map set {program}:pages 0 number=9"));
    let command = machine.printed(&failed, &Hint::PinMap(MapId(map)));
    // Run in a mount namespace with its own bpffs, which ends with the command.
    let script = format!("mount -t bpf bpf /sys/fs/bpf && {command} && test -e {pin}");
    machine.shell(&format!("unshare --mount --propagation private sh -c '{script}'")).success();
}

#[test]
pub fn bpffs_is_mounted_for_a_pin() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    let folder = machine.daemon.path("pins");
    std::fs::create_dir(&folder).unwrap();
    let pin = format!("bpfman map pin {program}:flows {}/flows", folder.display());
    machine.mends(&pin, &Hint::MountPins { folder: folder.clone() });
    run(&["umount", &folder.display().to_string()]);
}

#[test]
pub fn map_that_others_use_is_read() {
    let machine = Machine::new();
    let program = machine.load("typed_maps", "xdp:use_all");
    let (daemon, pin) = (&machine.daemon, machine.daemon.fs().join("lent").display().to_string());
    let create = "type hash key 4 value 12 entries 4 name lent";
    run(&[&["bpftool", "map", "create", &pin], &create.split(' ').collect::<Vec<_>>()[..]].concat());
    let outer = map_id(daemon, "outer").to_string();
    run(&["bpftool", "map", "update", "id", &outer, "key", "0", "0", "0", "0", "value", "pinned", &pin]);
    until("the map is found", || daemon.bpfman("map list").success().contains("lent"));
    let (map, borrower) = (map_id(daemon, "lent"), daemon.fs().join("borrower"));
    let (object, place) = (compile::object("borrower"), borrower.display().to_string());
    let load = ["bpftool", "prog", "load", object.to_str().unwrap(), &place, "type", "xdp"];
    run(&[&load[..], &["map", "name", "lent", "pinned", &pin]].concat());
    let dump = format!("bpfman map dump {map}");
    let failed = machine.shell(&dump);
    assert_ne!(failed.code, 0);
    machine.paste(&failed, &Hint::KernelMap(MapId(map))).success();
    std::fs::remove_file(&borrower).unwrap();
    until("the kernel let go of the program", || machine.shell(&dump).code == 0);
    assert_ne!(program, 0);
}

#[test]
pub fn sessions_are_listed() {
    let machine = Machine::new();
    machine.leads("bpfman get session none", &Hint::ListSessions, "bpfman list sessions");
}

#[test]
pub fn strays_are_listed() {
    let mut machine = Machine::new();
    machine.member();
    machine.daemon.kill();
    std::fs::remove_dir_all(machine.daemon.path("run/state/store")).unwrap();
    machine.start(Launch::default());
    let pin = machine.shell("bpfman stray list -q").success();
    let pin = pin.lines().next().unwrap();
    let none = format!("bpfman stray remove {}", machine.daemon.fs().join("prog_4000000000").display());
    let right = format!("bpfman stray remove {pin}");
    let shown = machine.leads(&none, &Hint::ListStrays, &right);
    assert!(shown.contains(pin), "{shown}");
}

#[test]
pub fn waiting_link_is_shown() {
    let machine = Machine::new();
    let far = &machine.network.far;
    let add = || far.ip(&["link", "add", "pod1", "type", "veth", "peer", "name", "peer1"]);
    add();
    let line = format!("attach {} xdp -i pod1 -p 50 -q", machine.member());
    let link: u32 = machine.daemon.bpfman(&line).success().trim().parse().unwrap();
    far.ip(&["link", "del", "pod1"]);
    let first = format!("bpfman wait link {link} --for attached --timeout 0s");
    until("it waits", || machine.shell(&first).code == 20);
    let failed = machine.shell(&first);
    let shown = machine.paste(&failed, &Hint::GetLink(LinkId(link))).success();
    assert!(shown.contains("waiting"), "{shown}");
    let history = machine.paste(&failed, &Hint::History { id: link }).success();
    assert!(history.contains("pod1"), "{history}");
    add();
    until("it is attached", || machine.shell(&first).code == 0);
}

#[test]
pub fn links_of_the_kernel_are_shown() {
    let machine = Machine::new();
    let mut theirs = Machine::prepare(false);
    theirs.start(Launch::default());
    let line = format!(
        "attach {} xdp -i {INTERFACE} -p 10 -n {} -o json",
        theirs.member(),
        machine.network.far.path().display()
    );
    let link = theirs.daemon.bpfman(&line).json()["kernel_link_id"].clone();
    let failed = machine.shell("bpfman adopt 4000000000 -p 5");
    let shown = machine.paste(&failed, &Hint::KernelLinks).success();
    assert!(shown.contains(&format!("{link}: xdp")), "{shown}");
    machine.shell(&format!("bpfman adopt {link} -p 5")).success();
}
