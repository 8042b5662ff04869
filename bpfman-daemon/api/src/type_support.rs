//! Types of programs that this kernel supports. They are probed, because kernels of one release differ.

use std::collections::BTreeMap;

use bpfman_model::{BoundText, Insn, LoadTarget, ProgramType, SocketHook, op};
use bpfmand_kernel::{Kernel, KernelError, PROBES, Probe, ProgramKind, ProgramLoad};
use bpfmand_object::KernelBtf;

/// Supported features by name; `Some` is the reason why a feature is missing.
pub type Support = BTreeMap<&'static str, Option<String>>;

/// Functions of the kernel that can be traced. Not every kernel has all of them.
const TRACED: [&str; 3] = ["vfs_read", "vfs_unlink", "bpf_fentry_test1"];
const LSM_HOOK: &str = "file_open";
const TRACEPOINT: &str = "sched_switch";
const ITERATED: &str = "bpf_map";
/// struct_ops type that kernels with networking have, and a function of it that may return nothing.
const FUNCTIONS: &str = "tcp_congestion_ops";
const FUNCTION: &str = "init";
/// Functions with a modifiable return value: a security hook, and a test function that older kernels may not allow.
const CHANGED: [&str; 2] = ["security_file_permission", "bpf_modify_return_test"];
/// `r0 = 0`.
const MOVE: u8 = 0xb7;

/// Loads and drops a minimal program of each type, in some ten milliseconds.
pub fn try_support(kernel: &impl Kernel) -> Support {
    let features = kernel.features();
    let lack = |probe: &Probe| {
        let why = match features.switched_off.contains(&probe.name) {
            true => format!("kernel.without switches {} off", probe.name),
            false => probe.needs.to_owned(),
        };
        (!features.has(probe)).then_some(why)
    };
    let types = kernel
        .btf()
        .map_err(|error| error.to_string())
        .and_then(|bytes| KernelBtf::parse(bytes).map_err(|error| error.to_string()));
    let mut support: Support = ProgramType::ALL
        .into_iter()
        .map(|program_type| {
            let needed = program_type.needed_features().iter();
            let lacks = needed
                .filter_map(|name| Probe::named(name).ok())
                .find_map(lack)
                .or_else(|| try_type(kernel, program_type, types.as_ref()));
            (program_type.name(), lacks)
        })
        .collect();
    for probe in PROBES {
        support.entry(probe.name).or_insert_with(|| lack(probe));
    }
    support
}

/// Returns the reason why the kernel does not accept a program of this type; `None` if it does.
fn try_type(
    kernel: &impl Kernel,
    program_type: ProgramType,
    types: Result<&KernelBtf, &String>,
) -> Option<String> {
    // Extensions have a feature probe of their own, which also attaches one.
    if program_type == ProgramType::Freplace {
        return None;
    }
    let mut kind =
        ProgramKind::new(program_type, SocketHook::of_type(program_type).first().map(|hook| hook.name));
    let target = match (program_type.load_target(), types) {
        (None | Some(LoadTarget::SocketHook | LoadTarget::ProgramFunction), _) => Some(0),
        (_, Err(error)) => return Some(error.clone()),
        (Some(LoadTarget::LsmHook), Ok(types)) => types.lsm_hook_id(LSM_HOOK),
        (Some(LoadTarget::Tracepoint), Ok(types)) => types.tracepoint(TRACEPOINT).map(|found| found.id),
        (Some(LoadTarget::Iterator), Ok(types)) => types.iterator(ITERATED).map(|found| found.id),
        (Some(LoadTarget::StructMember), Ok(types)) => types.struct_ops(FUNCTIONS).and_then(|ops| {
            kind.expected_attach_type = ops.function(FUNCTION)?;
            Some(ops.structure)
        }),
        (Some(LoadTarget::Function), Ok(types)) if program_type == ProgramType::FmodRet => {
            CHANGED.iter().find_map(|name| types.function_id(name))
        }
        (Some(LoadTarget::Function), Ok(types)) => TRACED.iter().find_map(|name| types.function_id(name)),
    };
    let Some(attach_btf_id) = target else { return Some("its BTF has nothing to try it on".to_owned()) };
    let mut text = smallest();
    text.0.sleepable = program_type == ProgramType::Syscall;
    let load = ProgramLoad { attach_btf_id, ..ProgramLoad::new("try", &text, kind) };
    match kernel.load_program(&load).err()? {
        KernelError::Refused { source, .. } => Some(format!("the kernel refuses to load it: {source}")),
        other => Some(other.to_string()),
    }
}

/// Returns a program that returns 0, which every type allows.
fn smallest() -> BoundText {
    let insns = vec![Insn::new(MOVE, 0, 0, 0, 0), Insn::new(op::EXIT, 0, 0, 0, 0)];
    BoundText::of_one_function("try", "GPL", insns)
}
