//! Programs to load, and loaded ones.

use std::path::Path;

use bpfmand_core::uapi::{attach_type, prog_type};
use bpfmand_core::{BoundText, IfIndex, ProgramType, SocketHook};

use crate::Extends;

/// What the kernel has to know of a program's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `enum bpf_prog_type`.
    pub kernel_type: u32,
    /// `enum bpf_attach_type`, `NONE` where the kernel asks for none.
    pub expected_attach_type: u32,
}

impl ProgramKind {
    /// The kind of a program of a type that is for `target`, which types that are for one hook need not have.
    #[must_use]
    pub fn new(program_type: ProgramType, target: Option<&str>) -> Self {
        Self {
            kernel_type: program_type.kernel_type(),
            expected_attach_type: expected_attach_type(program_type, target),
        }
    }
}

/// The kind of a program that is for nothing in particular.
impl From<ProgramType> for ProgramKind {
    fn from(program_type: ProgramType) -> Self {
        Self::new(program_type, None)
    }
}

fn expected_attach_type(program_type: ProgramType, target: Option<&str>) -> u32 {
    match program_type {
        ProgramType::Xdp => attach_type::XDP,
        ProgramType::Fentry => attach_type::TRACE_FENTRY,
        ProgramType::Fexit => attach_type::TRACE_FEXIT,
        ProgramType::FmodRet => attach_type::MODIFY_RETURN,
        ProgramType::BtfTracepoint => attach_type::TRACE_RAW_TP,
        ProgramType::Iter => attach_type::TRACE_ITER,
        ProgramType::Lsm => attach_type::LSM_MAC,
        ProgramType::LsmCgroup => attach_type::LSM_CGROUP,
        ProgramType::SkLookup => attach_type::SK_LOOKUP,
        ProgramType::FlowDissector => attach_type::FLOW_DISSECTOR,
        ProgramType::Netfilter => attach_type::NETFILTER,
        ProgramType::KprobeMulti | ProgramType::KretprobeMulti => attach_type::TRACE_KPROBE_MULTI,
        ProgramType::KprobeSession => attach_type::TRACE_KPROBE_SESSION,
        ProgramType::UprobeSession => attach_type::TRACE_UPROBE_SESSION,
        ProgramType::XdpDevmap => attach_type::XDP_DEVMAP,
        ProgramType::XdpCpumap => attach_type::XDP_CPUMAP,
        ProgramType::SkReuseportMigrate => attach_type::SK_REUSEPORT_SELECT_OR_MIGRATE,
        ProgramType::UprobeMulti | ProgramType::UretprobeMulti | ProgramType::Usdt => {
            attach_type::TRACE_UPROBE_MULTI
        }
        other => match (SocketHook::of_type(other), target) {
            ([only], _) => only.attach_type,
            (_, Some(target)) => {
                SocketHook::named(other, target).map_or(attach_type::NONE, |hook| hook.attach_type)
            }
            (_, None) => attach_type::NONE,
        },
    }
}

/// Whether the verifier's log is wanted from a load that succeeds. One that fails always has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRequest {
    /// No: the fast way.
    #[default]
    OnFailure,
    /// No, but the stack depths that it ends with.
    StackDepths,
    /// Yes, whole.
    Always,
}

/// A map that holds a structure of functions for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructOpsSpec<'a> {
    /// Name for the kernel, which keeps 15 bytes.
    pub name: &'a str,
    /// BTF id, in the kernel's, of its value.
    pub value: u32,
    /// Bytes of that.
    pub value_size: u32,
}

/// An interface and its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// The namespace file, none for the daemon's own.
    pub netns: Option<&'a Path>,
    /// The interface in it.
    pub ifindex: IfIndex,
}

/// `enum bpf_prog_type` of programs that take the place of another program's function.
pub const EXTENSION: ProgramKind =
    ProgramKind { kernel_type: prog_type::EXT, expected_attach_type: attach_type::NONE };

/// A program to load.
#[derive(Clone, Debug)]
pub struct ProgramLoad<'a> {
    /// Name for the kernel, which keeps 15 bytes.
    pub name: &'a str,
    /// What to load.
    pub text: &'a BoundText,
    /// As what.
    pub kind: ProgramKind,
    /// Id of the function or hook in the kernel's BTF, for fentry, fexit and LSM, else 0.
    pub attach_btf_id: u32,
    /// The module that has that function; none for the kernel itself.
    pub attach_module: Option<&'a str>,
    /// What an extension is to take the place of. None for all other types.
    pub extends: Option<Extends>,
    /// The interface that an XDP program is for (Linux 6.3 and later): it may then ask for what the driver knows of a
    /// packet, and runs nowhere else. None: any.
    pub device: Option<Device<'a>>,
    /// Log wanted?
    pub log: LogRequest,
}

impl<'a> ProgramLoad<'a> {
    /// A program for no target; its log is wanted where the load fails.
    #[must_use]
    pub const fn new(name: &'a str, text: &'a BoundText, kind: ProgramKind) -> Self {
        Self {
            name,
            text,
            kind,
            attach_btf_id: 0,
            attach_module: None,
            extends: None,
            device: None,
            log: LogRequest::OnFailure,
        }
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Loaded<H> {
    /// Keeps it loaded.
    pub program: H,
    /// The verifier's log, if it was asked for.
    pub log: String,
    /// Bytes of stack of each function, in the order of the text, if they were asked for and the kernel told them.
    pub stack_depths: Option<Vec<u32>>,
}
