use bpfman_model::{Direction, HookAttachment, HookKind, KernelLinkId, ProgramType, XdpRunsIn};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, ListAnchor, TcFilter, XdpMode};

use crate::bench::{At, Bench};
use crate::linux::{attempt, name};
use crate::programs::{PASS, answering};

fn an_empty_hook_has_no_entries<K: Kernel>(bench: &Bench<K>) {
    for kind in [HookKind::Xdp, HookKind::Tc(Direction::Ingress), HookKind::Tcx(Direction::Egress)] {
        let contents = bench.kernel.hook_contents(Some(&bench.netns), &bench.key("left", kind)).unwrap();
        assert_eq!(contents.entries, [], "{kind:?}");
        let has_revision = kind != HookKind::Xdp && bench.kernel.features().tcx;
        assert_eq!(contents.revision.is_some(), has_revision, "{kind:?}");
    }
}

fn xdp_link_is_reported_with_its_mode<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    for (mode, runs_in) in [(XdpMode::Native, XdpRunsIn::Native), (XdpMode::Generic, XdpRunsIn::Generic)] {
        let program = answering(kernel, ProgramType::Xdp, PASS);
        let link = kernel.attach(&program, &bench.left().xdp(mode)).unwrap();
        let link_id = kernel.link_of(&link).unwrap().id;
        let key = bench.key("left", HookKind::Xdp);
        let contents = kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        let [entry] = contents.entries.as_slice() else { panic!("{contents:?}") };
        assert_eq!(entry.program, Some(kernel.program_of(&program).unwrap().id));
        assert_eq!(entry.via, HookAttachment::XdpLink { links: vec![link_id], mode: runs_in });
        assert!(entry.may_be_link(link_id) && !entry.may_be_link(KernelLinkId(link_id.0 + 1)));
        let right = bench.key("right", HookKind::Xdp);
        assert_eq!(kernel.hook_contents(Some(&bench.netns), &right).unwrap().entries, []);
    }
}

fn xdp_program_with_and_without_link_are_distinguished<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let right = bench.right();
    // The same program at another interface must have no effect.
    let _elsewhere = kernel.attach(&program, &right.xdp(XdpMode::Generic)).unwrap();
    let key = bench.key("left", HookKind::Xdp);
    for (mode, runs_in) in [(XdpMode::Native, XdpRunsIn::Native), (XdpMode::Generic, XdpRunsIn::Generic)] {
        bench.machine.attach_xdp_by_netlink(&bench.left(), &program, mode);
        let contents = kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        let [entry] = contents.entries.as_slice() else { panic!("{contents:?}") };
        assert_eq!(entry.program, Some(kernel.program_of(&program).unwrap().id));
        assert_eq!(entry.via, HookAttachment::XdpNetlink { mode: runs_in });
        assert_eq!(kernel.hook_contents(Some(&bench.netns), &key).unwrap(), contents);
        bench.machine.detach_xdp_by_netlink(&bench.left());
        assert_eq!(kernel.hook_contents(Some(&bench.netns), &key).unwrap().entries, []);
    }
}

fn a_conflict_names_the_program_that_holds_the_hook<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let (theirs, ours) = (answering(kernel, ProgramType::Xdp, PASS), answering(kernel, ProgramType::Xdp, 1));
    let facts = kernel.program_of(&theirs).unwrap();
    let conflict = |how: &str| {
        let error = kernel.attach(&ours, &bench.left().xdp(XdpMode::Native)).unwrap_err();
        let KernelError::HookHeld { holder, .. } = &error else { panic!("{error:?}") };
        for part in [format!("program {} (\"answer\"", facts.id), facts.tag_text(), how.to_owned()] {
            assert!(holder.contains(&part), "{holder} does not say {part}");
        }
    };
    bench.machine.attach_xdp_by_netlink(&bench.left(), &theirs, XdpMode::Native);
    conflict("native, by netlink");
    bench.machine.detach_xdp_by_netlink(&bench.left());
    let link = kernel.attach(&theirs, &bench.left().xdp(XdpMode::Generic)).unwrap();
    conflict(&format!("generic, by link {}", kernel.link_of(&link).unwrap().id));
}

fn a_hook_below_one_that_runs_a_program_names_that_one(bench: &Bench<LinuxKernel>) {
    let add = ["link", "add", "link", "left", "name", "above", "type", "macvlan"];
    let (worked, said) = attempt("ip", &[&["-n", name(&bench.netns)], &add[..]].concat());
    if !worked {
        println!("SKIPPED(macvlan): a_hook_below_one_that_runs_a_program_names_that_one: {said}");
        return;
    }
    let kernel = &*bench.kernel;
    let above = At { name: "above", ifindex: bench.key("above", HookKind::Xdp).ifindex, ..bench.left() };
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let link = kernel.attach(&program, &above.xdp(XdpMode::Generic)).unwrap();
    let error = kernel.attach(&program, &bench.left().xdp(XdpMode::Native)).unwrap_err();
    assert!(matches!(error, KernelError::SharedHook { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("interface left") && message.contains("XDP of above"), "{message}");
    // A container has the upper interface in a namespace of its own.
    let container = format!("{}-of-a-container", name(&bench.netns));
    let ip = |words: &[&str]| {
        let (worked, said) = attempt("ip", words);
        assert!(worked, "{words:?}: {said}");
    };
    ip(&["netns", "add", &container]);
    ip(&["-n", name(&bench.netns), "link", "set", "above", "netns", &container]);
    let refused = kernel.attach(&program, &bench.left().xdp(XdpMode::Native));
    drop(link);
    ip(&["-n", &container, "link", "del", "above"]);
    ip(&["netns", "del", &container]);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("in another network namespace"), "{message}");
    kernel.attach(&program, &bench.left().xdp(XdpMode::Native)).unwrap();
}

fn program_without_link_is_replaced_only_if_expected<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let key = bench.key("left", HookKind::Xdp);
    let [first, second, third] = [PASS, 1, 3].map(|verdict| answering(kernel, ProgramType::Xdp, verdict));
    let put = |program: Option<&K::Handle>, expected: Option<&K::Handle>| {
        kernel.replace_unlinked_xdp(Some(&bench.netns), &key, XdpRunsIn::Native, program, expected)
    };
    let refused = |result: Result<(), KernelError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, KernelError::HookChanged { .. }), "{error:?}");
    };
    let runs = || {
        let contents = kernel.hook_contents(Some(&bench.netns), &key).unwrap();
        let unlinked = HookAttachment::XdpNetlink { mode: XdpRunsIn::Native };
        assert!(contents.entries.iter().all(|entry| entry.via == unlinked), "{contents:?}");
        contents.entries.first().and_then(|entry| entry.program)
    };
    let id = |program: &K::Handle| Some(kernel.program_of(program).unwrap().id);
    refused(put(Some(&second), Some(&first)));
    put(Some(&first), None).unwrap();
    refused(put(Some(&second), None));
    refused(put(Some(&third), Some(&second)));
    assert_eq!(runs(), id(&first));
    put(Some(&second), Some(&first)).unwrap();
    assert_eq!(runs(), id(&second));
    refused(put(None, Some(&first)));
    put(None, Some(&second)).unwrap();
    assert_eq!(runs(), None);
    let _link = kernel.attach(&first, &bench.left().xdp(XdpMode::Native)).unwrap();
    refused(put(Some(&second), Some(&first)));
    refused(put(None, Some(&first)));
    refused(put(Some(&second), None));
}

fn links_at_one_index_in_two_namespaces_are_both_reported<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let other = bench.machine.add_namespace();
    let here = bench.left();
    let there_key = bench.key_in(&other, "left", HookKind::Xdp);
    let there = At { home: there_key.netns.into(), netns: &other, ..bench.left() };
    assert_eq!(there_key.ifindex, here.ifindex);
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let links = [&here, &there].map(|at| kernel.attach(&program, &at.xdp(XdpMode::Generic)).unwrap());
    let ids = links.each_ref().map(|link| kernel.link_of(link).unwrap().id);
    for (netns, key) in [(&bench.netns, bench.key("left", HookKind::Xdp)), (&other, there_key)] {
        let contents = kernel.hook_contents(Some(netns), &key).unwrap();
        let HookAttachment::XdpLink { links, .. } = &contents.entries[0].via else { panic!("{contents:?}") };
        assert_eq!(links.as_slice(), ids);
    }
    drop(links);
    bench.machine.attach_xdp_by_netlink(&there, &program, XdpMode::Generic);
    let _link = kernel.attach(&program, &here.xdp(XdpMode::Generic)).unwrap();
    let contents = kernel.hook_contents(Some(&other), &there_key).unwrap();
    assert_eq!(contents.entries[0].via, HookAttachment::XdpNetlink { mode: XdpRunsIn::Generic });
}

fn tcx_programs_come_in_their_order_and_before_filters<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !bench.has_tcx() {
        return;
    }
    let direction = Direction::Ingress;
    let programs: [K::Handle; 4] = std::array::from_fn(|_| answering(kernel, ProgramType::Tc, 0));
    let id = |number: usize| Some(kernel.program_of(&programs[number]).unwrap().id);
    let left = bench.left();
    let link = kernel.attach(&programs[0], &left.tcx(direction, ListAnchor::Last, None)).unwrap();
    let link_id = kernel.link_of(&link).unwrap().id;
    bench.machine.attach_tcx_program(&left, direction, &programs[1], ListAnchor::First);
    let place = |priority, handle| FilterPlace {
        home: bench.key("left", HookKind::Xdp).netns.into(),
        netns: Some(&bench.netns),
        ifindex: left.ifindex,
        direction,
        filter: TcFilter { priority, handle },
    };
    kernel.add_filter(&place(60, 0x6270_0002), &programs[2], "late").unwrap();
    kernel.add_filter(&place(7, 0x6270_0001), &programs[3], "early").unwrap();
    let contents = |kind| kernel.hook_contents(Some(&bench.netns), &bench.key("left", kind)).unwrap();
    let tcx = contents(HookKind::Tcx(direction));
    let found: Vec<_> = tcx.entries.iter().map(|entry| (entry.program, entry.via.clone())).collect();
    assert_eq!(
        found,
        [(id(1), HookAttachment::TcxProgram), (id(0), HookAttachment::TcxLink { link: link_id })]
    );
    let all = contents(HookKind::Tc(direction));
    assert_eq!(all.revision, tcx.revision);
    assert_eq!(all.entries[..2], tcx.entries[..]);
    let filters: Vec<_> = all.entries[2..]
        .iter()
        .map(|entry| match &entry.via {
            HookAttachment::Filter(facts) => {
                assert_eq!((facts.chain, facts.protocol, facts.kind.as_str()), (0, 3, "bpf"));
                assert!(facts.direct_action);
                (entry.program, facts.priority, facts.handle, facts.name.clone())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(filters, [(id(3), 7, 0x6270_0001, name("early")), (id(2), 60, 0x6270_0002, name("late"))]);
    assert_eq!(contents(HookKind::Tc(Direction::Egress)).entries, []);
}

fn missing_hook_is_reported_as_gone<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let kinds = [HookKind::Xdp, HookKind::Tc(Direction::Ingress), HookKind::Tcx(Direction::Ingress)];
    let other = bench.machine.add_namespace();
    for kind in kinds {
        let key = bench.key("left", kind);
        for path in [Some(&*other), None] {
            assert_eq!(kernel.hook_contents(path, &key).unwrap().entries, [], "{path:?}");
        }
    }
    let theirs = kinds.map(|kind| bench.key_in(&other, "left", kind));
    let keys = kinds.map(|kind| bench.key("left", kind));
    bench.machine.remove_interface(&bench.netns, "left");
    for key in keys {
        let error = kernel.hook_contents(Some(&bench.netns), &key).unwrap_err();
        assert!(error.to_string().contains("no such interface any more"), "{error}");
    }
    bench.machine.remove_namespace(&other);
    let error = kernel.hook_contents(Some(&other), &theirs[0]).unwrap_err();
    assert!(matches!(error, KernelError::NamespaceNotFound { .. }), "{error:?}");
}

crate::on_both_kernels!(
    program_without_link_is_replaced_only_if_expected,
    an_empty_hook_has_no_entries,
    xdp_link_is_reported_with_its_mode,
    xdp_program_with_and_without_link_are_distinguished,
    a_conflict_names_the_program_that_holds_the_hook,
    links_at_one_index_in_two_namespaces_are_both_reported,
    tcx_programs_come_in_their_order_and_before_filters,
    missing_hook_is_reported_as_gone,
);
crate::on_linux!(a_hook_below_one_that_runs_a_program_names_that_one);
