use bpfman_model::MapId;

use crate::chain::hook::SpliceHook;
use crate::chain::plan::Attempt;

/// Rounding that the kernel applies to each frame when it adds up the stack of nested calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameRounding {
    /// To 32 bytes, at least 32: Linux 6.1, and newer ones without the JIT.
    To32,
    /// To 16 bytes, at least 0: Linux 6.12 and later with the JIT.
    To16,
}

impl FrameRounding {
    /// Returns the bytes that a frame of `depth` bytes counts for.
    #[must_use]
    pub const fn round(self, depth: u32) -> u32 {
        match self {
            Self::To32 => {
                let at_least_one = if depth == 0 { 1 } else { depth };
                at_least_one.next_multiple_of(32)
            }
            Self::To16 => depth.next_multiple_of(16),
        }
    }
}

/// Rule for chains where only some members handle packets in several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FragsRule {
    /// Refuse the chain.
    MustAgree,
    /// Join the chain without support for several buffers: the kernel refuses it if the MTU needs several (ERANGE).
    OnlyIfAll,
}

/// Kernel functions that unwind the stack.
pub const THROWING_KFUNCS: &[&str] = &["bpf_throw"];

/// Kernel functions that run a program's code later and keep it loaded, under the names of all kernels.
pub const DEFERRING_KFUNCS: &[&str] = &[
    "bpf_wq_init",
    "bpf_wq_set_callback",
    "bpf_wq_set_callback_impl",
    "bpf_wq_start",
    "bpf_task_work_schedule_signal",
    "bpf_task_work_schedule_signal_impl",
    "bpf_task_work_schedule_resume",
    "bpf_task_work_schedule_resume_impl",
];

/// Inputs of a splice other than its members.
#[derive(Clone, Copy, Debug)]
pub struct SpliceOptions<'a> {
    /// Hook where the program will be attached.
    pub hook: SpliceHook,
    /// Rounding of frames in the kernel.
    pub rounding: FrameRounding,
    /// True if the kernel has unconditional jumps of 32 bits (cpu v4 instructions; must be probed).
    pub ja32: bool,
    /// Rule for members that disagree about packets in several buffers.
    pub frags: FragsRule,
    /// Ids in the kernel's BTF of [`THROWING_KFUNCS`].
    pub throwing_kfuncs: &'a [i32],
    /// Ids in the kernel's BTF of [`DEFERRING_KFUNCS`].
    pub deferring_kfuncs: &'a [i32],
    /// Maps of the members that are arenas: a program can use only one.
    pub arenas: &'a [MapId],
    /// Counts where packets leave the chain ([`crate::CounterLayout`]): 1 to 3 ns per packet.
    pub counters: bool,
    /// Timed twin for one packet in 1,024 ([`crate::TimeLayout`]): 2 ns per packet; not bound to a device.
    pub timing: bool,
    /// Clears whole frames: without CAP_PERFMON, the verifier forbids to overwrite part of an address left there.
    pub clear_frames: bool,
    /// Parses headers once for all inlined members where that is possible.
    pub shares_headers: bool,
    /// Makes every member a global function under its own name, for tools that trace functions.
    pub as_subprograms: bool,
    /// TC: cuts before packet writers if read-only members come first: for a writer, the kernel copies shared packets.
    pub tc_writers_behind_cut: bool,
    /// Maximum number of instructions to be verified per program, as the sum of its members alone.
    pub verified_limit: u64,
    pub attempt: Attempt,
}

/// Budget of verified instructions. The kernel's limit is one million; splices took 1.0 to 1.02 times their members' sum.
pub const VERIFIED_LIMIT: u64 = 800_000;

impl SpliceOptions<'_> {
    /// Returns the options that are safe on every kernel.
    #[must_use]
    pub const fn new(hook: SpliceHook) -> Self {
        Self {
            hook,
            rounding: FrameRounding::To32,
            ja32: false,
            frags: FragsRule::MustAgree,
            throwing_kfuncs: &[],
            deferring_kfuncs: &[],
            arenas: &[],
            counters: false,
            timing: false,
            clear_frames: false,
            shares_headers: false,
            as_subprograms: false,
            tc_writers_behind_cut: true,
            verified_limit: VERIFIED_LIMIT,
            attempt: Attempt::First,
        }
    }
}
