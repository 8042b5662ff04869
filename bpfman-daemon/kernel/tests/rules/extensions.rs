//! Programs that replace a function of another program, and programs for one interface.

use bpfman_model::{ProgramId, ProgramType};
use bpfmand_kernel::linux::{LinuxKernel, test_run};
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{Device, EXTENSION, Extends, Kernel, KernelError, LinkTarget, ProgramLoad, XdpMode};

use crate::bench::Bench;
use crate::programs::{FUNCTION, PASS, exit, function_of, load_as, number, set, text, typed};

const DROP: i32 = 1;

fn extension<K: Kernel>(kernel: &K, extends: Extends, verdict: i32) -> Result<K::Handle, KernelError> {
    let text = typed("stand_in", verdict);
    let load = ProgramLoad { extends: Some(extends), ..load_as(&text, EXTENSION) };
    kernel.load_program(&load).map(|loaded| loaded.program)
}

fn target<K: Kernel>(kernel: &K) -> K::Handle {
    let text = typed("original", PASS);
    kernel.load_program(&load_as(&text, ProgramType::Xdp.into())).unwrap().program
}

fn has_extensions<K: Kernel>(bench: &Bench<K>) -> bool {
    let kernel = &*bench.kernel;
    if kernel.features().freplace {
        return true;
    }
    let target = target(kernel);
    let error = extension(kernel, function_of(kernel, &target), DROP).unwrap_err();
    let KernelError::Refused { log, .. } = &error else { panic!("{error:?}") };
    assert_eq!((number(&error), log.as_str()), (Some(libc::EPERM), ""), "{error:?}");
    println!("skipped: this kernel does not let programs replace functions of others (freplace)");
    false
}

fn an_extension_stands_in_for_one_function_at_a_time<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    if !has_extensions(bench) {
        return;
    }
    let target = target(kernel);
    let function = function_of(kernel, &target);
    let [first, second] = [DROP, 3].map(|verdict| extension(kernel, function, verdict).unwrap());
    let link = kernel.attach(&first, &LinkTarget::Replacement(function)).unwrap();
    assert_eq!(kernel.link_of(&link).unwrap().program, kernel.program_of(&first).unwrap().id);
    assert!(kernel.attach(&second, &LinkTarget::Replacement(function)).is_err(), "it is replaced already");
    drop(link);
    let _link = kernel.attach(&second, &LinkTarget::Replacement(function)).unwrap();
}

fn an_extension_of_nothing_is_refused<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let gone = Extends { program: ProgramId(u32::MAX >> 1), function: FUNCTION };
    let error = extension(kernel, gone, DROP).unwrap_err();
    assert!(number(&error).is_some(), "{error:?}");
    let text = typed("stand_in", DROP);
    assert!(kernel.load_program(&load_as(&text, EXTENSION)).is_err(), "an extension of nothing");
    let target = target(kernel);
    let of = Extends { function: 99, ..function_of(kernel, &target) };
    if kernel.features().freplace && bench.is_real() {
        assert!(extension(kernel, of, DROP).is_err(), "no such function");
    }
    assert!(kernel.attach(&target, &LinkTarget::Replacement(of)).is_err(), "no extension");
}

fn an_extended_program_answers_as_its_extension(bench: &Bench<LinuxKernel>) {
    let kernel = &*bench.kernel;
    if !has_extensions(bench) {
        return;
    }
    let target = target(kernel);
    let function = function_of(kernel, &target);
    let verdict = || test_run(&target, &[0; 64], 1).unwrap().verdict.cast_signed();
    assert_eq!(verdict(), PASS);
    let program = extension(kernel, function, DROP).unwrap();
    let link = kernel.attach(&program, &LinkTarget::Replacement(function)).unwrap();
    assert_eq!(verdict(), DROP);
    drop(link);
    let deadline = std::time::Instant::now() + crate::bench::TEST_TIMEOUT;
    while verdict() != PASS {
        assert!(std::time::Instant::now() < deadline, "a dropped link still stands in");
        std::thread::yield_now();
    }
    let twin = typed("original", PASS);
    let twin = kernel.load_program(&load_as(&twin, ProgramType::Xdp.into())).unwrap().program;
    let _link = kernel.attach(&program, &LinkTarget::Replacement(function_of(kernel, &twin))).unwrap();
    assert_eq!(test_run(&twin, &[0; 64], 1).unwrap().verdict.cast_signed(), DROP);
    assert_eq!(verdict(), PASS);
}

fn types_of_a_program_are_reported<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let with = target(kernel);
    let types = kernel.program_btf(&with).unwrap().unwrap();
    assert_eq!(types[..2], [0x9f, 0xeb]);
    assert!(types.windows(8).any(|bytes| bytes == b"original"));
    let without = crate::programs::answering(kernel, ProgramType::Xdp, PASS);
    assert_eq!(kernel.program_btf(&without).unwrap(), None);
}

fn a_program_for_one_interface_runs_nowhere_else<K: Kernel>(bench: &Bench<K>) {
    let kernel = &*bench.kernel;
    let (left, right) = (bench.left(), bench.right());
    let text = text("bound", vec![set(0, PASS), exit()]);
    let device = Device { netns: Some(&bench.netns), ifindex: left.ifindex };
    let load = ProgramLoad { device: Some(device), ..load_as(&text, ProgramType::Xdp.into()) };
    if !kernel.features().device_bound {
        assert!(kernel.features().version < (6, 3));
        let error = kernel.load_program(&load).unwrap_err();
        assert!(matches!(error, KernelError::Unsupported { .. }), "{error:?}");
        return;
    }
    let program = kernel.load_program(&load).unwrap().program;
    assert!(kernel.attach(&program, &right.xdp(XdpMode::Native)).is_err(), "another interface");
    assert!(kernel.attach(&program, &left.xdp(XdpMode::Generic)).is_err(), "not by the driver");
    kernel.attach(&program, &left.xdp(XdpMode::Native)).unwrap();
    let nowhere = Device { netns: Some(&bench.netns), ifindex: bpfman_model::IfIndex(4_000_000) };
    let error = kernel.load_program(&ProgramLoad { device: Some(nowhere), ..load }).unwrap_err();
    assert_eq!(number(&error), Some(libc::EINVAL), "{error:?}");
}

crate::on_both_kernels!(
    an_extension_stands_in_for_one_function_at_a_time,
    an_extension_of_nothing_is_refused,
    types_of_a_program_are_reported,
    a_program_for_one_interface_runs_nowhere_else,
);
crate::on_linux!(an_extended_program_answers_as_its_extension);
