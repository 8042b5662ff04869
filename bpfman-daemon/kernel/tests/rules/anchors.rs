//! Position of a tcx link in its hook, and the hook's revision.

use bpfman_model::{Direction, HookKind, KernelLinkId, ProgramId, ProgramType};
use bpfmand_kernel::{Kernel, KernelError, ListAnchor};

use crate::bench::Bench;
use crate::programs::answering;

const DIRECTION: Direction = Direction::Egress;

fn order<K: Kernel>(bench: &Bench<K>) -> (u64, Vec<ProgramId>) {
    let key = bench.key("left", HookKind::Tcx(DIRECTION));
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    (contents.revision.unwrap(), contents.entries.into_iter().filter_map(|entry| entry.program).collect())
}

fn links_stand_at_the_ends_and_beside_links_and_programs<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !bench.has_tcx() {
        return;
    }
    let left = bench.left();
    let programs: [K::Handle; 7] = std::array::from_fn(|_| answering(kernel, ProgramType::Tc, -1));
    let id = |number: usize| kernel.program_of(&programs[number]).unwrap().id;
    let attach =
        |number: usize, anchor| kernel.attach(&programs[number], &left.tcx(DIRECTION, anchor, None)).unwrap();
    let middle = attach(0, ListAnchor::First);
    let middle_link = kernel.link_of(&middle).unwrap().id;
    bench.machine.attach_tcx_program(&left, DIRECTION, &programs[1], ListAnchor::Last);
    let _links = [
        attach(2, ListAnchor::First),
        attach(3, ListAnchor::Before(middle_link)),
        attach(4, ListAnchor::After(middle_link)),
        attach(5, ListAnchor::BeforeProgram(id(1))),
        attach(6, ListAnchor::AfterProgram(id(1))),
    ];
    assert_eq!(order(bench).1, [2, 3, 0, 4, 5, 1, 6].map(id));
}

fn an_anchor_that_is_not_at_the_hook_is_named<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !bench.has_tcx() {
        return;
    }
    let left = bench.left();
    let [ours, elsewhere]: [K::Handle; 2] = std::array::from_fn(|_| answering(kernel, ProgramType::Tc, -1));
    let gone = KernelLinkId(u32::MAX >> 1);
    let absent = kernel.program_of(&elsewhere).unwrap().id;
    let other_way = kernel.attach(&elsewhere, &left.tcx(Direction::Ingress, ListAnchor::Last, None)).unwrap();
    let other_link = kernel.link_of(&other_way).unwrap().id;
    let there = answering(kernel, ProgramType::Tc, -1);
    let _there = kernel.attach(&there, &left.tcx(DIRECTION, ListAnchor::Last, None)).unwrap();
    let before = order(bench);
    for (anchor, name) in [
        (ListAnchor::Before(gone), format!("link {gone}")),
        (ListAnchor::After(other_link), format!("link {other_link}")),
        (ListAnchor::BeforeProgram(absent), format!("program {absent}")),
        (ListAnchor::AfterProgram(ProgramId(u32::MAX >> 1)), format!("program {}", u32::MAX >> 1)),
    ] {
        let error = kernel.attach(&ours, &left.tcx(DIRECTION, anchor, None)).unwrap_err();
        assert!(matches!(&error, KernelError::NoAnchor { anchor, .. } if *anchor == name), "{error:?}");
    }
    assert_eq!(order(bench), before);
}

fn a_stale_revision_changes_nothing<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !bench.has_tcx() {
        return;
    }
    let left = bench.left();
    let programs: [K::Handle; 4] = std::array::from_fn(|_| answering(kernel, ProgramType::Tc, -1));
    let attach = |number: usize, revision| {
        kernel.attach(&programs[number], &left.tcx(DIRECTION, ListAnchor::Last, Some(revision)))
    };
    let (empty, none) = order(bench);
    assert_eq!(none, []);
    let first = attach(0, empty).unwrap();
    let error = attach(1, empty).unwrap_err();
    assert!(matches!(error, KernelError::HookChanged { .. }), "{error:?}");
    assert!(error.to_string().contains("tcx egress of interface"), "{error}");
    let (revision, _) = order(bench);
    assert_ne!(revision, empty);
    bench.machine.attach_tcx_program(&left, DIRECTION, &programs[1], ListAnchor::First);
    assert!(matches!(attach(2, revision), Err(KernelError::HookChanged { .. })));
    let (revision, _) = order(bench);
    kernel.replace(&first, &programs[2], &programs[0]).unwrap();
    assert!(matches!(attach(3, revision), Err(KernelError::HookChanged { .. })));
    let (revision, _) = order(bench);
    let last = attach(3, revision).unwrap();
    let (revision, programs_there) = order(bench);
    assert_eq!(programs_there.len(), 3);
    drop(last);
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while order(bench).1.len() == 3 {
        assert!(std::time::Instant::now() < deadline, "a dropped link stays");
        std::thread::yield_now();
    }
    assert!(matches!(attach(0, revision), Err(KernelError::HookChanged { .. })));
}

fn a_full_hook_says_how_many_it_takes<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !bench.has_tcx() {
        return;
    }
    let target = bench.left();
    let target = target.tcx(DIRECTION, ListAnchor::Last, None);
    let mut links = Vec::new();
    let error = loop {
        assert!(links.len() < 200);
        match kernel.attach(&answering(kernel, ProgramType::Tc, -1), &target) {
            Ok(link) => links.push(link),
            Err(error) => break error,
        }
    };
    let KernelError::HookFull { most, .. } = error else { panic!("{error:?}") };
    assert_eq!(most, links.len());
    assert_eq!(order(bench).1.len(), most);
}

crate::on_both_kernels!(
    links_stand_at_the_ends_and_beside_links_and_programs,
    an_anchor_that_is_not_at_the_hook_is_named,
    a_stale_revision_changes_nothing,
    a_full_hook_says_how_many_it_takes,
);
