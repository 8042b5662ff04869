//! Programs that are loaded without CAP_PERFMON.

use bpfman_model::map_type::ARRAY;
use bpfman_model::{Insn, MapId, ProgramType, op};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{ProgramKind, ProgramLoad};

use crate::bench::Bench;
use crate::programs::{exit, load_as, map, map_reference, map_spec, set, text};

fn store(target: u8, off: i16, source: u8) -> Insn {
    Insn::new(0x7b, target, source, off, 0)
}

fn copy(target: u8, source: u8) -> Insn {
    Insn::new(0xbf, target, source, 0, 0)
}

fn with_value(map: MapId, use_value: &[Insn]) -> Vec<Insn> {
    let found = Insn::new(0x55, 0, 0, 1, 0);
    let [first, second] = map_reference(1, map);
    let mut insns =
        vec![copy(6, 1), Insn::new(0x62, 10, 0, -4, 0), copy(2, 10), Insn::new(0x07, 2, 0, 0, -4)];
    insns.extend([first, second, Insn::new(op::CALL, 0, 0, 0, 1), found, exit()]);
    insns.extend(use_value);
    insns.extend([set(0, 0), exit()]);
    insns
}

fn accepts(kernel: &LinuxKernel, kind: ProgramKind, insns: Vec<Insn>) -> [bool; 2] {
    let text = text("rights", insns);
    [false, true].map(|without_perfmon| {
        let load = ProgramLoad { without_perfmon, ..load_as(&text, kind) };
        kernel.load_program(&load).is_ok()
    })
}

fn addresses_of_the_kernel_are_kept_nowhere(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let array = map(kernel, ARRAY, 4, 8, 1);
    let id = kernel.map_of(&array).unwrap().id;
    for kind in [ProgramType::Xdp, ProgramType::Tc, ProgramType::CgroupSkb] {
        let kind = ProgramKind::new(kind, Some("ingress"));
        for source in [6, 0, 10] {
            let leak = with_value(id, &[store(0, 0, source)]);
            assert_eq!(accepts(kernel, kind, leak), [true, false], "{kind:?}, r{source}");
        }
        let fine = with_value(id, &[set(7, 1), store(0, 0, 7)]);
        assert_eq!(accepts(kernel, kind, fine), [true, true], "{kind:?}");
        let unwritten = vec![Insn::new(0x79, 0, 10, -8, 0), Insn::new(0x57, 0, 0, 0, 1), exit()];
        assert!(!accepts(kernel, kind, unwritten)[1], "{kind:?}");
    }
}

fn index_of_a_map_gets_a_barrier_against_speculation(bench: &Bench<LinuxKernel>) {
    // With mitigations off, the kernel adds no barriers.
    if std::fs::read_to_string("/proc/cmdline").unwrap().contains("mitigations=off") {
        return;
    }
    let kernel = &*bench.kernel;
    let array = map(kernel, ARRAY, 4, 64, 1);
    // r7 = *(u32 *)r0 & 7; r0 += r7; r7 = *(u8 *)r0
    let indexed = [
        Insn::new(0x61, 7, 0, 0, 0),
        Insn::new(0x57, 7, 0, 0, 7),
        Insn::new(0x0f, 0, 7, 0, 0),
        Insn::new(0x71, 7, 0, 0, 0),
    ];
    let text = text("indexed", with_value(kernel.map_of(&array).unwrap().id, &indexed));
    let [with, without] = [false, true].map(|without_perfmon| {
        let load = ProgramLoad { without_perfmon, ..load_as(&text, ProgramType::Xdp.into()) };
        kernel.program_of(&kernel.load_program(&load).unwrap().program).unwrap().bytes_xlated
    });
    assert!(without > with, "{without} bytes with barriers, {with} without");
}

fn index_of_a_tenants_array_is_masked(bench: &Bench<LinuxKernel>) {
    if std::fs::read_to_string("/proc/cmdline").unwrap().contains("mitigations=off") {
        return;
    }
    let kernel = &*bench.kernel;
    let spec = map_spec(ARRAY, 4, 8, 3);
    let maps = [kernel.create_map(&spec, None).unwrap(), kernel.create_map_of_tenant(&spec, None).unwrap()];
    let [of_root, of_tenant] = maps.map(|map| {
        // The kernel inlines the lookup into the program.
        let text = text("lookup", with_value(kernel.map_of(&map).unwrap().id, &[]));
        let load = load_as(&text, ProgramType::Xdp.into());
        kernel.program_of(&kernel.load_program(&load).unwrap().program).unwrap().bytes_xlated
    });
    assert!(of_tenant > of_root, "{of_tenant} bytes with a mask, {of_root} without");
}

fn types_load_without_the_right_unless_the_list_has_them(bench: &Bench<LinuxKernel>) {
    let mut types = 0;
    for program_type in ProgramType::ALL {
        let kind = ProgramKind::new(program_type, None);
        // Compare the types for which this load is sufficient on the running kernel.
        let [with, without] = accepts(&bench.kernel, kind, vec![set(0, 0), exit()]);
        if with {
            assert_eq!(without, !kind.needs_perfmon(), "{program_type:?}");
            types += 1;
        }
    }
    assert!(types > 5, "{types}");
}

crate::on_linux!(
    addresses_of_the_kernel_are_kept_nowhere,
    index_of_a_map_gets_a_barrier_against_speculation,
    index_of_a_tenants_array_is_masked,
    types_load_without_the_right_unless_the_list_has_them,
);
