use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use bpfman_model::{Direction, HookKey, HookKind, NetnsId, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{
    FilterPlace, FoundNamespace, Kernel, KernelError, ListAnchor, SearchOnce, TcFilter, XdpMode,
};
use rustix::thread::{LinkNameSpaceType, gettid, move_into_link_name_space};

use crate::bench::{At, Bench, TEST_TIMEOUT};
use crate::linux::run;
use crate::programs::answering;

const TC: HookKind = HookKind::Tc(Direction::Ingress);

fn place<'a>(key: &HookKey, netns: Option<&'a std::path::Path>) -> FilterPlace<'a> {
    let (home, direction) = (NetnsId::from(key.netns), Direction::Ingress);
    FilterPlace { home, netns, ifindex: key.ifindex, direction, filter: TcFilter::of(1) }
}

fn namespace_is_found_by_processes_when_its_name_is_gone<K: Kernel>(bench: &Bench<K>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let key = bench.key_in(&netns, "left", TC);
    let program = answering(kernel, ProgramType::Tc, 0);
    let id = kernel.program_of(&program).unwrap().id;
    kernel.add_filter(&place(&key, Some(&netns)), &program, "tci_left").unwrap();
    let process = machine.enter(&netns);
    machine.remove_name(&netns);
    let home = key.netns.into();
    // Another test's daemon may have a thread in the namespace until it notices the end of the name.
    let found = || kernel.find_namespace(home, Some(&netns), None).unwrap();
    let is_found = || (0..200).any(|_| found() == FoundNamespace::At(process.clone()));
    assert!(is_found(), "{:?}", found());
    assert!(kernel.all_namespaces().contains(&process), "{:?}", kernel.all_namespaces());
    assert!(!kernel.named_namespaces().contains(&process));
    assert_eq!(kernel.filter_program(&place(&key, Some(&netns))).unwrap(), Some(id));
    let other = machine.add_namespace();
    assert_eq!(other, netns);
    assert_ne!(bench.key_in(&other, "left", TC), key);
    assert!(is_found(), "{:?}", found());
    assert!(kernel.leads_to(Some(&process), home) && !kernel.leads_to(Some(&netns), home));
    assert_eq!(kernel.hook_contents(Some(&netns), &key).unwrap().entries.len(), 1);
    kernel.remove_filter(&place(&key, Some(&netns)), id).unwrap();
    assert_eq!(kernel.hook_contents(None, &key).unwrap().entries, []);
    machine.leave(&process);
}

fn only_the_number_tells_an_end_from_a_namespace_without_a_path<K: Kernel>(bench: &Bench<K>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let key = bench.key_in(&netns, "left", TC);
    let home = key.netns.into();
    let number = kernel.number_namespace(home, Some(&netns)).unwrap().unwrap();
    assert_eq!(kernel.number_namespace(home, None).unwrap(), Some(number), "it has one number");
    machine.keep(&netns);
    machine.remove_name(&netns);
    let found = |number| kernel.find_namespace(home, Some(&netns), number).unwrap();
    assert_eq!((found(None), found(Some(number))), (FoundNamespace::NotFound, FoundNamespace::NotFound));
    let errors = [
        kernel.hook_contents(Some(&netns), &key).unwrap_err(),
        kernel.filter_program(&place(&key, Some(&netns))).unwrap_err(),
        kernel.remove_filter(&place(&key, None), bpfman_model::ProgramId(1)).unwrap_err(),
        kernel.number_namespace(home, Some(&netns)).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, KernelError::NamespaceNotFound { .. }), "{error:?}");
    }
    machine.close(home);
    let began = Instant::now();
    while found(Some(number)) != FoundNamespace::Ended {
        assert!(began.elapsed() < TEST_TIMEOUT, "its number stays");
        std::thread::yield_now();
    }
    // Another test's namespace may have the inode by now, which is a sign of the end too.
    assert!(matches!(found(None), FoundNamespace::NotFound | FoundNamespace::Ended));
}

fn link_is_made_where_its_namespace_is_found<K: Kernel>(bench: &Bench<K>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let HookKey { netns: home, ifindex, .. } = bench.key_in(&netns, "left", HookKind::Xdp);
    let process = machine.enter(&netns);
    machine.remove_name(&netns);
    let other = machine.add_namespace();
    assert_eq!((&other, bench.key_in(&other, "left", HookKind::Xdp).ifindex), (&netns, ifindex));
    let at = At { home: home.into(), netns: &netns, name: "left", ifindex };
    let program = answering(kernel, ProgramType::Xdp, 2);
    let mut links = vec![(HookKind::Xdp, kernel.attach(&program, &at.xdp(XdpMode::Generic)).unwrap())];
    if bench.has_tcx() {
        let program = answering(kernel, ProgramType::Tcx, 0);
        let target = at.tcx(Direction::Ingress, ListAnchor::Last, None);
        links.push((HookKind::Tcx(Direction::Ingress), kernel.attach(&program, &target).unwrap()));
    }
    for (kind, _link) in &links {
        let [key, other] =
            [HookKey { netns: home, ifindex, kind: *kind }, bench.key_in(&other, "left", *kind)];
        assert_eq!(kernel.hook_contents(None, &key).unwrap().entries.len(), 1, "{kind:?}");
        assert_eq!(kernel.hook_contents(None, &other).unwrap().entries, [], "{kind:?}");
    }
    drop(links);
    machine.leave(&process);
    let lost = kernel.attach(&program, &at.xdp(XdpMode::Generic)).map(drop).unwrap_err();
    assert!(matches!(lost, KernelError::NamespaceNotFound { .. }), "{lost:?}");
}

fn own_namespace_is_found_without_a_path<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let own = bpfman_model::Interface { name: "lo".to_owned(), netns: None };
    let home = kernel.find_hook(&own, HookKind::Xdp).unwrap().netns.into();
    for hint in [None, Some(&*bench.netns)] {
        assert_eq!(kernel.find_namespace(home, hint, None).unwrap(), FoundNamespace::Own);
    }
    assert!(kernel.leads_to(None, home));
    assert_eq!(kernel.number_namespace(home, None).unwrap(), None);
    let left = bench.key("left", TC).netns.into();
    assert!(!kernel.leads_to(None, left));
    assert_eq!(kernel.find_namespace(left, None, None).unwrap(), FoundNamespace::At(bench.netns.clone()));
}

struct ThreadInside {
    path: PathBuf,
    leave: Sender<()>,
    thread: JoinHandle<()>,
}

impl ThreadInside {
    fn of(file: File) -> Self {
        let (entered, is_inside) = channel();
        let (leave, may_leave) = channel::<()>();
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            drop(file);
            entered.send(gettid().as_raw_nonzero()).unwrap();
            let _closed = may_leave.recv();
        });
        let id = is_inside.recv().unwrap();
        let path = PathBuf::from(format!("/proc/{}/task/{id}/ns/net", std::process::id()));
        Self { path, leave, thread }
    }

    fn leave(self) {
        drop(self.leave);
        self.thread.join().unwrap();
    }
}

fn namespace_is_found_by_a_thread(bench: &Bench<LinuxKernel>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let key = bench.key_in(&netns, "left", TC);
    let file = File::open(&netns).unwrap();
    let inside = ThreadInside::of(file);
    machine.remove_name(&netns);
    let found = kernel.find_namespace(key.netns.into(), Some(&netns), None).unwrap();
    assert_eq!(found, FoundNamespace::At(inside.path.clone()));
    assert_eq!(kernel.hook_contents(Some(&netns), &key).unwrap().entries, []);
    inside.leave();
}

fn one_search_does_for_the_looks_of_a_list(bench: &Bench<LinuxKernel>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let key = bench.key_in(&netns, "left", TC);
    let home = key.netns.into();
    let number = kernel.number_namespace(home, Some(&netns)).unwrap();
    let file = File::open(&netns).unwrap();
    machine.remove_name(&netns);
    let find = || kernel.find_namespace(home, Some(&netns), number).unwrap();
    let list = SearchOnce::begin();
    assert_eq!(find(), FoundNamespace::NotFound);
    let inside = ThreadInside::of(file);
    {
        let _within = SearchOnce::begin();
        assert_eq!(find(), FoundNamespace::NotFound, "it is searched for again");
    }
    let error = kernel.hook_contents(Some(&netns), &key).unwrap_err();
    assert!(matches!(error, KernelError::NamespaceNotFound { .. }), "{error:?}");
    assert!(kernel.all_namespaces().contains(&inside.path));
    drop(list);
    assert_eq!(find(), FoundNamespace::At(inside.path.clone()));
    inside.leave();
}

/// Container runtimes mount namespaces elsewhere than in `/run/netns`.
fn namespace_is_found_by_a_mount(bench: &Bench<LinuxKernel>) {
    let (kernel, machine) = (&*bench.kernel, &bench.machine);
    let netns = machine.add_namespace();
    let home = bench.key_in(&netns, "left", TC).netns.into();
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("a namespace");
    File::create(&mount).unwrap();
    let [from, to] = [&netns, &mount].map(|path| path.display().to_string());
    run("mount", &["--bind", &from, &to]);
    machine.remove_name(&netns);
    let found = kernel.find_namespace(home, Some(&netns), None).unwrap();
    run("umount", &[&to]);
    assert_eq!(found, FoundNamespace::At(mount));
}

crate::on_linux!(
    namespace_is_found_by_a_thread,
    namespace_is_found_by_a_mount,
    one_search_does_for_the_looks_of_a_list,
);
crate::on_both_kernels!(
    link_is_made_where_its_namespace_is_found,
    namespace_is_found_by_processes_when_its_name_is_gone,
    only_the_number_tells_an_end_from_a_namespace_without_a_path,
    own_namespace_is_found_without_a_path,
);
