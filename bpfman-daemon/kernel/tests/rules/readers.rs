use std::time::Instant;

use bpfman_model::map_type::ARRAY;
use bpfman_model::{Insn, ProgramType};
use bpfmand_kernel::Kernel;
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;

use crate::bench::Bench;
use crate::programs::{PASS, exit, load, map, map_reference, set};

fn waiting_comes_to_an_end<K: Kernel>(bench: &Bench<K>) {
    for _ in 0..3 {
        bench.kernel.wait_for_readers().unwrap();
    }
}

const LARGE: u32 = 1 << 20;

fn long_program(kernel: &LinuxKernel, notes: &std::os::fd::OwnedFd) -> std::os::fd::OwnedFd {
    const LOOKUP: i32 = 1;
    const PROBE_READ_KERNEL: i32 = 113;
    const ROUNDS: i32 = 300;
    let large = map(kernel, ARRAY, 4, LARGE, 1);
    let mut insns = vec![Insn::new(0x62, 10, 0, -4, 0)];
    for (map, register) in [(notes, 6), (&large, 7)] {
        insns.extend([Insn::new(0xbf, 2, 10, 0, 0), Insn::new(0x07, 2, 0, 0, -4)]);
        insns.extend(map_reference(1, kernel.map_of(map).unwrap().id));
        insns.extend([
            Insn::new(0x85, 0, 0, 0, LOOKUP),
            Insn::new(0x55, 0, 0, 2, 0), // go on if it is there
            set(0, 0),
            exit(),
            Insn::new(0xbf, register, 0, 0, 0),
        ]);
    }
    insns.extend([
        Insn::new(0x7a, 6, 0, 0, 1), // it has begun
        set(8, ROUNDS),
        Insn::new(0xbf, 1, 7, 0, 0),
        set(2, LARGE.cast_signed()),
        Insn::new(0xbf, 3, 7, 0, 0),
        Insn::new(0x85, 0, 0, 0, PROBE_READ_KERNEL),
        Insn::new(0x07, 8, 0, 0, -1),
        Insn::new(0x55, 8, 0, -6, 0),
        Insn::new(0x7a, 6, 0, 8, 1), // it has ended
        set(0, PASS),
        exit(),
    ]);
    load(kernel, ProgramType::Xdp, "long", insns)
}

fn programs_that_run_are_waited_for(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    if std::thread::available_parallelism().unwrap().get() == 1 {
        println!("skipped: with one CPU nothing is seen of a program while it runs");
        return;
    }
    let notes = map(kernel, ARRAY, 4, 16, 1);
    let program = long_program(kernel, &notes);
    let read = || -> (u64, u64) {
        let value = &kernel.map_entries(&notes, 1).unwrap()[0].value;
        let number = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().unwrap());
        (number(0), number(8))
    };
    let deadline = Instant::now() + crate::bench::TEST_TIMEOUT;
    // A run that ended before the wait began proves nothing: then the test runs again.
    for round in 1.. {
        assert!(Instant::now() < deadline, "{round} runs, and none was seen in its middle");
        let reset = bpfmand_kernel::MapEntry { key: vec![0; 4], value: vec![0; 16] };
        kernel.write_entry(&notes, &reset).unwrap();
        let seen = std::thread::scope(|scope| {
            scope.spawn(|| test_run(&program, &[0; 64], 1).unwrap());
            while read().0 == 0 {
                assert!(Instant::now() < deadline, "the program does not begin");
                std::thread::yield_now();
            }
            let in_its_middle = read() == (1, 0);
            kernel.wait_for_readers().unwrap();
            assert_eq!(read(), (1, 1), "a program still ran when the wait was over");
            in_its_middle
        });
        if seen {
            return;
        }
    }
}

crate::on_both_kernels!(waiting_comes_to_an_end);
crate::on_linux!(programs_that_run_are_waited_for);
