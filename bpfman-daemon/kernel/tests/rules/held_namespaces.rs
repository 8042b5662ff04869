//! Network namespaces on kernels that give them no cookie.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bpfman_model::{HookKind, NetnsId};
use bpfmand_kernel::sim::{SimKernel, SimOptions};
use bpfmand_kernel::{Features, FoundNamespace, Kernel, Probe};

use crate::bench::{Bench, TEST_TIMEOUT};

/// The kernel gives a new namespace the lowest free inode, which a namespace of another test may get first.
const TRIES: usize = 100;

fn identity<K: Kernel>(bench: &Bench<K>, netns: &Path) -> NetnsId {
    bench.key_in(netns, "left", HookKind::Xdp).netns.into()
}

fn inode_of_a_held_namespace_goes_to_no_other<K: Kernel>(bench: &Bench<K>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let first = machine.add_namespace();
    let home = identity(bench, &first);
    assert_eq!(home.cookie, 0);
    let recorded = BTreeMap::from([(home, None)]);
    let find = || kernel.find_namespace(home, Some(&first), None).unwrap();
    kernel.hold_namespaces(&recorded).unwrap();
    machine.remove_namespace(&first);
    let mut next = machine.add_namespace();
    assert_ne!(identity(bench, &next), home);
    assert_eq!(find(), FoundNamespace::NotFound);

    kernel.hold_namespaces(&recorded).unwrap();
    let began = Instant::now();
    while find() != FoundNamespace::Ended {
        assert!(began.elapsed() < TEST_TIMEOUT, "it is still held");
        std::thread::yield_now();
    }
    let has_inode = (0..TRIES).any(|_| {
        machine.remove_namespace(&next);
        next = machine.add_namespace();
        identity(bench, &next) == home
    });
    println!("another namespace has the inode: {has_inode}");
    assert!(has_inode || bench.is_real());
    assert!(!kernel.leads_to(Some(&next), home));
    assert_eq!(find(), FoundNamespace::Ended);

    kernel.hold_namespaces(&BTreeMap::new()).unwrap();
    let new = identity(bench, &next);
    kernel.hold_namespaces(&BTreeMap::from([(new, None)])).unwrap();
    assert!(kernel.leads_to(Some(&next), new));
    assert_eq!(kernel.find_namespace(new, None, None).unwrap(), FoundNamespace::At(next.clone()));
}

fn namespace_with_a_cookie_is_not_held<K: Kernel>(bench: &Bench<K>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    if !kernel.features().has(&Probe::NETNS_COOKIES) {
        println!("SKIPPED(no cookies of network namespaces): namespace_with_a_cookie_is_not_held");
        return;
    }
    let netns = machine.add_namespace();
    let home = identity(bench, &netns);
    let number = kernel.number_namespace(home, Some(&netns)).unwrap();
    kernel.hold_namespaces(&BTreeMap::from([(home, number)])).unwrap();
    machine.remove_namespace(&netns);
    let began = Instant::now();
    while kernel.find_namespace(home, Some(&netns), number).unwrap() != FoundNamespace::Ended {
        assert!(began.elapsed() < TEST_TIMEOUT, "it is held");
        std::thread::yield_now();
    }
}

#[test]
fn simulated_inode_of_a_held_namespace_goes_to_no_other() {
    let current = SimOptions::default();
    let features = Features { netns_cookies: false, ..current.features.clone() };
    let kernel = SimKernel::new(SimOptions { features, ..current });
    inode_of_a_held_namespace_goes_to_no_other(&crate::simulated::bench_of(kernel));
}

#[test]
fn linux_inode_of_a_held_namespace_goes_to_no_other() {
    let bench = crate::linux::bench_without("held", &[&Probe::NETNS_COOKIES]);
    inode_of_a_held_namespace_goes_to_no_other(&bench);
}

crate::on_both_kernels!(namespace_with_a_cookie_is_not_held);
