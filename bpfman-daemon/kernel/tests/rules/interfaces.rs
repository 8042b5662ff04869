use std::path::Path;
use std::time::{Duration, Instant};

use bpfman_model::{HookKind, Interface, InterfaceEvent, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{InterfaceWatch, Kernel, KernelError, XdpMode};

use crate::bench::Bench;
use crate::linux::{attempt, ip, name};
use crate::programs::{PASS, answering};

fn until(watch: &mut dyn InterfaceWatch, is_last: impl Fn(&InterfaceEvent) -> bool) -> Vec<InterfaceEvent> {
    let deadline = Instant::now() + crate::bench::TEST_TIMEOUT;
    let mut events = Vec::new();
    while !events.iter().any(&is_last) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "{events:?}");
        events.extend(watch.next(left).unwrap());
    }
    events
}

fn interfaces_are_listed_with_their_state<K: Kernel>(bench: &Bench<K>) {
    let list = || bench.kernel.interfaces(Some(&bench.netns)).unwrap();
    let found = list();
    let names: Vec<_> = found.iter().map(|interface| interface.name.as_str()).collect();
    assert!(names.contains(&"lo") && names.contains(&"left") && names.contains(&"right"), "{names:?}");
    assert!(found.is_sorted_by_key(|interface| interface.ifindex));
    let left = found.iter().find(|interface| interface.name == "left").unwrap();
    assert_eq!((left.ifindex, left.up), (bench.left().ifindex, false));
    assert_eq!(left.kind.as_deref(), Some("veth"));
    assert_eq!(found.iter().find(|interface| interface.name == "lo").unwrap().kind, None);
    bench.machine.switch_interface(&bench.netns, "left", true);
    assert!(list().iter().find(|interface| interface.name == "left").unwrap().up);
    let error = bench.kernel.interfaces(Some(Path::new("/run/netns/of-nobody"))).unwrap_err();
    assert!(matches!(error, KernelError::NoNamespace { .. }), "{error:?}");
    assert!(bench.kernel.watch_interfaces(Some(Path::new("/run/netns/of-nobody"))).is_err());
}

fn an_interface_is_found_by_a_name_longer_than_its_first(bench: &Bench<LinuxKernel>) {
    let long = "uplink-to-the-switch-of-the-second-rack";
    for altname in ["uplink", long] {
        ip(&bench.netns, &["link", "property", "add", "dev", "left", "altname", altname]);
        assert_eq!(bench.key(altname, HookKind::Xdp), bench.key("left", HookKind::Xdp), "{altname}");
    }
    let missing = Interface { name: format!("{long}-2"), netns: Some(bench.netns.clone()) };
    let error = bench.kernel.find_hook(&missing, HookKind::Xdp).unwrap_err();
    assert!(matches!(error, KernelError::NoInterface { .. }), "{error:?}");
}

fn each_change_is_reported_once<K: Kernel>(bench: &Bench<K>) {
    let (machine, netns) = (&bench.machine, &bench.netns);
    let mut watch = bench.kernel.watch_interfaces(Some(netns)).unwrap();
    assert_eq!(watch.next(Duration::ZERO).unwrap(), [], "what was there before");
    machine.add_interface(netns, "fresh");
    let key = bench.key("fresh", HookKind::Xdp);
    let is_fresh = |event: &InterfaceEvent| {
        *event == InterfaceEvent::Appeared { name: "fresh".to_owned(), ifindex: key.ifindex, up: false }
    };
    until(&mut *watch, is_fresh);
    machine.rename_interface(netns, "fresh", "newer");
    let renamed = InterfaceEvent::Renamed { ifindex: key.ifindex, name: "newer".to_owned() };
    assert_eq!(until(&mut *watch, |event| *event == renamed), [renamed]);
    machine.switch_interface(netns, "newer", true);
    let up = |up| InterfaceEvent::Changed { name: "newer".to_owned(), ifindex: key.ifindex, up };
    assert_eq!(until(&mut *watch, |event| *event == up(true)), [up(true)]);
    // Programs cause notices too, which a watch does not report.
    let program = answering(&*bench.kernel, ProgramType::Xdp, PASS);
    drop(bench.kernel.attach(&program, &bench.left().xdp(XdpMode::Generic)).unwrap());
    machine.remove_interface(netns, "newer");
    let removed = InterfaceEvent::Removed { ifindex: key.ifindex };
    let events = until(&mut *watch, |event| *event == removed);
    assert!(
        events.iter().all(|event| matches!(event, InterfaceEvent::Removed { .. }) || *event == up(false)),
        "{events:?}"
    );
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
}

fn change_undone_before_reading_is_not_reported<K: Kernel>(bench: &Bench<K>) {
    let (machine, netns) = (&bench.machine, &bench.netns);
    let mut watch = bench.kernel.watch_interfaces(Some(netns)).unwrap();
    machine.add_interface(netns, "brief");
    machine.remove_interface(netns, "brief");
    for up in [true, false, true] {
        machine.switch_interface(netns, "left", up);
    }
    let ifindex = bench.left().ifindex;
    let events = until(&mut *watch, |event| matches!(event, InterfaceEvent::Changed { .. }));
    assert_eq!(events, [InterfaceEvent::Changed { name: "left".to_owned(), ifindex, up: true }]);
}

fn only_the_watched_namespace_is_reported<K: Kernel>(bench: &Bench<K>) {
    let other = bench.machine.add_namespace();
    let mut watch = bench.kernel.watch_interfaces(Some(&bench.netns)).unwrap();
    let mut theirs = bench.kernel.watch_interfaces(Some(&other)).unwrap();
    bench.machine.switch_interface(&other, "right", true);
    bench.machine.switch_interface(&bench.netns, "left", true);
    let name = |events: &[InterfaceEvent]| match events {
        [InterfaceEvent::Changed { name, .. }] => name.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&until(&mut *theirs, |_| true)), "right");
    assert_eq!(name(&until(&mut *watch, |_| true)), "left");
}

fn missing_namespace_is_reported<K: Kernel>(bench: &Bench<K>) {
    let other = bench.machine.add_namespace();
    let mut watch = bench.kernel.watch_interfaces(Some(&other)).unwrap();
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
    bench.machine.remove_namespace(&other);
    assert_eq!(watch.next(Duration::from_millis(1)).unwrap(), [InterfaceEvent::NamespaceGone]);
}

fn a_storm_of_interfaces_becomes_one_event_each(bench: &Bench<LinuxKernel>) {
    let (kernel, netns) = (&*bench.kernel, &bench.netns);
    let mut watch = kernel.watch_interfaces(Some(netns)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let batch = |name: &str, line: &dyn Fn(u32) -> String| {
        let path = folder.path().join(name);
        std::fs::write(&path, (0..150).map(line).collect::<String>()).unwrap();
        path.display().to_string()
    };
    let add = batch("add", &|n| {
        format!("link add s{n} type veth peer name t{n}\nlink set s{n} up\nlink set t{n} up\n")
    });
    ip(netns, &["-batch", &add]);
    let mut appeared = 0;
    let deadline = Instant::now() + crate::bench::TEST_TIMEOUT;
    while appeared < 300 {
        assert!(Instant::now() < deadline, "{appeared}");
        for event in watch.next(Duration::from_millis(200)).unwrap() {
            match event {
                InterfaceEvent::Appeared { .. } => appeared += 1,
                InterfaceEvent::Changed { up, .. } => assert!(up),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(appeared, 300);
    let delete = batch("delete", &|n| format!("link del s{n}\n"));
    ip(netns, &["-batch", &delete]);
    let mut removed = 0;
    while removed < 300 {
        assert!(Instant::now() < deadline, "{removed}");
        let events = watch.next(Duration::from_millis(200)).unwrap();
        removed += events.iter().filter(|event| matches!(event, InterfaceEvent::Removed { .. })).count();
    }
    assert_eq!(removed, 300);
    assert_eq!(kernel.interfaces(Some(netns)).unwrap().len(), 3);
}

fn a_watch_that_is_not_read_in_time_says_so(bench: &Bench<LinuxKernel>) {
    let netns = &bench.netns;
    // The kernel sends the alias only of an interface that is up.
    ip(netns, &["link", "set", "left", "up"]);
    let mut watch = bench.kernel.watch_interfaces(Some(netns)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aliases");
    let lines: String = (0..10_000).map(|number| format!("link set left alias a{number}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    ip(netns, &["-batch", &path.display().to_string()]);
    ip(netns, &["link", "set", "right", "up"]);
    assert_eq!(watch.next(Duration::ZERO).unwrap(), [InterfaceEvent::Lost]);
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
    ip(netns, &["link", "set", "left", "down"]);
    let (name, ifindex) = ("left".to_owned(), bench.left().ifindex);
    let down = InterfaceEvent::Changed { name, ifindex, up: false };
    assert_eq!(until(&mut *watch, |event| *event == down), [down]);
}

/// The kernel sends the message of a removed interface for a port that leaves a bridge.
fn a_port_that_leaves_its_bridge_is_not_taken_for_gone(bench: &Bench<LinuxKernel>) {
    let netns = &bench.netns;
    let (added, why) = attempt("ip", &["-n", name(netns), "link", "add", "bridge", "type", "bridge"]);
    if !added {
        assert!(why.contains("Unknown device type"), "{why}");
        println!("skipped: no bridges: {why}");
        return;
    }
    ip(netns, &["link", "set", "left", "up"]);
    let mut watch = bench.kernel.watch_interfaces(Some(netns)).unwrap();
    for state in [&["link", "set", "left", "master", "bridge"][..], &["link", "set", "left", "nomaster"]] {
        ip(netns, state);
    }
    ip(netns, &["link", "set", "right", "up"]);
    let right = bench.key("right", HookKind::Xdp).ifindex;
    let is_right = |event: &InterfaceEvent| matches!(event, InterfaceEvent::Changed { ifindex, .. } if *ifindex == right);
    let events = until(&mut *watch, is_right);
    assert!(!events.iter().any(|event| matches!(event, InterfaceEvent::Removed { .. })), "{events:?}");
}

#[test]
fn a_simulated_watch_can_be_made_to_lose_events() {
    let bench = crate::simulated::bench();
    let kernel: &SimKernel = &bench.kernel;
    let mut watch = kernel.watch_interfaces(Some(&bench.netns)).unwrap();
    kernel.add_interface(Some(&bench.netns), "unseen").unwrap();
    kernel.overrun_watches();
    assert_eq!(watch.next(Duration::ZERO).unwrap(), [InterfaceEvent::Lost]);
    assert_eq!(watch.next(Duration::ZERO).unwrap(), []);
}

crate::on_both_kernels!(
    interfaces_are_listed_with_their_state,
    each_change_is_reported_once,
    change_undone_before_reading_is_not_reported,
    only_the_watched_namespace_is_reported,
    missing_namespace_is_reported,
);
crate::on_linux!(
    a_storm_of_interfaces_becomes_one_event_each,
    a_watch_that_is_not_read_in_time_says_so,
    a_port_that_leaves_its_bridge_is_not_taken_for_gone,
    an_interface_is_found_by_a_name_longer_than_its_first,
);
