//! Numbers of `linux/bpf.h`, as far as something is decided by them. Their names are the kernel's, without the name of
//! their `enum` (`BPF_PROG_TYPE_XDP` is `prog_type::XDP`).

pub mod map_type;

/// `enum bpf_prog_type`.
#[expect(missing_docs, reason = "the kernel's names say it")]
pub mod prog_type {
    pub const KPROBE: u32 = 2;
    pub const SCHED_CLS: u32 = 3;
    pub const TRACEPOINT: u32 = 5;
    pub const XDP: u32 = 6;
    pub const TRACING: u32 = 26;
    pub const EXT: u32 = 28;
    pub const LSM: u32 = 29;
}

/// `enum bpf_attach_type`.
#[expect(missing_docs, reason = "the kernel's names say it")]
pub mod attach_type {
    /// The number 0, which the kernel is given where it asks for none.
    pub const NONE: u32 = 0;
    pub const TRACE_FENTRY: u32 = 24;
    pub const TRACE_FEXIT: u32 = 25;
    pub const LSM_MAC: u32 = 27;
    pub const XDP: u32 = 37;
    pub const PERF_EVENT: u32 = 41;
    pub const TCX_INGRESS: u32 = 46;
    pub const TCX_EGRESS: u32 = 47;
}

/// `enum bpf_link_type`.
#[expect(missing_docs, reason = "the kernel's names say it")]
pub mod link_type {
    pub const TRACING: u32 = 2;
    pub const XDP: u32 = 6;
    pub const PERF_EVENT: u32 = 7;
    pub const TCX: u32 = 11;
}
