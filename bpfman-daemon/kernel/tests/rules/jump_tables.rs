//! Jump tables (Linux 6.19 and later).

use bpfman_model::{Insn, JumpTable, ProgramType, op};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, TestRun};

use crate::bench::Bench;
use crate::programs::{exit, load_as, set, text};

/// `goto *(u64 *)r1`, by a table.
const GOTOX: u8 = 0x0d;

fn by_length() -> Vec<Insn> {
    vec![
        // r2 = length of the packet, r2 &= 1, r2 *= 8
        Insn::new(0x61, 2, 1, 4, 0),
        Insn::new(0x61, 1, 1, 0, 0),
        Insn::new(0x1f, 2, 1, 0, 0),
        Insn::new(0x57, 2, 0, 0, 1),
        Insn::new(0x67, 2, 0, 0, 3),
        // r1 = table, r1 = r1[r2]
        Insn::new(op::LD_IMM64, 1, 0, 0, 0),
        Insn::default(),
        Insn::new(0x0f, 1, 2, 0, 0),
        Insn::new(0x79, 1, 1, 0, 0),
        Insn::new(GOTOX, 1, 0, 0, 0),
        set(0, 1),
        exit(),
        set(0, 2),
        exit(),
    ]
}

fn a_table_leads_to_its_places_or_the_kernel_is_named(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let mut jumps = text("jumps", by_length());
    jumps.0.jump_tables = vec![JumpTable { loads: vec![5], entries: vec![10, 12] }];
    let load = load_as(&jumps, ProgramType::Xdp.into());
    for _ in 0..2 {
        let program = match kernel.load_program(&load) {
            Ok(loaded) => loaded.program,
            Err(KernelError::Unsupported { feature, needs, .. }) => {
                assert!(feature == "jump tables" && needs.contains("-fno-jump-tables"), "{needs}");
                let known = b"BPF_MAP_TYPE_INSN_ARRAY";
                let types = kernel.btf().unwrap();
                assert!(!types.windows(known.len()).any(|name| name == known), "this kernel has them");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        for (length, verdict) in [(64, 1), (65, 2), (66, 1)] {
            assert_eq!(kernel.test_run(&program, &TestRun::once(&vec![0; length])).unwrap().verdict, verdict);
        }
    }
}

fn a_table_that_leads_out_of_the_program_is_refused(bench: &Bench<LinuxKernel>) {
    let mut jumps = text("jumps", by_length());
    jumps.0.jump_tables = vec![JumpTable { loads: vec![5], entries: vec![10, 99] }];
    assert!(bench.kernel.load_program(&load_as(&jumps, ProgramType::Xdp.into())).is_err());
}

crate::on_linux!(
    a_table_leads_to_its_places_or_the_kernel_is_named,
    a_table_that_leads_out_of_the_program_is_refused,
);
