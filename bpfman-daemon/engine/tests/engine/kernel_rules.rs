//! Rules of the kernel that the engine relies on, tested alike on both kernels: each refuses what the other refuses.

use std::path::Path;

use bpfman_model::{BoundText, Direction, HookKind, IfIndex, Insn, MapSpec, ProgramType, op};
use bpfmand_kernel::{
    FilterPlace, Kernel, KernelError, LinkTarget, ListAnchor, ProgramLoad, TcFilter, XdpMode,
};

use crate::bench::{Bench, Testable};

pub fn program<K: Kernel>(kernel: &K, kind: ProgramType, verdict: i32, map: Option<&K::Handle>) -> K::Handle {
    let mut insns = Vec::new();
    if let Some(map) = map {
        let id = kernel.map_of(map).unwrap().id;
        insns.push(Insn::new(op::LD_IMM64, 1, op::PSEUDO_MAP_FD, 0, id.0.cast_signed()));
        insns.push(Insn::default());
    }
    insns.push(Insn::new(0xb7, 0, 0, 0, verdict));
    insns.push(Insn::new(op::EXIT, 0, 0, 0, 0));
    let text = BoundText::of_one_function("rule", "GPL", insns);
    let load = ProgramLoad::new("rule", &text, kind.into());
    kernel.load_program(&load).unwrap().program
}

fn array(map_type: u32, max_entries: u32) -> MapSpec {
    MapSpec::sized("numbers", map_type, 4, 4, max_entries)
}

fn interface<K: Testable>(bench: &Bench<K>) -> IfIndex {
    bench.kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap().ifindex
}

fn pins_and_folders<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let handle = program(kernel, ProgramType::Xdp, 2, None);
    let (a, b) = (Path::new("a"), Path::new("b"));
    kernel.make_folder(&a.join("deep/er")).unwrap();
    kernel.make_folder(&a.join("deep")).unwrap();
    kernel.pin(&handle, &a.join("one")).unwrap();
    assert!(kernel.pin(&handle, &a.join("one")).is_err(), "a taken path");
    assert!(kernel.pin(&handle, &b.join("one")).is_err(), "a folder that is not there");
    assert!(kernel.pin(&handle, &a.join("with.dot")).is_err(), "a name with a dot");
    assert!(kernel.make_folder(Path::new("with.dot")).is_err(), "a folder with a dot");
    assert!(kernel.make_folder(&a.join("one")).is_err(), "a folder where a pin is");
    assert_eq!(kernel.list_folder(a).unwrap(), ["deep", "one"]);
    assert_eq!(kernel.list_folder(&a.join("one")).unwrap(), Vec::<String>::new());
    assert_eq!(kernel.list_folder(b).unwrap(), Vec::<String>::new());
    assert!(kernel.remove_folder(a).is_err(), "a folder that holds something");
    assert!(kernel.remove_folder(&a.join("one")).is_err(), "a pin is no folder");
    assert!(kernel.unpin(&a.join("deep")).is_err(), "a folder is no pin");
    assert!(kernel.open_pin(&a.join("deep")).is_err(), "a folder is no pin");
    assert!(kernel.open_pin(b).unwrap().is_none());
    kernel.rename(a, b).unwrap();
    assert_eq!(kernel.list_folder(b).unwrap(), ["deep", "one"]);
    kernel.pin(&handle, Path::new("c")).unwrap();
    assert!(kernel.rename(&b.join("one"), Path::new("c")).is_err(), "a move onto a pin");
    assert!(kernel.open_pin(&b.join("one")).unwrap().is_some());
    assert!(kernel.rename(a, Path::new("d")).is_err(), "a move of nothing");
    for pin in ["b/one", "c", "b/one"] {
        kernel.unpin(Path::new(pin)).unwrap();
    }
    for folder in ["b/deep/er", "b/deep", "b", "b"] {
        kernel.remove_folder(Path::new(folder)).unwrap();
    }
}

fn objects_live_as_long_as_someone_refers_to_them<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let map = kernel.create_map(&array(2, 4), None).unwrap();
    let map_id = kernel.map_of(&map).unwrap().id;
    let handle = program(kernel, ProgramType::Xdp, 2, Some(&map));
    let facts = kernel.program_of(&handle).unwrap();
    assert_eq!(facts.map_ids, [map_id]);
    drop(map);
    assert_eq!(kernel.map(map_id).unwrap().unwrap().name, "numbers");
    kernel.pin(&handle, Path::new("kept")).unwrap();
    drop(handle);
    assert!(kernel.program_ids().unwrap().contains(&facts.id));
    let target = LinkTarget::Xdp {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: interface(bench),
        mode: XdpMode::Generic,
    };
    let again = kernel.open_program(facts.id).unwrap().unwrap();
    let link = kernel.attach(&again, &target).unwrap();
    kernel.pin(&link, Path::new("link")).unwrap();
    kernel.unpin(Path::new("kept")).unwrap();
    drop((link, again));
    assert!(kernel.program(facts.id).unwrap().is_some(), "a link keeps its program");
    kernel.end_link(Path::new("link")).unwrap();
    kernel.end_link(Path::new("link")).unwrap();
    until_gone(|| kernel.program(facts.id).unwrap().is_none());
    until_gone(|| kernel.map(map_id).unwrap().is_none());
    assert!(kernel.open_program(facts.id).unwrap().is_none());
    assert!(kernel.open_map(map_id).is_err());
    let next = program(kernel, ProgramType::Xdp, 2, None);
    assert!(kernel.program_of(&next).unwrap().id > facts.id, "ids are not given again");
}

/// The kernel frees unreferenced objects after a grace period.
fn until_gone(gone: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "still there");
        std::thread::yield_now();
    }
}

fn an_xdp_hook_takes_one_link_and_swaps_what_is_expected<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let [first, second, third] = [0, 1, 2].map(|verdict| program(kernel, ProgramType::Xdp, verdict, None));
    let target = LinkTarget::Xdp {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: interface(bench),
        mode: XdpMode::Generic,
    };
    let link = kernel.attach(&first, &target).unwrap();
    assert!(matches!(kernel.attach(&second, &target), Err(KernelError::HookHeld { .. })));
    assert!(matches!(kernel.replace(&link, &third, &second), Err(KernelError::HookChanged { .. })));
    kernel.replace(&link, &second, &first).unwrap();
    let facts = kernel.link_of(&link).unwrap();
    assert_eq!((facts.program, facts.kernel_type), (kernel.program_of(&second).unwrap().id, 6));
    assert_eq!(facts.ifindex, Some(interface(bench)));
    let tc = program(kernel, ProgramType::Tc, 0, None);
    assert!(kernel.attach(&tc, &target).is_err(), "a program of another type");
    drop(link);
    until_gone(|| kernel.attach(&third, &target).is_ok());
}

fn tcx_links_stand_where_their_anchor_says<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !kernel.features().tcx {
        println!("skipped: Linux before 6.6 has no tcx");
        return;
    }
    let target = |anchor| LinkTarget::Tcx {
        home: bench.home(),
        netns: Some(&bench.netns),
        ifindex: interface(bench),
        direction: Direction::Egress,
        anchor,
        expected_revision: None,
    };
    let [first, second, third] = [0, 1, 2].map(|verdict| program(kernel, ProgramType::Tcx, verdict, None));
    let link = kernel.attach(&first, &target(ListAnchor::Last)).unwrap();
    let id = kernel.link_of(&link).unwrap().id;
    assert!(kernel.attach(&first, &target(ListAnchor::Last)).is_err(), "a program twice");
    let before = kernel.attach(&second, &target(ListAnchor::Before(id))).unwrap();
    let _after = kernel.attach(&third, &target(ListAnchor::After(id))).unwrap();
    assert_eq!(kernel.link_of(&before).unwrap().kernel_type, 11);
    drop(link);
    let stale = ListAnchor::Before(id);
    assert!(kernel.attach(&first, &target(stale)).is_err(), "an anchor that is gone");
    assert!(kernel.replace(&before, &third, &second).is_err(), "a program that is there already");
}

fn a_filter_is_found_by_its_numbers_and_its_program<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let [first, second] = [0, 1].map(|verdict| program(kernel, ProgramType::Tc, verdict, None));
    let [id, other] = [&first, &second].map(|handle| kernel.program_of(handle).unwrap().id);
    let filter = TcFilter::of(7);
    let at = FilterPlace {
        home: kernel.find_hook(&bench.left(), HookKind::Xdp).unwrap().netns.into(),
        netns: Some(&bench.netns),
        ifindex: interface(bench),
        direction: Direction::Ingress,
        filter,
    };
    assert_eq!(kernel.filter_program(&at).unwrap(), None);
    kernel.add_filter(&at, &first, "rule").unwrap();
    assert!(kernel.add_filter(&at, &second, "rule").is_err(), "taken numbers");
    assert_eq!(kernel.filter_program(&at).unwrap(), Some(id));
    let elsewhere = FilterPlace { direction: Direction::Egress, ..at };
    assert_eq!(kernel.filter_program(&elsewhere).unwrap(), None);
    let swap = |expected| kernel.replace_filter(&at, &second, expected, "rule");
    assert!(matches!(swap(other), Err(KernelError::HookChanged { .. })));
    swap(id).unwrap();
    kernel.remove_filter(&at, id).unwrap();
    assert_eq!(kernel.filter_program(&at).unwrap(), Some(other), "the filter of another program stays");
    drop(second);
    assert!(kernel.program(other).unwrap().is_some(), "a filter keeps its program");
    kernel.remove_filter(&at, other).unwrap();
    kernel.remove_filter(&at, other).unwrap();
    until_gone(|| kernel.program(other).unwrap().is_none());
}

fn missing_interface_and_namespace_are_named<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let nowhere = bench.interface("nowhere");
    assert!(matches!(kernel.find_hook(&nowhere, HookKind::Xdp), Err(KernelError::NoInterface { .. })));
    let gone = bpfman_model::Interface { netns: Some("/run/netns/no-such".into()), ..bench.left() };
    assert!(matches!(kernel.find_hook(&gone, HookKind::Xdp), Err(KernelError::NoNamespace { .. })));
    let (left, right) = (bench.left(), bench.interface("right"));
    let [left, right] = [left, right].map(|interface| kernel.find_hook(&interface, HookKind::Xdp).unwrap());
    assert_eq!(left.netns, right.netns);
    assert_ne!(left.ifindex, right.ifindex);
}

fn maps_of_no_shape_are_refused<K: Testable>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    for (map_type, entries) in [(0, 1), (2, 0), (1, 0)] {
        assert!(
            kernel.create_map(&array(map_type, entries), None).is_err(),
            "type {map_type}, {entries} entries"
        );
    }
    assert!(
        kernel.create_map(&MapSpec { key_size: 8, ..array(2, 1) }, None).is_err(),
        "an array of long keys"
    );
    let ring = MapSpec { key_size: 0, value_size: 0, ..array(27, 5000) };
    let ring = kernel.create_map(&ring, None).unwrap();
    assert_eq!(kernel.map_of(&ring).unwrap().max_entries, 8192);
    let jumps = kernel.create_map(&array(3, 2), None).unwrap();
    let callee = program(kernel, ProgramType::Xdp, 2, None);
    kernel.fill_slot(&jumps, 1, &callee).unwrap();
    assert!(kernel.fill_slot(&jumps, 2, &callee).is_err(), "a slot beyond the end");
    assert!(kernel.fill_slot(&jumps, 0, &ring).is_err(), "a map among programs");
    let id = kernel.program_of(&callee).unwrap().id;
    drop(callee);
    assert!(kernel.program(id).unwrap().is_some(), "a slot keeps its program");
    drop(jumps);
    until_gone(|| kernel.program(id).unwrap().is_none());
}

fn a_boot_has_one_name<K: Testable>(bench: &Bench<K>) {
    let boot = bench.kernel.boot().unwrap();
    assert!(!boot.is_empty() && boot.trim() == boot, "{boot:?}");
    assert_eq!(bench.kernel.boot().unwrap(), boot);
}

crate::on_both_kernels!(
    a_boot_has_one_name,
    pins_and_folders,
    objects_live_as_long_as_someone_refers_to_them,
    an_xdp_hook_takes_one_link_and_swaps_what_is_expected,
    tcx_links_stand_where_their_anchor_says,
    a_filter_is_found_by_its_numbers_and_its_program,
    missing_interface_and_namespace_are_named,
    maps_of_no_shape_are_refused,
);
