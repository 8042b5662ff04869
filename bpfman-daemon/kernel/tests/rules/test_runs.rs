use bpfman_model::map_type::ARRAY;
use bpfman_model::{Insn, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::sim::SimKernel;
use bpfmand_kernel::{Kernel, TestContext, TestRun, TestRunResult, XdpMode};

use crate::bench::Bench;
use crate::programs::{PASS, answering, exit, load, number, set};

fn tells(offset: i16) -> Vec<Insn> {
    vec![Insn::new(0x61, 0, 1, offset, 0), exit()]
}

fn packet(first: u8) -> Vec<u8> {
    (0..64).map(|at| first.wrapping_add(at)).collect()
}

fn test_run_reports_verdict_packet_and_time(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    // Writes 7 to the first byte of the packet if there is one.
    let insns = vec![
        Insn::new(0x61, 2, 1, 0, 0),
        Insn::new(0x61, 3, 1, 4, 0),
        Insn::new(0xbf, 4, 2, 0, 0),
        Insn::new(0x07, 4, 0, 0, 1),
        Insn::new(0x2d, 4, 3, 1, 0),
        Insn::new(0x72, 2, 0, 0, 7),
        set(0, 3),
        exit(),
    ];
    let program = load(kernel, ProgramType::Xdp, "write", insns);
    let given = packet(1);
    let run = TestRun { repeat: 100, ..TestRun::once(&given) };
    let result = kernel.test_run(&program, &run).unwrap();
    let mut expected = given.clone();
    expected[0] = 7;
    assert_eq!((result.verdict, result.packet, result.context), (3, expected, TestContext::Plain));
    let error = kernel.test_run(&program, &TestRun::once(&[0; 5])).unwrap_err();
    assert_eq!(number(&error), Some(libc::EINVAL), "{error:?}");
    assert!(error.to_string().contains("packet of 5 bytes"), "{error}");
}

fn runs_are_counted_while_that_is_asked_for(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, 2);
    let given = packet(1);
    let runs = |repeat| {
        let before = kernel.run_counts(&program).unwrap();
        kernel.test_run(&program, &TestRun { repeat, ..TestRun::once(&given) }).unwrap();
        let after = kernel.run_counts(&program).unwrap();
        assert_eq!(after.missed, 0);
        (after.runs - before.runs, after.nanoseconds > before.nanoseconds)
    };
    let clocks = [kernel.count_runs().unwrap(), kernel.count_runs().unwrap()];
    assert_eq!(runs(1000), (1000, true));
    let [first, second] = clocks;
    drop(first);
    assert_eq!(runs(10), (10, true));
    drop(second);
}

fn an_xdp_program_sees_its_context(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let given = packet(0);
    let run = |insns: Vec<Insn>, context| {
        let program = load(kernel, ProgramType::Xdp, "tell", insns);
        let (home, netns) = (Some(bench.left().home), Some(&*bench.netns));
        let run = TestRun { context, home, netns, ..TestRun::once(&given) };
        kernel.test_run(&program, &run)
    };
    let context =
        |metadata, ingress_ifindex, rx_queue| TestContext::Xdp { metadata, ingress_ifindex, rx_queue };
    // Length of the metadata: data - data_meta.
    let metadata =
        vec![Insn::new(0x61, 0, 1, 0, 0), Insn::new(0x61, 2, 1, 8, 0), Insn::new(0x1f, 0, 2, 0, 0), exit()];
    for length in [0, 4, 32] {
        let result = run(metadata.clone(), context(length, 0, 0)).unwrap();
        assert_eq!(result.verdict, length);
        assert_eq!(result.packet, given);
        assert!(
            matches!(result.context, TestContext::Xdp { metadata, .. } if metadata == length),
            "{result:?}"
        );
    }
    let error = run(metadata.clone(), context(100, 0, 0)).unwrap_err().to_string();
    assert!(error.contains("cannot begin with 100 bytes"), "{error}");
    assert!(run(metadata.clone(), context(3, 0, 0)).is_err(), "no multiple of 4");
    // The queues of an interface support XDP only while it has a native program.
    let left = bench.left();
    let holder = answering(kernel, ProgramType::Xdp, PASS);
    let _link = kernel.attach(&holder, &left.xdp(XdpMode::Native)).unwrap();
    bench.machine.switch_interface(&bench.netns, "left", true);
    let result = run(tells(12), context(0, left.ifindex.0, 0)).unwrap();
    assert_eq!(result.verdict, left.ifindex.0);
    assert_eq!(result.context, context(0, left.ifindex.0, 0));
    assert!(run(tells(12), context(0, left.ifindex.0, 99)).is_err(), "no such queue");
    assert!(run(tells(12), context(0, 4_000_000, 0)).is_err(), "no such interface");
}

fn a_tc_program_sees_and_changes_its_context(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    let given = packet(0);
    let context =
        TestContext::Tc { mark: 5, priority: 6, cb: [1, 2, 3, 4, 9], ifindex: bench.left().ifindex.0 };
    let run = |insns: Vec<Insn>| {
        let program = load(kernel, ProgramType::Tc, "tell", insns);
        let (home, netns) = (Some(bench.left().home), Some(&*bench.netns));
        let run = TestRun { context, home, netns, ..TestRun::once(&given) };
        kernel.test_run(&program, &run).unwrap()
    };
    for (offset, expected) in [(8, 5), (32, 6), (48, 1), (64, 9), (40, bench.left().ifindex.0)] {
        let result = run(tells(offset));
        assert_eq!((result.verdict, result.context), (expected, context), "at {offset}");
    }
    // mark = 77, cb[1] = 88
    let result = run(vec![
        set(2, 77),
        Insn::new(0x63, 1, 2, 8, 0),
        set(2, 88),
        Insn::new(0x63, 1, 2, 52, 0),
        set(0, 0),
        exit(),
    ]);
    let changed =
        TestContext::Tc { mark: 77, priority: 6, cb: [1, 88, 3, 4, 9], ifindex: bench.left().ifindex.0 };
    assert_eq!(result.context, changed);
}

fn test_run_of_unsupported_object_is_refused<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let tracepoint = answering(kernel, ProgramType::Tracepoint, 0);
    assert!(kernel.test_run(&tracepoint, &TestRun::once(&[0; 64])).is_err());
    let map = crate::programs::map(kernel, ARRAY, 4, 4, 1);
    assert!(kernel.test_run(&map, &TestRun::once(&[0; 64])).is_err());
}

#[test]
fn a_simulated_kernel_runs_nothing_but_says_what_it_was_told() {
    let bench = crate::simulated::bench();
    let kernel: &SimKernel = &bench.kernel;
    let program = answering(kernel, ProgramType::Xdp, PASS);
    let error = kernel.test_run(&program, &TestRun::once(&[0; 64])).unwrap_err().to_string();
    assert!(error.contains("\"answer\"") && error.contains("runs no packets"), "{error}");
    let result =
        TestRunResult { verdict: 1, packet: vec![9; 14], context: TestContext::Plain, nanoseconds: 7 };
    kernel.answer_test_runs("answer", result.clone());
    assert_eq!(kernel.test_run(&program, &TestRun::once(&[0; 64])).unwrap(), result);
}

crate::on_both_kernels!(test_run_of_unsupported_object_is_refused);
crate::on_linux!(
    test_run_reports_verdict_packet_and_time,
    runs_are_counted_while_that_is_asked_for,
    an_xdp_program_sees_its_context,
    a_tc_program_sees_and_changes_its_context,
);
