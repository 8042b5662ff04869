//! Programs of netkit devices: they behave like other links, and their verdicts apply.

use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_model::{
    AttachPoint, Interface, LinkId, LoadRequest, MapId, ProgramId, Reason, TenantRules, uapi::attach_type,
};
use bpfmand_engine::{Engine, HookCheck, Standing};
use bpfmand_kernel::SearchOnce;
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;

use crate::bench::{Ask as _, Bench, Testable, pins};
use crate::interfaces_moved::Beside;
use crate::namespaces::PROCESS;
use crate::replacements::replacement;
use crate::simulated::bench as simulated_bench;

fn at<K: Testable>(bench: &Bench<K>, name: &str) -> AttachPoint {
    AttachPoint::Netkit { interface: Interface { name: name.to_owned(), netns: Some(bench.netns.clone()) } }
}

fn both_ends_live_as_other_links_do<K: Testable>(bench: &Bench<K>) {
    let engine = bench.engine();
    let programs = engine.loads(&bench.request("openers", &["no_primary", "no_peer"]));
    let links: Vec<_> = programs.iter().map(|program| engine.attached(*program, at(bench, "kit0"))).collect();
    let again = engine.try_attach(programs[0], at(bench, "kit0")).unwrap_err();
    assert_eq!(again.kind(), Reason::Conflict, "{again}");
    let tenant = Some(TenantRules::of_containers());
    let denied = engine.load(&LoadRequest { tenant, ..bench.request("openers", &["no_peer"]) }).unwrap_err();
    assert_eq!(denied.kind(), Reason::Denied, "{denied}");
    drop(engine);
    let engine = bench.engine();
    for link in links {
        let before = engine.describe_link(link).unwrap();
        assert_eq!(before.standing, Standing::Running, "a new daemon");
        bench.kernel.end_link(before.pin.as_ref().unwrap()).unwrap();
        assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
        let mended = engine.describe_link(link).unwrap();
        engine.replace_program(&replacement(bench, mended.program.id, "openers")).unwrap();
        let replaced = engine.describe_link(link).unwrap();
        assert_eq!((replaced.standing, replaced.kernel_link), (Standing::Running, mended.kernel_link));
        engine.detach(link).unwrap();
    }
    engine.ids().into_iter().for_each(|program| engine.unload(program).unwrap());
    assert_eq!(pins(&*bench.kernel, "".as_ref()), Vec::<String>::new());
}

#[test]
fn simulated_both_ends_live_as_other_links_do() {
    both_ends_live_as_other_links_do(&with_device());
}

fn with_device() -> Bench<SimKernel> {
    let bench = simulated_bench();
    bench.kernel.add_interface(Some(&bench.netns), "kit0").unwrap();
    bench
}

fn lose_pin(bench: &Bench<SimKernel>, link: LinkId) {
    bench.kernel.end_link(&Path::new("links").join(link.to_string())).unwrap();
}

#[test]
fn lost_netkit_link_returns_to_its_own_namespace() {
    for (at_start, path) in [(false, None), (true, None), (false, Some(PROCESS)), (true, Some(PROCESS))] {
        let bench = with_device();
        let mut engine = bench.engine();
        let program = engine.loads(&bench.request("openers", &["no_primary"]))[0];
        let home = bench.home();
        assert!(bench.kernel.add_name(Path::new(PROCESS), home));
        let netns = Some(path.map_or_else(|| bench.netns.clone(), PathBuf::from));
        let interface = Interface { name: "kit0".to_owned(), netns: netns.clone() };
        let link = engine.attached(program, AttachPoint::Netkit { interface });
        assert!(bench.kernel.add_name(Path::new("/proc/4712/ns/net"), home));
        for path in [Path::new(PROCESS), &bench.netns] {
            bench.kernel.remove_name(path);
        }
        let taken = netns.as_deref().unwrap();
        bench.kernel.add_namespace(taken);
        bench.kernel.add_interface(Some(taken), "kit0").unwrap();
        lose_pin(&bench, link);
        if at_start {
            drop(engine);
            engine = bench.engine();
        } else {
            assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
        }
        let places: Vec<_> = bench.kernel.snapshot().links.into_values().map(|link| link.place).collect();
        assert!(places.len() == 1 && places[0].contains(&home.inode.to_string()), "{places:?}");
        assert_eq!(engine.describe_link(link).unwrap().standing.name(), "elsewhere");
        engine.unload(program).unwrap();
        assert!(bench.kernel.snapshot().links.is_empty());
    }
}

#[test]
fn netkit_link_follows_the_name_of_its_device() {
    let bench = with_device();
    let mut engine = bench.engine();
    let program = engine.loads(&bench.request("openers", &["no_peer"]))[0];
    let link = engine.attached(program, at(&bench, "kit0"));
    assert!(engine.watched_namespaces().contains(&Some(bench.netns.clone())));
    for (from, to) in [("kit0", "kit1"), ("kit1", "kit2")] {
        assert!(bench.kernel.rename_interface(Some(&bench.netns), from, to));
        assert_eq!(engine.follow_interfaces(Some(&bench.netns)).unwrap().renamed, 1);
        assert_eq!(engine.describe_link(link).unwrap().record.point, at(&bench, to));
    }
    lose_pin(&bench, link);
    drop(engine);
    engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Running);
}

#[test]
fn netkit_link_of_a_moved_device_is_elsewhere() {
    let bench = with_device();
    let engine = bench.engine();
    let program = engine.loads(&bench.request("openers", &["no_peer"]))[0];
    let link = engine.attached(program, at(&bench, "kit0"));
    let other = Path::new("/run/netns/beside");
    bench.kernel.add_namespace(other);
    assert!(bench.kernel.move_interface(&bench.netns, "kit0", other));
    bench.kernel.add_interface(Some(&bench.netns), "kit0").unwrap();
    assert_eq!(engine.follow_interfaces(Some(&bench.netns)).unwrap().renamed, 0);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Absent);
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Elsewhere);
    drop(engine);
    let engine = bench.engine();
    assert_eq!(engine.describe_link(link).unwrap().standing, Standing::Elsewhere);
    engine.detach(link).unwrap();
    assert!(bench.kernel.snapshot().links.is_empty());
}

fn ip(bench: &Bench<LinuxKernel>, words: &[&str]) -> bool {
    let netns = bench.netns.file_name().unwrap().to_str().unwrap();
    Command::new("ip").args(["-n", netns]).args(words).output().unwrap().status.success()
}

fn runs(bench: &Bench<LinuxKernel>, engine: &Engine<LinuxKernel>, program: ProgramId) -> u64 {
    let map = bench.kernel.open_map(MapId(engine.map_pins(program)["runs"])).unwrap();
    let entries = bench.kernel.map_entries(&map, 32).unwrap();
    entries.iter().map(|entry| u64::from_ne_bytes(entry.value[..8].try_into().unwrap())).sum()
}

#[test]
fn linux_netkit_programs_decide_what_leaves_an_end() {
    let bench = crate::linux::bench("netkit");
    if !bench.kernel.features().netkit || !ip(&bench, &["link", "add", "kit0", "type", "netkit"]) {
        println!("skipped: this kernel has no netkit devices");
        return;
    }
    both_ends_live_as_other_links_do(&bench);
    let engine = bench.engine();
    for words in [
        &["link", "set", "nk0", "up"][..],
        &["link", "set", "kit0", "up"],
        &["addr", "add", "10.79.0.1/24", "dev", "kit0"],
    ] {
        assert!(ip(&bench, words));
    }
    let program = engine.loads(&bench.request("openers", &["no_primary"]))[0];
    let send = || {
        // No host has that address: the datagram waits for its neighbour, or is refused.
        let lines = "try:\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.79.0.9', 9))\n\
                     except OSError:\n    pass";
        crate::python::run(&bench.netns, None, lines);
        runs(&bench, &engine, program)
    };
    assert_eq!(send(), 0, "before");
    let link = engine.attached(program, at(&bench, "kit0"));
    assert!(send() > 0, "attached");
    let error = engine.try_attach(program, at(&bench, "left")).unwrap_err();
    assert!(error.to_string().contains("is no netkit device") && error.kind() == Reason::Invalid, "{error}");
    let error = engine.try_attach(program, at(&bench, "nowhere")).unwrap_err();
    assert_eq!(error.kind(), Reason::Invalid, "{error}");
    assert!(ip(&bench, &["link", "del", "kit0"]));
    assert!(matches!(engine.describe_link(link).unwrap().standing, Standing::Lost { .. }));
    assert!(ip(&bench, &["link", "add", "kit0", "type", "netkit"]));
    assert!(matches!(engine.check_link(link).unwrap(), HookCheck::Mended(_)));
    let standing = || engine.describe_link(link).unwrap().standing;
    assert_eq!(standing(), Standing::Running, "a device of that name again");
    let peer = engine.loads(&bench.request("openers", &["no_peer"]))[0];
    let peer = engine.attached(peer, at(&bench, "kit0"));
    assert!(ip(&bench, &["link", "set", "kit0", "name", "kit1"]));
    assert_eq!(engine.follow_interfaces(Some(&bench.netns)).unwrap().renamed, 2);
    for link in [link, peer] {
        let details = engine.describe_link(link).unwrap();
        assert_eq!((details.standing, &details.record.point), (Standing::Running, &at(&bench, "kit1")));
    }
    let handle = bench.kernel.open_pin(&Path::new("links").join(link.to_string())).unwrap().unwrap();
    let name = || {
        let kind = attach_type::NETKIT_PRIMARY;
        bench.kernel.netkit_device(bench.home(), Some(&bench.netns), &handle, kind).unwrap().unwrap()
    };
    {
        let _list = SearchOnce::begin();
        assert_eq!(name(), "kit1");
        assert!(ip(&bench, &["link", "set", "kit1", "name", "kit2"]));
        assert_eq!(name(), "kit1", "one list does for all links");
    }
    assert_eq!(name(), "kit2");
    assert!(ip(&bench, &["link", "set", "kit2", "name", "kit1"]));
    let beside = Beside::new("netkit");
    assert!(ip(&bench, &["link", "set", "kit1", "netns", beside.name()]));
    engine.follow_interfaces(Some(&bench.netns)).unwrap();
    assert_eq!(standing(), Standing::Elsewhere);
    assert_eq!(engine.check_link(link).unwrap(), HookCheck::Absent);
    engine.detach(link).unwrap();
    engine.detach(peer).unwrap();
}
