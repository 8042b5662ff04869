//! Paths of network namespaces that lead to another one, or nowhere: links stay, and are restored in place.

use std::path::{Path, PathBuf};

use bpfman_model::{
    AttachPoint, HookKind, InterfaceMatch, NetfilterFamily, NetfilterHook, NetfilterPlace, NetnsId,
};
use bpfmand_engine::{Engine, GonePlace, Standing};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, pins};
use crate::interfaces::{ask, chosen};
use crate::namespaces::{
    INGRESS, PROCESS, XDP, at, by_clsact, follow, hide, in_process, leave_name, state_of,
};

#[test]
fn name_of_another_namespace_does_not_hide_what_runs() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let names = ["alpha", "tango", "xray", "bravo", "tulip"];
        let [alpha, tango, xray, bravo, tulip] = engine.loads(&bench.request("programs", &names))[..] else {
            panic!()
        };
        let points = [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1)), (xray, bench.tcx(1))];
        let first = points.map(|(program, point)| engine.attached(program, point));
        let old = hide(&bench);
        assert!(bench.kernel.add_name(Path::new(PROCESS), old));
        bench.kernel.add_namespace(&bench.netns);
        bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        engine.check_all();
        for link in first {
            let state = state_of(&engine, link);
            assert_eq!(state.name(), "elsewhere", "{state}");
            assert!(state.cause().contains("does not lead") && state.cause().contains(PROCESS), "{state}");
        }
        let troubles = engine.list_hooks().unwrap().iter().filter(|hook| !hook.troubles.is_empty()).count();
        assert_eq!(troubles, 3);
        let second = [(bravo, bench.xdp(1)), (tulip, bench.tc(INGRESS, 1))]
            .map(|(program, point)| engine.attached(program, point));
        assert_eq!(engine.names(&bench.left(), XDP), ["bravo"]);
        drop(engine);
        let engine = bench.engine();
        assert!(second.iter().all(|link| state_of(&engine, *link).is_running()));
        assert!(first.iter().all(|link| state_of(&engine, *link).name() == "elsewhere"));
        for link in first {
            engine.detach(link).unwrap();
        }
        let left = bench.kernel.snapshot();
        assert_eq!(left.links.len() + left.filters.len(), 2, "{left:?}");
        assert!(second.iter().all(|link| state_of(&engine, *link).is_running()));
    }
}

/// The kernel does not report the namespace of a link.
#[test]
fn link_of_another_namespace_is_not_taken_for_one_without_a_pin() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    let first = engine.attached(alpha, bench.xdp(1));
    let pin = engine.describe_link(first).unwrap().pin.unwrap();
    bench.kernel.unpin(&pin).unwrap();
    bench.kernel.remove_namespace(&bench.netns);
    bench.kernel.add_namespace(&bench.netns);
    bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
    let second = engine.attached(alpha, bench.xdp(2));
    assert!(state_of(&engine, second).is_running());
    engine.check_all();
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert!([first, second].iter().all(|link| state_of(&engine, *link).is_running()));
    assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "alpha"]);
    engine.unload(alpha).unwrap();
    engine.unload(bravo).unwrap();
    assert!(bench.kernel.snapshot().links.is_empty());
}

/// State after the bpffs was unmounted.
#[test]
fn chain_that_lost_its_pins_comes_back_where_it_was() {
    for handed_over in [false, true] {
        let bench = crate::simulated::bench();
        let engine = bench.engine();
        let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else {
            panic!()
        };
        assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
        let links = [
            engine.attached(alpha, at(bench.xdp(1), in_process("left"))),
            engine.attached(bravo, bench.xdp(2)),
        ];
        let key = bench.kernel.find_hook(&bench.left(), XDP).unwrap();
        let another = Path::new("/proc/4712/ns/net");
        assert!(bench.kernel.add_name(another, bench.home()));
        bench.kernel.remove_name(Path::new(PROCESS));
        bench.kernel.remove_name(&bench.netns);
        if handed_over {
            bench.kernel.add_namespace(&bench.netns);
            bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
        }
        drop(engine);
        for pin in pins(&*bench.kernel, Path::new("")) {
            bench.kernel.unpin(Path::new(&pin)).unwrap();
        }
        let (engine, report) = bench.start();
        assert_eq!(report.problems, Vec::<String>::new());
        let names = if handed_over { ["ok", "elsewhere"] } else { ["ok", "ok"] };
        assert_eq!(links.map(|link| state_of(&engine, link).name()), names);
        assert_eq!(bench.kernel.hook_contents(None, &key).unwrap().entries.len(), 1);
    }
}

#[test]
fn tcx_link_comes_back_where_it_was() {
    for by_process in [false, true] {
        let bench = crate::simulated::bench();
        let mut engine = bench.engine();
        let xray = engine.loads(&bench.request("programs", &["xray"]))[0];
        let old = bench.home();
        assert!(bench.kernel.add_name(Path::new(PROCESS), old));
        let point = if by_process { at(bench.tcx(1), in_process("left")) } else { bench.tcx(1) };
        let link = engine.attached(xray, point);
        let another = Path::new("/proc/4712/ns/net");
        assert!(bench.kernel.add_name(another, old));
        bench.kernel.remove_name(Path::new(PROCESS));
        bench.kernel.add_namespace(&bench.netns);
        bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
        for at_start in [false, true] {
            let pin = PathBuf::from(format!("links/{link}"));
            bench.kernel.end_link(&pin).unwrap();
            if at_start {
                drop(engine);
                engine = bench.engine();
            } else {
                engine.check_all();
            }
            let state = state_of(&engine, link);
            assert_eq!(state.name(), if by_process { "ok" } else { "elsewhere" }, "{state}");
            let key = engine.describe_link(link).unwrap().record.hook.unwrap();
            assert_eq!(NetnsId::from(key.netns), old);
            let there = bench.kernel.hook_contents(None, &key).unwrap().entries;
            assert_eq!(there.len(), 1);
        }
    }
}

/// A link to a namespace keeps it alive without any path.
#[test]
fn link_of_a_namespace_tells_that_its_path_changed() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let names = ["no_packet", "no_listener"];
    let [packets, listeners] = engine.loads(&bench.request("points", &names))[..] else { panic!() };
    let netns = Some(bench.netns.clone());
    let (family, hook) = (NetfilterFamily::Ipv4, NetfilterHook::Input);
    let place = NetfilterPlace { family, hook, priority: 7, defragment: false };
    let links = [
        engine.attached(packets, AttachPoint::Netfilter { netns: netns.clone(), place }),
        engine.attached(listeners, AttachPoint::Netns { netns }),
    ];
    let home = hide(&bench);
    for again in [false, true] {
        if again {
            bench.kernel.add_namespace(&bench.netns);
        }
        let [packets, listeners] = links.map(|link| state_of(&engine, link));
        assert_eq!(packets, Standing::PlaceGone { place: GonePlace::KeptNamespace, why: None });
        assert_eq!(listeners, Standing::OtherPath { was: Some(bench.netns.clone()), now: None });
    }
    assert!(bench.kernel.add_name(Path::new(PROCESS), home));
    let state = state_of(&engine, links[0]);
    assert_eq!(state.name(), "elsewhere", "a process of it is there: {state}");
}

#[test]
fn lost_links_of_a_namespace_return_to_it() {
    for (at_start, given_away) in [(false, false), (true, false), (false, true), (true, true)] {
        let bench = crate::simulated::bench();
        let mut engine = bench.engine();
        let names = ["no_packet", "no_listener"];
        let [packets, listeners] = engine.loads(&bench.request("points", &names))[..] else { panic!() };
        let home = bench.home();
        assert!(bench.kernel.add_name(Path::new("/proc/4712/ns/net"), home));
        let netns = Some(bench.netns.clone());
        let (family, hook) = (NetfilterFamily::Ipv4, NetfilterHook::Input);
        let place = NetfilterPlace { family, hook, priority: 7, defragment: false };
        let links = [
            engine.attached(packets, AttachPoint::Netfilter { netns: netns.clone(), place }),
            engine.attached(listeners, AttachPoint::Netns { netns }),
        ];
        bench.kernel.remove_name(&bench.netns);
        if given_away {
            bench.kernel.add_namespace(&bench.netns);
        }
        for link in links {
            bench.kernel.end_link(&PathBuf::from(format!("links/{link}"))).unwrap();
        }
        if at_start {
            drop(engine);
            engine = bench.engine();
        } else {
            engine.check_all();
        }
        let name = if given_away { "elsewhere" } else { "ok" };
        assert!(links.iter().all(|link| state_of(&engine, *link).name() == name), "{:?}", engine.all_links());
        let places: Vec<_> = bench.kernel.snapshot().links.into_values().map(|link| link.place).collect();
        let is_home = |place: &String| place.contains(&home.inode.to_string());
        assert!(places.len() == 2 && places.iter().all(is_home), "{places:?}");
    }
}

#[test]
fn link_of_a_namespace_follows_its_path_after_the_end() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let listeners = engine.loads(&bench.request("points", &["no_listener"]))[0];
    let link = engine.attached(listeners, AttachPoint::Netns { netns: Some(bench.netns.clone()) });
    let old = bench.home();
    bench.kernel.remove_namespace(&bench.netns);
    bench.kernel.add_namespace(&bench.netns);
    engine.check_all();
    assert_eq!(state_of(&engine, link), Standing::Running);
    let place = bench.kernel.snapshot().links.into_values().map(|link| link.place).next().unwrap();
    assert!(!place.contains(&old.inode.to_string()), "{place}");
}

#[test]
fn hook_is_described_by_a_path_that_leads_nowhere() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let [alpha, tango] = engine.loads(&bench.request("programs", &["alpha", "tango"]))[..] else {
            panic!()
        };
        let hooks = [(alpha, bench.xdp(1), XDP), (tango, bench.tc(INGRESS, 1), HookKind::Tc(INGRESS))];
        for (program, point, _) in hooks.clone() {
            engine.attached(program, point);
        }
        leave_name(&bench);
        let here = |kind| engine.hook_entries(&bench.left(), kind).unwrap();
        let beside = |kind| engine.interfaces_beside(&bench.left(), kind).unwrap();
        for (_, _, kind) in &hooks {
            let entries = here(*kind);
            assert!(entries.len() == 1 && entries[0].ours && entries[0].program.is_some(), "{entries:?}");
            assert!(beside(*kind).iter().any(|facts| facts.name == "left"));
        }
        bench.kernel.remove_name(Path::new(PROCESS));
        for (_, _, kind) in hooks {
            assert!(here(kind).is_empty() && beside(kind).is_empty());
            assert_eq!(engine.show_chain(&bench.left(), kind).unwrap().members.len(), 1);
        }
    }
}

#[test]
fn match_that_was_renamed_stays_attached_over_a_start() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let names = ["alpha", "tango", "xray"];
        let [alpha, tango, xray] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
        for (program, point) in [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1)), (xray, bench.tcx(1))] {
            ask(&engine, program, point, chosen(&bench, &["left", "wan"], &[])).unwrap();
        }
        let attached = || {
            let snapshot = bench.kernel.snapshot();
            (snapshot.links.into_keys().collect::<Vec<_>>(), snapshot.filters.len())
        };
        let ids = |engine: &Engine<SimKernel>| -> Vec<_> {
            engine.all_links().iter().map(|link| (link.record.id, link.kernel_link)).collect()
        };
        let before = (ids(&engine), attached());
        drop(engine);
        assert!(bench.kernel.rename_interface(Some(&bench.netns), "left", "wan"));
        let engine = bench.engine();
        assert_eq!((ids(&engine), attached()), before);
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert_eq!((ids(&engine), attached()), before);
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()));
        drop(engine);
        assert!(bench.kernel.rename_interface(Some(&bench.netns), "wan", "other"));
        let engine = bench.engine();
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert!(engine.all_links().is_empty());
        assert_eq!(attached(), (Vec::new(), 0));
    }
}

#[test]
fn match_keeps_its_links_when_one_of_its_paths_is_removed() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let second = Path::new("/run/netns/second");
        assert!(bench.kernel.add_name(second, bench.home()));
        let names = ["alpha", "tango", "xray"];
        let [alpha, tango, xray] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
        let netns = [bench.netns.as_path(), second];
        let both = InterfaceMatch::parse(["left"], [], [], netns).unwrap();
        for (program, point) in [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1)), (xray, bench.tcx(1))] {
            ask(&engine, program, point, both.clone()).unwrap();
        }
        let links = |engine: &Engine<SimKernel>| -> Vec<_> {
            engine.all_links().iter().map(|link| (link.record.id, link.kernel_link)).collect()
        };
        let before = links(&engine);
        assert_eq!(before.len(), 3);
        drop(engine);
        let named = bench.kernel.named_namespaces();
        assert_eq!(named.len(), 1, "{named:?}");
        bench.kernel.remove_name(&bench.netns);
        let engine = bench.engine();
        assert_eq!(links(&engine), before);
        follow(&engine, &bench);
        engine.follow_interfaces(Some(second)).unwrap();
        assert_eq!(links(&engine), before);
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
    }
}

#[test]
fn links_return_to_the_name_when_the_first_namespace_ends() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let names = ["alpha", "tango", "xray"];
        let [alpha, tango, xray] = engine.loads(&bench.request("programs", &names))[..] else { panic!() };
        for (program, point) in [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1)), (xray, bench.tcx(1))] {
            engine.attached(program, point);
        }
        let old = hide(&bench);
        bench.kernel.add_namespace(&bench.netns);
        bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        bench.kernel.end_namespace(old);
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert!(engine.all_links().iter().all(|link| link.standing.is_running()), "{:?}", engine.all_links());
    }
}

#[test]
fn match_ends_in_a_namespace_that_lost_the_name() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let [alpha, tango] = engine.loads(&bench.request("programs", &["alpha", "tango"]))[..] else {
            panic!()
        };
        for (program, point) in [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1))] {
            ask(&engine, program, point, chosen(&bench, &["left"], &[])).unwrap();
        }
        leave_name(&bench);
        follow(&engine, &bench);
        assert!(engine.all_links().is_empty(), "{:?}", engine.all_links());
        let left = bench.kernel.snapshot();
        assert_eq!(left.links.len() + left.filters.len(), 0, "{left:?}");
    }
}

#[test]
fn member_returns_by_its_own_path() {
    for bench in [crate::simulated::bench(), by_clsact()] {
        let engine = bench.engine();
        let names = ["alpha", "bravo", "tango", "tulip"];
        let [alpha, bravo, tango, tulip] = engine.loads(&bench.request("programs", &names))[..] else {
            panic!()
        };
        assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
        let by_process = [(alpha, bench.xdp(1)), (tango, bench.tc(INGRESS, 1))]
            .map(|(program, point)| engine.attached(program, at(point, in_process("left"))));
        let by_name = [(bravo, bench.xdp(2)), (tulip, bench.tc(INGRESS, 2))]
            .map(|(program, point)| engine.attached(program, point));
        bench.kernel.remove_name(Path::new(PROCESS));
        engine.follow_interfaces(Some(Path::new(PROCESS))).unwrap_err();
        assert_eq!(engine.names(&bench.left(), XDP), ["alpha", "bravo"]);
        assert_eq!(engine.names(&in_process("left"), XDP), ["alpha", "bravo"]);
        assert!(engine.list_hooks().unwrap().iter().all(|hook| hook.troubles.is_empty()));
        assert!(engine.verify_chain(&bench.left(), XDP, None).unwrap().parts.iter().all(|part| part.matches));
        assert!(by_process.iter().all(|link| state_of(&engine, *link).is_running()));
        bench.kernel.remove_interface(Some(&bench.netns), "left");
        engine.follow_interfaces(Some(&bench.netns)).unwrap();
        bench.kernel.add_interface(Some(&bench.netns), "left").unwrap();
        let report = engine.follow_interfaces(Some(&bench.netns)).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(by_name.iter().all(|link| state_of(&engine, *link).is_running()), "{:?}", engine.all_links());
        assert!(by_process.iter().all(|link| state_of(&engine, *link) == Standing::Waiting));
        for link in by_process.into_iter().chain(by_name) {
            engine.detach(link).unwrap();
        }
        drop(engine);
        bench.engine();
    }
}

#[test]
fn member_returns_by_its_own_path_over_a_start() {
    let bench = crate::simulated::bench();
    let engine = bench.engine();
    let [alpha, bravo] = engine.loads(&bench.request("programs", &["alpha", "bravo"]))[..] else { panic!() };
    assert!(bench.kernel.add_name(Path::new(PROCESS), bench.home()));
    engine.attached(alpha, at(bench.xdp(1), in_process("left")));
    let by_name = engine.attached(bravo, bench.xdp(2));
    drop(engine);
    bench.kernel.remove_name(Path::new(PROCESS));
    bench.kernel.reboot();
    let (engine, _) = bench.start();
    assert!(state_of(&engine, by_name).is_running(), "{:?}", engine.all_links());
    assert_eq!(engine.names(&bench.left(), XDP), ["bravo"]);
}
