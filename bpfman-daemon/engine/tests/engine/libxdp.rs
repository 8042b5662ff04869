//! Hooks that libxdp holds: Debian's `xdp-loader` and bpfman at one hook.

use std::path::{Path, PathBuf};

use bpfman_model::{HookKey, HookKind, LinkId, OrderIntent, ProgramId, Reason};
use bpfmand_engine::{Attached, Engine, EngineError, HookCheck, UpdateLinkRequest};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench, Testable as _};
use crate::interfaces_moved::{Beside, ip, name_of, programs_at};
use crate::linux::command_in;
use bpfmand_engine::Standing;

const XDP: HookKind = HookKind::Xdp;
const DROP: u32 = 1;
const TX: u32 = 3;

#[derive(Debug, PartialEq, Eq)]
struct Row {
    priority: u32,
    name: String,
    id: ProgramId,
}

pub struct Loader<'a>(&'a Bench<LinuxKernel>);

impl<'a> Loader<'a> {
    pub fn new(bench: &'a Bench<LinuxKernel>) -> Self {
        bench.kernel.make_folder(Path::new("libxdp")).unwrap();
        Self(bench)
    }

    fn run(&self, words: &[&str]) -> String {
        let bpffs = self.0.libxdp_pins.parent().unwrap();
        command_in(&self.0.netns, ("LIBXDP_BPFFS", bpffs), &[&["xdp-loader"], words].concat())
    }

    pub fn load(&self, object: &str, priority: u32) {
        let folders = ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf", "/usr/lib/bpf"];
        let mut paths = folders.iter().map(|folder| PathBuf::from(folder).join(format!("{object}.o")));
        let path =
            paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{object}.o of xdp-tools is missing"));
        let path = path.display().to_string();
        self.run(&["load", "left", "--prio", &priority.to_string(), "--mode", "native", &path]);
    }

    fn unload(&self, id: ProgramId) {
        self.run(&["unload", "left", "--id", &id.to_string()]);
    }

    fn status(&self) -> Vec<Row> {
        let printed = self.run(&["status", "left"]);
        let rows = printed.lines().filter_map(|line| line.trim_start().strip_prefix("=>"));
        rows.map(|row| {
            let words: Vec<&str> = row.split_whitespace().collect();
            Row {
                priority: words[0].parse().unwrap(),
                name: words[1].to_owned(),
                id: ProgramId(words[2].parse().unwrap()),
            }
        })
        .collect()
    }

    fn names(&self) -> Vec<String> {
        self.status().into_iter().map(|row| row.name).collect()
    }

    fn id(&self, name: &str) -> ProgramId {
        self.status().into_iter().find(|row| row.name == name).unwrap().id
    }

    fn folders(&self) -> Vec<String> {
        self.0.kernel.list_folder(&self.0.libxdp_pins).unwrap()
    }
}

fn key(bench: &Bench<LinuxKernel>) -> HookKey {
    bench.kernel.find_hook(&bench.left(), XDP).unwrap()
}

fn running(bench: &Bench<LinuxKernel>) -> Option<ProgramId> {
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key(bench)).unwrap();
    contents.entries.first().and_then(|entry| entry.program)
}

/// Without freplace, `xdp-loader` has no dispatchers.
fn can_join(bench: &Bench<LinuxKernel>) -> bool {
    let can = bench.kernel.features().freplace;
    if !can {
        println!("skipped: this kernel does not let programs replace functions of others (freplace)");
    }
    can
}

fn load(engine: &Engine<LinuxKernel>, bench: &Bench<LinuxKernel>, name: &str) -> ProgramId {
    engine.loads(&bench.request("programs", &[name]))[0]
}

fn all_well(engine: &Engine<LinuxKernel>, bench: &Bench<LinuxKernel>) {
    assert_eq!(engine.check_hook(&key(bench)).unwrap(), HookCheck::Right);
    for link in engine.all_links() {
        assert_eq!((link.standing.name(), link.running), ("ok", running(bench)), "{link:?}");
    }
    let chain = engine.show_chain(&bench.left(), XDP).unwrap();
    assert_eq!((chain.strategy, chain.mode), ("dispatcher", "xdp"));
    assert_eq!(chain.entry.map(|entry| entry.id), running(bench));
}

fn together(bench: &Bench<LinuxKernel>) -> (Loader<'_>, Engine<LinuxKernel>, LinkId) {
    let loader = Loader::new(bench);
    loader.load("xdpfilt_alw_eth", 20);
    loader.load("xdpfilt_dny_eth", 60);
    let engine = bench.engine();
    let alpha = load(&engine, bench, "alpha");
    let link = engine.attached(alpha, bench.xdp(40));
    (loader, engine, link)
}

#[test]
fn a_program_joins_those_of_xdp_loader_at_its_priority() {
    let bench = crate::linux::bench("joins");
    if !can_join(&bench) {
        return;
    }
    let (loader, engine, link) = together(&bench);
    assert_eq!(loader.names(), ["xdpfilt_alw_eth", "alpha", "xdpfilt_dny_eth"]);
    let priorities: Vec<u32> = loader.status().iter().map(|row| row.priority).collect();
    assert_eq!(priorities, [20, 40, 60]);
    assert_eq!(loader.folders().len(), 1, "the old dispatcher is gone");
    all_well(&engine, &bench);
    let theirs = [loader.id("xdpfilt_alw_eth"), loader.id("xdpfilt_dny_eth")];

    let bravo = load(&engine, &bench, "bravo");
    let second = engine.attached(bravo, bench.xdp(10));
    assert_eq!(loader.names(), ["bravo", "xdpfilt_alw_eth", "alpha", "xdpfilt_dny_eth"]);
    engine.update_link(&UpdateLinkRequest { priority: Some(70), ..UpdateLinkRequest::of(link) }).unwrap();
    assert_eq!(loader.names(), ["bravo", "xdpfilt_alw_eth", "xdpfilt_dny_eth", "alpha"]);
    all_well(&engine, &bench);

    engine.detach(link).unwrap();
    assert_eq!(loader.names(), ["bravo", "xdpfilt_alw_eth", "xdpfilt_dny_eth"]);
    engine.detach(second).unwrap();
    assert_eq!(loader.names(), ["xdpfilt_alw_eth", "xdpfilt_dny_eth"]);
    assert_eq!([loader.id("xdpfilt_alw_eth"), loader.id("xdpfilt_dny_eth")], theirs);
    assert_eq!(loader.folders().len(), 1);
    loader.run(&["unload", "left", "--all"]);
    assert_eq!((running(&bench), loader.folders()), (None, Vec::new()));
}

#[test]
fn packets_meet_all_programs_of_a_shared_dispatcher() {
    let bench = crate::linux::bench("packets");
    if !can_join(&bench) {
        return;
    }
    let (_loader, engine, link) = together(&bench);
    let verdict = || bench.kernel.verdict(running(&bench).unwrap());
    assert_eq!(verdict(), DROP);
    let mut request = bench.request("programs", &["bravo"]);
    request.global_data.insert("verdict".to_owned(), TX.to_ne_bytes().to_vec());
    let bravo = engine.loads(&request)[0];
    let second = engine.attached(bravo, bench.xdp(5));
    assert_eq!(verdict(), TX, "ours is before theirs");
    engine.update_link(&UpdateLinkRequest { priority: Some(90), ..UpdateLinkRequest::of(second) }).unwrap();
    assert_eq!(verdict(), DROP, "ours is behind theirs");
    engine.detach(second).unwrap();
    engine.detach(link).unwrap();
    assert_eq!(verdict(), DROP);
}

#[test]
fn changes_of_xdp_loader_to_dispatcher_are_followed() {
    let bench = crate::linux::bench("follows");
    if !can_join(&bench) {
        return;
    }
    let (loader, engine, link) = together(&bench);
    let ours = loader.id("alpha");
    let before = running(&bench);
    loader.load("xdpfilt_alw_ip", 30);
    assert_ne!(running(&bench), before);
    assert_eq!(loader.names(), ["xdpfilt_alw_eth", "xdpfilt_alw_ip", "alpha", "xdpfilt_dny_eth"]);
    all_well(&engine, &bench);
    assert_eq!(loader.id("alpha"), ours, "nobody loaded it again");
    drop(engine);
    loader.unload(loader.id("xdpfilt_alw_ip"));
    let engine = bench.engine();
    all_well(&engine, &bench);
    assert_eq!(loader.id("alpha"), ours);
    loader.unload(loader.id("xdpfilt_alw_eth"));
    loader.unload(loader.id("xdpfilt_dny_eth"));
    assert_eq!(loader.names(), ["alpha"]);
    all_well(&engine, &bench);
    engine.detach(link).unwrap();
    assert_eq!((running(&bench), loader.folders()), (None, Vec::new()));
}

#[test]
fn a_program_that_xdp_loader_took_out_comes_back() {
    let bench = crate::linux::bench("returns");
    if !can_join(&bench) {
        return;
    }
    let (loader, engine, link) = together(&bench);
    loader.unload(loader.id("alpha"));
    assert_eq!(loader.names(), ["xdpfilt_alw_eth", "xdpfilt_dny_eth"]);
    assert_ne!(engine.describe_link(link).unwrap().standing, Standing::Running);
    assert!(matches!(engine.check_hook(&key(&bench)).unwrap(), HookCheck::Mended(_)));
    assert_eq!(loader.names(), ["xdpfilt_alw_eth", "alpha", "xdpfilt_dny_eth"]);
    all_well(&engine, &bench);
    loader.run(&["unload", "left", "--all"]);
    assert_eq!(running(&bench), None);
    assert!(matches!(engine.check_hook(&key(&bench)).unwrap(), HookCheck::Mended(_)));
    assert_eq!(engine.show_chain(&bench.left(), XDP).unwrap().strategy, "direct");
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
    engine.detach(link).unwrap();
    assert_eq!((running(&bench), loader.folders()), (None, Vec::new()));
}

#[test]
fn unsupported_change_of_dispatcher_is_refused() {
    let bench = crate::linux::bench("refuses");
    if !can_join(&bench) {
        return;
    }
    let (loader, engine, link) = together(&bench);
    let before = (running(&bench), loader.status(), loader.folders());
    let bravo = load(&engine, &bench, "bravo");
    let order = OrderIntent { before: vec![bpfman_model::Anchor::Link(link)], ..OrderIntent::default() };
    let request = bpfman_model::AttachRequest {
        ttl: None,
        program: bravo,
        point: bench.xdp(50),
        order,
        sharing: Default::default(),
        metadata: Default::default(),
        owner: Default::default(),
        group: None,
    };
    let error = engine.attach(&request).unwrap_err();
    assert!(error.to_string().contains("in the order of their priorities"), "{error}");
    assert!(error.hint().unwrap().to_string().contains("--priority"));
    let names = ["bravo", "charlie", "delta"];
    let mut full = None;
    for number in 0..8 {
        let program = load(&engine, &bench, names[number % names.len()]);
        full = engine.try_attach(program, bench.xdp(50)).err();
    }
    let error = full.unwrap();
    assert_eq!(error.kind(), Reason::Conflict);
    assert!(error.to_string().contains("already runs 10 programs"), "{error}");
    assert_eq!(loader.status().len(), 10);
    for link in engine.all_links().into_iter().map(|link| link.record.id).filter(|other| *other != link) {
        engine.detach(link).unwrap();
    }
    let after = (loader.status(), loader.folders().len());
    assert_eq!(after, (before.1, before.2.len()));
}

#[test]
fn xdp_loader_hook_without_dispatcher_is_named_in_the_conflict() {
    let bench = crate::linux::bench("alone");
    if bench.kernel.features().freplace {
        return;
    }
    let loader = Loader::new(&bench);
    loader.load("xdpfilt_alw_eth", 20);
    assert_eq!(loader.names(), Vec::<String>::new(), "without freplace there is no dispatcher");
    let engine = bench.engine();
    let alpha = load(&engine, &bench, "alpha");
    let error = engine.try_attach(alpha, bench.xdp(40)).unwrap_err();
    let text = error.to_string();
    let EngineError::HookHeld(conflict) = error else { panic!("{error}") };
    assert!(matches!(conflict.attached, Attached::Netlink { .. }), "{conflict:?}");
    assert!(text.contains("xdpfilt_alw_eth") && text.contains("by netlink in native mode"), "{text}");
}

#[test]
fn dispatcher_that_went_along_with_its_interface_is_left() {
    let bench = crate::linux::bench("went_along");
    if !can_join(&bench) {
        return;
    }
    let beside = Beside::new("went_along");
    let (loader, engine, link) = together(&bench);
    ip(&["-n", name_of(&bench.netns), "link", "set", "left", "netns", beside.name()]);
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    let there = || programs_at(&bench, &beside.left(), XDP);
    let (state, before) = (engine.describe_link(link).unwrap(), there());
    assert_eq!((state.standing.name(), state.running.as_slice()), ("elsewhere", &before[..]), "{state:?}");
    engine.detach(link).unwrap();
    let after = there();
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    let folders = loader.folders();
    let [folder] = &folders[..] else { panic!("{folders:?}") };
    let pins = (0..).map(|slot| bench.libxdp_pins.join(folder).join(format!("prog{slot}-prog")));
    let programs = pins.map_while(|pin| bench.kernel.open_pin(&pin).unwrap());
    let names: Vec<String> =
        programs.map(|program| bench.kernel.program_of(&program).unwrap().name).collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("xdpfilt_")), "{names:?}");
}
