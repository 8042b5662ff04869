//! Programs are loaded without type information that the kernel refuses. A refused program is verified only once.

use std::time::Duration;

use bpfman_model::uapi::prog_type;
use bpfman_model::{BoundText, Insn, LineInfo, ProgramType};
use bpfmand_kernel::linux::LinuxKernel;
use bpfmand_kernel::prelude::*;
use bpfmand_kernel::{KernelError, LogRequest, ProgramKind, ProgramLoad, RefusalReason};

use crate::bench::Bench;
use crate::programs::{PASS, exit, load_as, set, text, typed};

/// Sets three bits in an integer's encoding, of which the kernel accepts only one at a time.
fn with_damaged_integer() -> BoundText {
    const ENCODING: usize = 24 + 3 * 4;
    let mut text = typed("damaged", PASS);
    let mut btf = text.0.btf.take().unwrap().to_vec();
    btf[ENCODING..ENCODING + 4].copy_from_slice(&(7_u32 << 24 | 32).to_ne_bytes());
    text.0.btf = Some(btf.into());
    text
}

fn program_is_loaded_without_damaged_types(bench: &Bench<LinuxKernel>) {
    for (text, has_types) in [(typed("whole", PASS), true), (with_damaged_integer(), false)] {
        let loaded = bench.kernel.load_program(&load_as(&text, ProgramType::Xdp.into())).unwrap();
        let facts = bench.kernel.program_of(&loaded.program).unwrap();
        assert_eq!(facts.btf_id.is_some(), has_types, "{}", facts.name);
        assert_eq!(loaded.warnings.is_empty(), has_types, "{:?}", loaded.warnings);
        assert!(
            loaded.warnings.iter().all(|what| what.contains("without its types")),
            "{:?}",
            loaded.warnings
        );
    }
}

fn program_is_loaded_without_damaged_debug_information(bench: &Bench<LinuxKernel>) {
    let line = |line_off| LineInfo { insn_off: 0, file_name_off: 1, line_off, line_col: 1 << 10 };
    let with_lines = |line_off| {
        let mut text = typed("lines", PASS);
        text.0.line_info = vec![line(line_off)];
        text
    };
    let mut of_no_function = with_lines(1);
    of_no_function.0.func_info[0].type_id = 1;
    let cases = [
        (with_lines(1), true, ""),
        (with_lines(4711), true, "without its source lines"),
        (of_no_function, false, "without the types of its functions"),
    ];
    let withheld = LogRequest::Never(Duration::from_secs(1));
    for ((text, has_types, warning), log) in
        cases.iter().flat_map(|case| [(case, LogRequest::OnFailure), (case, withheld)])
    {
        let load = ProgramLoad { log, ..load_as(text, ProgramType::Xdp.into()) };
        let loaded = bench.kernel.load_program(&load).unwrap();
        let facts = bench.kernel.program_of(&loaded.program).unwrap();
        assert_eq!(facts.btf_id.is_some(), *has_types, "{:?}", text.0.func_info);
        let warnings = loaded.warnings.join("; ");
        assert!(warnings.is_empty() == warning.is_empty() && warnings.contains(warning), "{warnings}");
    }
    let mut rejected = with_lines(4711);
    rejected.0.insns.remove(0);
    let load = load_as(&rejected, ProgramType::Xdp.into());
    let error = bench.kernel.load_program(&load).unwrap_err();
    assert!(error.to_string().contains("R0"), "{error}");
    let error = bench.kernel.load_program(&ProgramLoad { log: withheld, ..load }).unwrap_err();
    let KernelError::Refused { log, .. } = &error else { panic!("{error:?}") };
    assert!(log.is_empty() && !error.to_string().contains("R0"), "{error:?}");
}

fn refused_program_may_need_its_damaged_types(bench: &Bench<LinuxKernel>) {
    // The kernel refuses this attach type before verification, without a log.
    let kind = ProgramKind { kernel_type: prog_type::CGROUP_SOCK_ADDR, expected_attach_type: u32::MAX };
    for (text, supposed) in [(typed("whole", PASS), false), (with_damaged_integer(), true)] {
        let error = bench.kernel.load_program(&load_as(&text, kind)).unwrap_err();
        let KernelError::Refused { why, .. } = &error else { panic!("{error:?}") };
        assert_eq!(matches!(why, RefusalReason::Supposed(_)), supposed, "{error:?}");
        assert_eq!(error.to_string().contains("it may need its types"), supposed, "{error}");
    }
}

fn program_that_is_too_complex_is_verified_once(bench: &Bench<LinuxKernel>) {
    const ADD: u8 = 0x07;
    const JLT: u8 = 0xa5;
    let count = [set(1, 0), Insn::new(ADD, 1, 0, 0, 1), Insn::new(JLT, 1, 0, -2, 10_000_000)];
    let text = text("counts", [&count[..], &[set(0, PASS), exit()]].concat());
    for (log, is_whole) in [(LogRequest::UnlessTooComplex, false), (LogRequest::OnFailure, true)] {
        let load = ProgramLoad { log, ..load_as(&text, ProgramType::Xdp.into()) };
        let error = bench.kernel.load_program(&load).unwrap_err();
        let KernelError::Refused { log, .. } = &error else { panic!("{error:?}") };
        assert_eq!(log.contains("1: (07) r1 += 1"), is_whole, "{log:.200}");
        // Before Linux 6.4, a log that does not fit has its beginning, without the reason.
        assert!(is_whole || error.to_string().contains("the verifier gave up after"), "{error}");
    }
}

crate::on_linux!(
    program_is_loaded_without_damaged_types,
    program_is_loaded_without_damaged_debug_information,
    refused_program_may_need_its_damaged_types,
    program_that_is_too_complex_is_verified_once
);
