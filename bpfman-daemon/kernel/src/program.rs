use std::path::Path;
use std::time::Duration;

use bpfman_model::uapi::{attach_type, prog_type};
use bpfman_model::{BoundText, IfIndex, ProgramType, SocketHook};

use crate::Extends;

/// Kind of a program for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `enum bpf_prog_type`.
    pub kernel_type: u32,
    /// `enum bpf_attach_type`; `NONE` if the kernel needs none.
    pub expected_attach_type: u32,
}

impl ProgramKind {
    /// Returns the kind of a program for `target`; types with a single hook need none.
    #[must_use]
    pub fn new(program_type: ProgramType, target: Option<&str>) -> Self {
        Self {
            kernel_type: program_type.kernel_type(),
            expected_attach_type: expected_attach_type(program_type, target),
        }
    }

    /// Returns whether loads need CAP_PERFMON: the kernel's `is_perfmon_prog_type`.
    #[must_use]
    pub const fn needs_perfmon(self) -> bool {
        use prog_type::{
            EXT, KPROBE, LSM, PERF_EVENT, RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE, STRUCT_OPS, TRACEPOINT,
            TRACING,
        };
        matches!(
            self.kernel_type,
            KPROBE
                | TRACEPOINT
                | PERF_EVENT
                | RAW_TRACEPOINT
                | RAW_TRACEPOINT_WRITABLE
                | TRACING
                | LSM
                | STRUCT_OPS
                | EXT
        )
    }
}

impl From<ProgramType> for ProgramKind {
    fn from(program_type: ProgramType) -> Self {
        Self::new(program_type, None)
    }
}

fn expected_attach_type(program_type: ProgramType, target: Option<&str>) -> u32 {
    let of_hook = || match (SocketHook::of_type(program_type), target) {
        ([only], _) => only.attach_type,
        (_, Some(target)) => {
            SocketHook::named(program_type, target).map_or(attach_type::NONE, |hook| hook.attach_type)
        }
        (_, None) => attach_type::NONE,
    };
    program_type.attach_type().unwrap_or_else(of_hook)
}

/// Requested verifier log of a successful load; a failed load always returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogRequest {
    /// No log: fastest.
    #[default]
    OnFailure,
    /// Only the stack depths at the end of the log.
    StackDepths,
    /// The stack depths. If the program is too complex, only the reason: a full log would need a second, equally long
    /// verification.
    UnlessTooComplex,
    /// The whole log.
    Always,
    /// No log, even if the load fails. After this time, the owner gets logs again.
    Never(Duration),
}

/// Map of type `struct_ops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructOpsSpec<'a> {
    /// Name for the kernel, which keeps 15 bytes.
    pub name: &'a str,
    /// Id of its value in the BTF of the kernel.
    pub value: u32,
    /// Size of the value in bytes.
    pub value_size: u32,
}

/// Interface and its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Namespace file. `None` for the namespace of the daemon.
    pub netns: Option<&'a Path>,
    pub ifindex: IfIndex,
}

/// Kind of programs that replace a function of another program.
pub const EXTENSION: ProgramKind =
    ProgramKind { kernel_type: prog_type::EXT, expected_attach_type: attach_type::NONE };

#[derive(Clone, Debug)]
pub struct ProgramLoad<'a> {
    /// Name for the kernel, which keeps 15 bytes.
    pub name: &'a str,
    pub text: &'a BoundText,
    pub kind: ProgramKind,
    /// BTF id of the kernel function or hook for fentry, fexit and LSM, otherwise 0.
    pub attach_btf_id: u32,
    /// Module with that function; `None` for the kernel itself.
    pub attach_module: Option<&'a str>,
    /// Function that an extension replaces.
    pub extends: Option<Extends>,
    /// Interface that an XDP program is bound to (Linux 6.3): it can read the driver's metadata, and runs nowhere else.
    pub device: Option<Device<'a>>,
    /// Verify as for a user without CAP_PERFMON: no stored kernel addresses, no reads of unwritten stack, barriers
    /// against speculative reads. Not for types with [`ProgramKind::needs_perfmon`].
    pub without_perfmon: bool,
    pub log: LogRequest,
}

impl<'a> ProgramLoad<'a> {
    /// Returns a program without target, with the log only of a failed load.
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
            without_perfmon: false,
            log: LogRequest::OnFailure,
        }
    }
}

/// Loaded program.
#[derive(Debug)]
pub struct Loaded<H> {
    /// Handle that keeps it loaded.
    pub program: H,
    /// Log of the verifier, if it was requested.
    pub log: String,
    /// Stack bytes per function, in the order of the text, if requested and returned.
    pub stack_depths: Option<Vec<u32>>,
    /// Parts that were left out, since the kernel refused them.
    pub warnings: Vec<String>,
}
