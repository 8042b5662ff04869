//! Interfaces moved to another network namespace: their attachments are not mistaken for those of a successor.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::{AttachPoint, Direction, HookKind, Interface, InterfaceMatch, LinkId, ProgramId};
use bpfmand_engine::{Engine, Standing};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, Bench};
use crate::interfaces::ask;
use crate::linux::{add_interface_of_number, bench};

pub struct Beside(String);

impl Beside {
    pub fn new(test: &str) -> Self {
        let name = format!("engine-{}-{test}-b", std::process::id());
        ip(&["netns", "add", &name]);
        Self(name)
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn left(&self) -> Interface {
        Interface { name: "left".to_owned(), netns: Some(PathBuf::from("/run/netns").join(&self.0)) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

pub fn ip(words: &[&str]) {
    assert!(Command::new("ip").args(words).status().unwrap().success(), "ip {words:?}");
}

pub fn name_of(netns: &Path) -> &str {
    netns.file_name().unwrap().to_str().unwrap()
}

/// `left` keeps its index, which is free there.
fn move_left(from: &str, to: &str) {
    ip(&["-n", from, "link", "set", "left", "netns", to]);
}

fn number_of(bench: &Bench<LinuxKernel>) -> u32 {
    bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap().ifindex.0
}

pub fn programs_at(bench: &Bench<LinuxKernel>, interface: &Interface, kind: HookKind) -> Vec<ProgramId> {
    let key = bench.kernel.find_hook(interface, kind).unwrap();
    let contents = bench.kernel.hook_contents(interface.netns.as_deref(), &key).unwrap();
    contents.entries.iter().filter_map(|entry| entry.program).collect()
}

fn state_of(engine: &Engine<LinuxKernel>, link: LinkId) -> Standing {
    engine.describe_link(link).unwrap().standing
}

const TC: HookKind = HookKind::Tc(Direction::Ingress);

fn a_new_interface_gets_what_is_asked_for_it(test: &str, told: bool) {
    let bench = bench(test);
    let beside = Beside::new(test);
    let engine = bench.engine();
    let names = ["alpha", "bravo", "tango", "tulip", "xray", "yankee"];
    let [alpha, bravo, tango, tulip, xray, yankee] = engine.loads(&bench.request("programs", &names))[..]
    else {
        panic!()
    };
    let has_tcx = bench.kernel.features().tcx;
    let tcx = |points: &mut Vec<(ProgramId, AttachPoint)>, tc, own| {
        if has_tcx {
            points.push((tc, bench.tc(Direction::Ingress, 1)));
            points.push((own, bench.tcx(1)));
        }
    };
    let mut first = vec![(alpha, bench.xdp(1))];
    tcx(&mut first, tango, xray);
    let mut second = vec![(bravo, bench.xdp(1))];
    tcx(&mut second, tulip, yankee);

    let moved: Vec<LinkId> = first.iter().map(|(p, at)| engine.attached(*p, at.clone())).collect();
    let before = [HookKind::Xdp, TC].map(|kind| programs_at(&bench, &bench.left(), kind));
    let number = number_of(&bench);
    move_left(name_of(&bench.netns), &beside.0);
    if told {
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert!(moved.iter().all(|link| state_of(&engine, *link) == Standing::Elsewhere));
    }
    assert!(add_interface_of_number(&bench, "left", number));
    assert_eq!(number_of(&bench), number);

    let new: Vec<LinkId> = second.iter().map(|(p, at)| engine.attached(*p, at.clone())).collect();
    for kind in [HookKind::Xdp, TC] {
        let (here, there) =
            (programs_at(&bench, &bench.left(), kind), programs_at(&bench, &beside.left(), kind));
        assert_eq!(here.is_empty(), kind == TC && !has_tcx, "{kind:?}: what was asked for runs");
        assert!(here.iter().all(|program| !there.contains(program)), "{kind:?}: {here:?}, {there:?}");
    }
    let after = [HookKind::Xdp, TC].map(|kind| programs_at(&bench, &beside.left(), kind));
    assert_eq!(after, before, "what went along runs on as it was");
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["bravo"]);
    let states: Vec<Standing> = moved.iter().map(|link| state_of(&engine, *link)).collect();
    assert!(states.iter().all(|state| *state == Standing::Elsewhere), "{states:?}");
    assert!(new.iter().all(|link| state_of(&engine, *link).is_running()));

    drop(engine);
    let engine = bench.engine();
    engine.check_all();
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert!(moved.iter().all(|link| state_of(&engine, *link) == Standing::Elsewhere));
    assert!(new.iter().all(|link| state_of(&engine, *link).is_running()));
    for link in moved {
        engine.detach(link).unwrap();
    }
    assert_eq!(programs_at(&bench, &beside.left(), HookKind::Xdp), []);
    assert_eq!(programs_at(&bench, &beside.left(), TC), []);
    assert!(new.iter().all(|link| state_of(&engine, *link).is_running()));
    for program in [alpha, bravo, tango, tulip, xray, yankee] {
        engine.unload(program).unwrap();
    }
}

#[test]
fn linux_a_new_interface_gets_what_is_asked_for_it() {
    a_new_interface_gets_what_is_asked_for_it("moved", true);
}

#[test]
fn linux_new_interface_is_served_before_the_move_is_reported() {
    a_new_interface_gets_what_is_asked_for_it("moved_untold", false);
}

#[test]
fn linux_an_interface_that_is_moved_back_is_known_again() {
    let bench = bench("moved_back");
    let beside = Beside::new("moved_back");
    let engine = bench.engine();
    let [alpha, bravo, xray] = engine.loads(&bench.request("programs", &["alpha", "bravo", "xray"]))[..]
    else {
        panic!()
    };
    let mut links = vec![engine.attached(alpha, bench.xdp(1))];
    if bench.kernel.features().tcx {
        links.push(engine.attached(xray, bench.tcx(1)));
    }
    let running = programs_at(&bench, &bench.left(), HookKind::Xdp);
    for _ in 0..2 {
        move_left(name_of(&bench.netns), &beside.0);
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert!(links.iter().all(|link| state_of(&engine, *link) == Standing::Elsewhere));
        move_left(&beside.0, name_of(&bench.netns));
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        let states: Vec<Standing> = links.iter().map(|link| state_of(&engine, *link)).collect();
        assert!(states.iter().all(Standing::is_running), "{states:?}");
        assert_eq!(programs_at(&bench, &bench.left(), HookKind::Xdp), running);
    }
    engine.attached(bravo, bench.xdp(2));
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha", "bravo"]);
    for program in [alpha, bravo, xray] {
        engine.unload(program).unwrap();
    }
}

#[test]
fn linux_links_of_a_moved_interface_are_reported_as_own() {
    let bench = bench("moved_here");
    let beside = Beside::new("moved_here");
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let link = engine.attached(alpha, bench.xdp(1));
    move_left(name_of(&bench.netns), &beside.0);
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    let there = match bench.xdp(1) {
        AttachPoint::Xdp { priority, proceed_on, .. } => {
            AttachPoint::Xdp { interface: beside.left(), priority, proceed_on }
        }
        other => panic!("{other}"),
    };
    let error = engine.try_attach(bravo, there.clone()).unwrap_err();
    assert!(error.to_string().contains("which bpfman attached before the interface was moved"), "{error}");
    assert!(error.hint().unwrap().to_string().contains("`bpfman list links`"), "{error}");
    let netns = beside.left().netns;
    let pattern = InterfaceMatch::parse(["left"], [], [], netns.as_deref()).unwrap();
    let chosen = ask(&engine, bravo, bench.xdp(2), pattern).unwrap();
    assert!(chosen.links.is_empty() && chosen.failures.len() == 1, "{chosen:?}");
    assert!(
        chosen.failures[0].contains("which bpfman attached before the interface was moved"),
        "{chosen:?}"
    );
    engine.detach_matching(chosen.record.id).unwrap();
    assert_eq!(state_of(&engine, link), Standing::Elsewhere);
    engine.detach(link).unwrap();
    engine.attached(bravo, there);
    for program in [alpha, bravo] {
        engine.unload(program).unwrap();
    }
}
