//! libxdp's dispatchers at interfaces that move, and in network namespaces that no path leads to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpfman_model::{HookAttachment, HookKind, Interface, ProgramId};
use bpfmand_engine::Standing;
use bpfmand_kernel::prelude::*;

use crate::bench::{Ask as _, pins};
use crate::crashes::{Ending, set_up};
use crate::dispatchers::{Sim, names, of_others, with_ours};
use crate::interfaces::{ask, chosen};
use crate::namespaces::{PROCESS, follow, hide, state_of};
use crate::simulated::bench;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noticed {
    Never,
    Followed,
    AtStart,
}

fn beside(bench: &Sim, name: &str, interfaces: usize) -> PathBuf {
    let path = Path::new("/run/netns").join(name);
    bench.kernel.add_namespace(&path);
    for number in 0..interfaces {
        bench.kernel.add_interface(Some(&path), &format!("other{number}")).unwrap();
    }
    path
}

fn dispatcher_at(bench: &Sim, netns: &Path) -> Option<ProgramId> {
    let left = Interface { name: "left".to_owned(), netns: Some(netns.to_owned()) };
    let key = bench.kernel.find_hook(&left, HookKind::Xdp).unwrap();
    let entries = bench.kernel.hook_contents(Some(netns), &key).unwrap().entries;
    let entry = entries.into_iter().find(|entry| matches!(entry.via, HookAttachment::XdpNetlink { .. }));
    entry.and_then(|entry| entry.program)
}

#[test]
fn detach_leaves_a_dispatcher_that_moved() {
    for noticed in [Noticed::Never, Noticed::Followed, Noticed::AtStart] {
        // In a namespace with as many interfaces, the moved one gets another number.
        for interfaces in [0, 4] {
            let bench = bench();
            let mut engine = bench.engine();
            let scene = with_ours(&bench, &engine);
            let other = beside(&bench, "beside", interfaces);
            assert!(bench.kernel.move_interface(&bench.netns, "left", &other));
            match noticed {
                Noticed::Never => {}
                Noticed::Followed => drop(engine.follow_interfaces(Some(&bench.netns)).unwrap()),
                Noticed::AtStart => {
                    drop(engine);
                    engine = bench.engine();
                }
            }
            if noticed != Noticed::Never {
                let state = state_of(&engine, scene.links[0]);
                assert_eq!(state.name(), "elsewhere", "{noticed:?}, {interfaces}: {state}");
            }
            assert_eq!(names(&bench), ["first", "alpha", "last"]);
            bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
            engine.detach(scene.links[0]).unwrap();
            assert_eq!(names(&bench), ["first", "last"], "{noticed:?}, {interfaces}");
            assert!(dispatcher_at(&bench, &other).is_some());
            engine.unload(scene.programs[0]).unwrap();
            assert!(!bench.kernel.snapshot().programs.values().any(|program| program.name == "alpha"));
        }
    }
}

#[test]
fn new_interface_is_free_where_a_dispatcher_moved_away() {
    let bench = bench();
    let engine = bench.engine();
    let scene = with_ours(&bench, &engine);
    let other = beside(&bench, "beside", 0);
    assert!(bench.kernel.move_interface(&bench.netns, "left", &other));
    engine.check_all();
    assert_eq!(state_of(&engine, scene.links[0]).name(), "elsewhere");
    bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
    let link = engine.attached(scene.programs[1], bench.xdp(1));
    assert!(state_of(&engine, link).is_running());
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["bravo"]);
    engine.unload(scene.programs[0]).unwrap();
    assert_eq!(names(&bench), ["first", "last"]);
}

#[test]
fn dispatcher_that_moved_back_is_at_home_again() {
    let bench = bench();
    let engine = bench.engine();
    let scene = with_ours(&bench, &engine);
    let other = beside(&bench, "beside", 0);
    for (from, to, name) in [(&bench.netns, &other, "elsewhere"), (&other, &bench.netns, "ok")] {
        assert!(bench.kernel.move_interface(from, "left", to));
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert_eq!(state_of(&engine, scene.links[0]).name(), name);
    }
    assert_eq!(engine.names(&bench.left(), HookKind::Xdp), ["alpha"]);
    engine.detach(scene.links[0]).unwrap();
    assert_eq!(names(&bench), ["first", "last"]);
}

#[test]
fn match_leaves_a_dispatcher_that_moved() {
    for at_start in [false, true] {
        let bench = bench();
        let mut engine = bench.engine();
        let scene = of_others(&bench, &engine);
        ask(&engine, scene.programs[0], bench.xdp(40), chosen(&bench, &["left"], &[])).unwrap();
        assert_eq!(names(&bench), ["first", "alpha", "last"]);
        let other = beside(&bench, "beside", 0);
        assert!(bench.kernel.move_interface(&bench.netns, "left", &other));
        if at_start {
            drop(engine);
            engine = bench.engine();
        }
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert!(engine.all_links().is_empty(), "{:?}", engine.all_links());
        assert_eq!(names(&bench), ["first", "last"]);
        assert!(dispatcher_at(&bench, &other).is_some());
    }
}

#[test]
fn dispatcher_in_a_namespace_without_a_path_is_kept() {
    let bench = bench();
    let mut engine = bench.engine();
    let scene = with_ours(&bench, &engine);
    let home = hide(&bench);
    follow(&engine, &bench);
    for _ in 0..2 {
        engine.check_all();
        assert_eq!(state_of(&engine, scene.links[0]), Standing::Unreachable);
        let refused = engine.detach(scene.links[0]).unwrap_err();
        assert!(refused.to_string().contains("leads"), "{refused}");
        assert_eq!(names(&bench), ["first", "alpha", "last"]);
        drop(engine);
        engine = bench.start().0;
    }
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    assert_eq!(state_of(&engine, scene.links[0]).name(), "ok");
    engine.detach(scene.links[0]).unwrap();
    assert_eq!(names(&bench), ["first", "last"]);
}

#[test]
fn dispatcher_that_moved_is_kept_when_its_new_path_ends() {
    let bench = bench();
    let engine = bench.engine();
    let scene = with_ours(&bench, &engine);
    let other = beside(&bench, "beside", 0);
    assert!(bench.kernel.move_interface(&bench.netns, "left", &other));
    engine.check_all();
    bench.kernel.remove_name(&other);
    for _ in 0..2 {
        engine.check_all();
        assert_eq!(state_of(&engine, scene.links[0]), Standing::Unreachable);
    }
    assert!(engine.detach(scene.links[0]).is_err());
    assert_eq!(names(&bench), ["first", "alpha", "last"]);
}

/// The program was put into a new dispatcher, and the daemon was killed before the record.
#[test]
fn interrupted_join_waits_for_a_path_to_its_namespace() {
    let all = crate::cases::cases();
    let case = all.into_iter().find(|case| case.name == "attach beside programs of libxdp").unwrap();
    let steps = {
        let ending = Arc::new(Ending::default());
        let (bench, engine, scene) = set_up(&case, &ending);
        ending.arm(0);
        (case.operation)(&bench, &engine, &scene).unwrap();
        ending.steps()
    };
    let ending = Arc::new(Ending::default());
    let (bench, engine, scene) = set_up(&case, &ending);
    ending.arm(1 + steps.iter().position(|step| step == "attach: record").unwrap());
    assert!(catch_unwind(AssertUnwindSafe(|| (case.operation)(&bench, &engine, &scene))).is_err());
    drop(engine);
    bench.kernel.fail_call(0);
    let left = || [bench.libxdp_pins.as_path(), Path::new("pending")].map(|path| pins(&*bench.kernel, path));
    let before = left();
    assert!(before.iter().all(|pins| !pins.is_empty()), "{before:?}");
    let home = hide(&bench);
    let (engine, report) = bench.start();
    assert!(!report.problems.is_empty());
    assert_eq!(left(), before);
    drop(engine);
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    let engine = bench.engine();
    assert_eq!(names(&bench), ["first", "last"]);
    assert!(engine.all_links().is_empty() && pins(&*bench.kernel, Path::new("pending")).is_empty());
}
