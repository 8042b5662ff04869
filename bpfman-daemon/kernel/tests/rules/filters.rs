//! Filters at a hook: those of the daemon, and those that `tc` makes.

use bpfman_model::{Direction, HookAttachment, HookKind, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{FilterPlace, Kernel, KernelError, TcFilter};

use crate::bench::Bench;
use crate::linux::{name, tc, with_pin};
use crate::programs::answering;

const OURS: TcFilter = TcFilter { priority: 50, handle: 1 };

fn ingress_of_left<K: Kernel>(bench: &Bench<K>, filter: TcFilter) -> FilterPlace<'_> {
    let at = bench.left();
    FilterPlace {
        home: bench.key("left", HookKind::Xdp).netns.into(),
        netns: Some(at.netns),
        ifindex: at.ifindex,
        direction: Direction::Ingress,
        filter,
    }
}

fn of_one_priority_the_newest_filter_runs_first<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let programs: [K::Handle; 3] = std::array::from_fn(|_| answering(kernel, ProgramType::Tc, 0));
    let at = |handle| ingress_of_left(bench, TcFilter { priority: 9, handle });
    // An old filter that is replaced keeps its place.
    for (handle, program) in [(1, &programs[0]), (3, &programs[1]), (2, &programs[2])] {
        kernel.add_filter(&at(handle), program, "same").unwrap();
    }
    let first = kernel.program_of(&programs[0]).unwrap().id;
    kernel.replace_filter(&at(1), &programs[1], first, "same").unwrap();
    let key = bench.key("left", HookKind::Tc(Direction::Ingress));
    let contents = kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    let handles: Vec<_> = contents
        .entries
        .iter()
        .filter_map(|entry| match &entry.via {
            HookAttachment::Filter(facts) => Some(facts.handle),
            _ => None,
        })
        .collect();
    assert_eq!(handles, [2, 3, 1]);
}

fn third_party_filters_are_reported_as_by_tc(bench: &Bench<LinuxKernel>) {
    let (kernel, netns) = (&*bench.kernel, &bench.netns);
    let program = answering(kernel, ProgramType::Tc, 0);
    let id = kernel.program_of(&program).unwrap().id;
    assert!(tc(netns, &["qdisc", "add", "dev", "left", "clsact"]).0);
    let bpf = [
        "-n",
        name(netns),
        "filter",
        "add",
        "dev",
        "left",
        "ingress",
        "protocol",
        "ip",
        "prio",
        "5",
        "handle",
    ];
    with_pin(id, "tc", &[&bpf[..], &["3", "bpf", "object-pinned", "PIN", "da"]].concat());
    let chained =
        ["-n", name(netns), "filter", "add", "dev", "left", "ingress", "chain", "7", "prio", "1", "handle"];
    with_pin(id, "tc", &[&chained[..], &["9", "bpf", "object-pinned", "PIN"]].concat());
    let has_u32 = add_u32(bench, &["dev", "left", "ingress"]);
    let key = bench.key("left", HookKind::Tc(Direction::Ingress));
    let contents = kernel.hook_contents(Some(netns), &key).unwrap();
    let mut found: Vec<_> = contents
        .entries
        .iter()
        .map(|entry| match &entry.via {
            HookAttachment::Filter(facts) => (
                facts.chain,
                facts.priority,
                facts.kind.as_str(),
                facts.protocol,
                facts.direct_action,
                entry.program,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    if has_u32 {
        assert_eq!(found.remove(0), (0, 2, "u32", 3, false, None));
    }
    assert_eq!(found, [(0, 5, "bpf", 0x800, true, Some(id)), (7, 1, "bpf", 3, false, Some(id))]);
    assert_eq!(
        kernel
            .hook_contents(Some(netns), &bench.key("left", HookKind::Tc(Direction::Egress)))
            .unwrap()
            .entries,
        []
    );
}

fn add_u32(bench: &Bench<LinuxKernel>, place: &[&str]) -> bool {
    let classifier = ["prio", "2", "protocol", "all", "u32", "match", "u32", "0", "0", "classid", "1:1"];
    let (added, why) = tc(&bench.netns, &[&["filter", "add"], place, &classifier].concat());
    if !added {
        println!("skipped: no u32 classifier: {why}");
    }
    added
}

fn kinds_at(bench: &Bench<LinuxKernel>, direction: Direction) -> Vec<String> {
    let key = bench.key("left", HookKind::Tc(direction));
    let contents = bench.kernel.hook_contents(Some(&bench.netns), &key).unwrap();
    let kind = |via: &HookAttachment| match via {
        HookAttachment::Filter(facts) => facts.kind.clone(),
        other => panic!("{other:?}"),
    };
    contents.entries.iter().map(|entry| kind(&entry.via)).collect()
}

fn filters_of_ingress_qdisc_are_not_egress_filters(bench: &Bench<LinuxKernel>) {
    assert!(tc(&bench.netns, &["qdisc", "add", "dev", "left", "ingress"]).0);
    if add_u32(bench, &["dev", "left", "ingress"]) {
        assert_eq!(kinds_at(bench, Direction::Ingress), ["u32"]);
        assert_eq!(kinds_at(bench, Direction::Egress), [""; 0]);
    }
}

fn a_qdisc_in_the_way_of_clsact_has_a_command_that_shows_it(bench: &Bench<LinuxKernel>) {
    assert!(tc(&bench.netns, &["qdisc", "add", "dev", "left", "ingress"]).0);
    let program = answering(&*bench.kernel, ProgramType::Tc, 0);
    let error = bench.kernel.add_filter(&ingress_of_left(bench, OURS), &program, "refused").unwrap_err();
    let KernelError::HookHeld { holder, look, .. } = &error else { panic!("{error}") };
    assert!(holder.contains("ingress"), "{holder}");
    assert_eq!(look.as_deref(), Some("tc qdisc show dev left"));
    assert!(tc(&bench.netns, &["qdisc", "show", "dev", "left"]).1.contains("ingress"));
}

fn kernel_message_of_refused_filter_is_returned(bench: &Bench<LinuxKernel>) {
    assert!(tc(&bench.netns, &["qdisc", "add", "dev", "left", "ingress_block", "23", "clsact"]).0);
    let program = answering(&*bench.kernel, ProgramType::Tc, 0);
    let error =
        bench.kernel.add_filter(&ingress_of_left(bench, OURS), &program, "refused").unwrap_err().to_string();
    assert!(error.contains("interface left") && error.contains("block"), "{error}");
}

fn filters_of_shared_block_are_at_each_interface(bench: &Bench<LinuxKernel>) {
    for name in ["left", "right"] {
        assert!(tc(&bench.netns, &["qdisc", "add", "dev", name, "egress_block", "22", "clsact"]).0);
    }
    if add_u32(bench, &["block", "22"]) {
        assert_eq!(kinds_at(bench, Direction::Egress), ["u32"]);
        assert_eq!(kinds_at(bench, Direction::Ingress), [""; 0]);
    }
}

crate::on_both_kernels!(of_one_priority_the_newest_filter_runs_first);
crate::on_linux!(
    third_party_filters_are_reported_as_by_tc,
    filters_of_ingress_qdisc_are_not_egress_filters,
    filters_of_shared_block_are_at_each_interface,
    kernel_message_of_refused_filter_is_returned,
    a_qdisc_in_the_way_of_clsact_has_a_command_that_shows_it,
);
