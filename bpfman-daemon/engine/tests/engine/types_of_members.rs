//! BTF of members in chains, on this machine's kernel.

use std::process::Command;

use bpfman_model::{AttachPoint, Direction, HookKind, ProceedOn, VerdictFamily};
use bpfmand_engine::{HookChange, SwitchCaller};
use bpfmand_kernel::prelude::*;

use crate::bench::Ask as _;

const XDP: HookKind = HookKind::Xdp;
const INGRESS: HookKind = HookKind::Tc(Direction::Ingress);

fn bpftool(arguments: &[&str]) -> String {
    let done = Command::new("bpftool").args(arguments).output().unwrap();
    assert!(done.status.success(), "bpftool {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_member_that_allocates_an_object_of_its_own_type_is_inlined() {
    if !bpftool(&["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]).contains("'bpf_obj_new_impl'") {
        println!("skipped: this kernel has no bpf_obj_new_impl, which Linux 6.2 and later have");
        return;
    }
    let bench = crate::linux::bench("a_member_that_allocates_an_object_of_its_own_type_is_inlined");
    let engine = bench.engine();
    let names = ["goes_on", "allocates", "redirects"];
    let programs = engine.loads(&bench.request("allocates", &names));
    let point = |priority| AttachPoint::Tc {
        interface: bench.left(),
        direction: Direction::Ingress,
        priority,
        proceed_on: ProceedOn::default_for(VerdictFamily::Tc),
    };
    for (program, at) in programs.iter().zip(1..) {
        engine.attached(*program, point(at));
    }
    let view = engine.show_chain(&bench.left(), INGRESS).unwrap();
    let ways: Vec<_> = view.members.iter().map(|member| (member.way.name(), &*member.way_reason)).collect();
    assert_eq!(ways, [("inline", ""); 3]);
    assert_eq!((view.strategy, view.fallbacks), ("splice", 0));
    assert!(engine.verify_chain(&bench.left(), INGRESS, None).unwrap().matches());
    // The object is allocated and freed: the packet reaches the last member, which decides the chain's verdict.
    let entry = bench.kernel.open_program(view.segments[0].program).unwrap().unwrap();
    const REDIRECT: u32 = 7;
    assert_eq!(bpfmand_kernel::linux::test_run(&entry, &[0; 64], 100).unwrap().verdict, REDIRECT);
}

#[test]
fn separate_members_are_named_functions_in_the_loaded_chain() {
    let bench = crate::linux::bench("separate_members_are_named_functions_in_the_loaded_chain");
    let engine = bench.engine();
    let names = ["alpha", "bravo", "charlie"];
    for (program, at) in engine.loads(&bench.request("programs", &names)).into_iter().zip(1..) {
        engine.attached(program, bench.xdp(at));
    }
    // The kernel's dump has `int chain(…):` before the first instruction of a function.
    let functions = || -> Vec<String> {
        let entry = engine.chain(&bench.left(), XDP).unwrap().entry.unwrap();
        let dump = bpftool(&["prog", "dump", "xlated", "id", &entry.id.to_string()]);
        let heads = dump.lines().filter_map(|line| line.strip_suffix("):")?.split_once('('));
        heads.filter_map(|(head, _)| head.split([' ', '*']).next_back().map(str::to_owned)).collect()
    };
    assert_eq!(functions(), ["chain"], "inlined members are no functions");
    let switch = |on| {
        let change = HookChange { as_subprograms: Some(on), ..HookChange::default() };
        assert!(engine.set_hook(&bench.left(), XDP, &change, &SwitchCaller::root("user 0")).unwrap());
    };
    switch(true);
    let view = engine.show_chain(&bench.left(), XDP).unwrap();
    assert!(view.members.iter().all(|member| member.way.name() == "function"), "{view:?}");
    let found = functions();
    assert_eq!(found.len(), 1 + names.len(), "{found:?}");
    assert_eq!(found[0], "chain");
    for name in names {
        let of_member = found.iter().filter(|function| function.contains(name)).count();
        assert_eq!(of_member, 1, "{name} in {found:?}");
    }
    switch(false);
    assert_eq!(functions(), ["chain"]);
}
