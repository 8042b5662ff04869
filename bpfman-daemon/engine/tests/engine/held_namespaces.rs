//! Attachments in network namespaces that have no cookie, whose inode is given to another namespace.

use std::path::PathBuf;

use bpfman_model::Interface;
use bpfmand_kernel::Features;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimOptions;

use crate::bench::{Ask as _, Bench};
use crate::namespaces::{INGRESS, Sim, follow, hide, leave_name, state_of};

fn without_cookies() -> Sim {
    let current = SimOptions::default();
    let features = Features { netns_cookies: false, ..current.features.clone() };
    Bench { tc_by_clsact: true, ..crate::simulated::bench_of(SimOptions { features, ..current }) }
}

fn add_other(bench: &Sim) -> Interface {
    let netns = PathBuf::from("/run/netns/other");
    bench.kernel.add_namespace(&netns);
    bench.kernel.add_interface(Some(&netns), "left").unwrap();
    Interface { name: "left".to_owned(), netns: Some(netns) }
}

fn stays_out_of_the_next(restarts: bool) {
    let bench = without_cookies();
    let engine = bench.engine();
    let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
    let link = engine.attached(tango, bench.tc(INGRESS, 1));
    leave_name(&bench);
    let home = bench.kernel.find_hook(&crate::namespaces::in_process("left"), crate::namespaces::TC).unwrap();
    let home = home.netns.id().unwrap();
    assert_eq!(home.cookie, 0);
    engine.hold_namespaces().unwrap();
    follow(&engine, &bench);
    assert!(crate::namespaces::state_of(&engine, link).is_running());
    let engine = if restarts {
        drop(engine);
        bench.engine()
    } else {
        engine
    };

    bench.kernel.end_namespace(home);
    engine.hold_namespaces().unwrap();
    let other = add_other(&bench);
    let key = bench.kernel.find_hook(&other, crate::namespaces::TC).unwrap();
    assert_eq!(key.netns.id(), Some(home), "the inode is not used again");
    for _ in 0..2 {
        engine.check_all();
    }
    assert_eq!(bench.kernel.snapshot().filters.len(), 0, "{:?}", bench.kernel.snapshot().filters);
    follow(&engine, &bench);
    assert!(!crate::namespaces::state_of(&engine, link).is_running());

    engine.hold_namespaces().unwrap();
    let tulip = engine.loads(&bench.request("programs", &["tulip"]))[0];
    let point = crate::namespaces::at(bench.tc(INGRESS, 1), other);
    engine.attached(tulip, point);
    assert_eq!(bench.kernel.snapshot().filters.len(), 1);
}

#[test]
fn filter_of_an_ended_namespace_is_put_into_no_other() {
    stays_out_of_the_next(false);
}

#[test]
fn filter_of_a_namespace_held_since_a_start_goes_nowhere_else() {
    stays_out_of_the_next(true);
}

#[test]
fn namespace_of_a_descriptor_alone_is_unreachable_until_it_ends() {
    let with_cookies = Bench { tc_by_clsact: true, ..crate::simulated::bench() };
    for bench in [without_cookies(), with_cookies] {
        let engine = bench.engine();
        let tango = engine.loads(&bench.request("programs", &["tango"]))[0];
        let link = engine.attached(tango, bench.tc(INGRESS, 1));
        engine.hold_namespaces().unwrap();
        let home = hide(&bench);
        // The daemon's own descriptor counts as little as that of another process.
        for _ in 0..2 {
            assert_eq!(state_of(&engine, link).name(), "unreachable");
            engine.hold_namespaces().unwrap();
        }
        engine.check_all();
        assert_eq!(state_of(&engine, link).name(), "unreachable");
        assert_eq!(bench.kernel.snapshot().filters.len(), 1, "it still runs");
        bench.kernel.end_namespace(home);
        engine.hold_namespaces().unwrap();
        assert_eq!(state_of(&engine, link).name(), "gone");
    }
}
