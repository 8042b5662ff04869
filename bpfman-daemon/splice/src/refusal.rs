//! Why one member cannot be part of a splice.

/// Why one member cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The instructions or the description of the program contradict themselves.
    #[error("its program is malformed at instruction {at}: {what}")]
    Malformed {
        /// Instruction index in the member.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The type information cannot be read.
    #[error("its type information (BTF) cannot be read: {what}")]
    BadBtf {
        /// What is wrong.
        what: &'static str,
    },
    /// `bpf_tail_call` would end the chain silently.
    #[error("it tail-calls other programs (instruction {at}), which would end the chain silently")]
    TailCall {
        /// Instruction index in the member.
        at: usize,
    },
    /// A tail call in a subprogram below a frame of 256 bytes or more, which the kernel refuses.
    #[error(
        "its function {function} tail-calls, and the frames above it take {above} bytes: the kernel allows fewer than 256"
    )]
    TailCallBelowLargeFrame {
        /// The function that tail-calls.
        function: String,
        /// Bytes of the frames above it.
        above: u32,
    },
    /// `LD_ABS` or `LD_IND` in the entry function.
    #[error(
        "it loads from the packet by LD_ABS or LD_IND (instruction {at}): a failing load would end the chain with verdict 0"
    )]
    OldPacketLoad {
        /// Instruction index in the member.
        at: usize,
    },
    /// `bpf_throw` unwinds the whole chain.
    #[error("it throws exceptions (bpf_throw, instruction {at}), which would end the whole chain")]
    Throws {
        /// Instruction index in the member.
        at: usize,
    },
    /// `may_goto` in the entry function: the loop budget is one per frame.
    #[error(
        "it uses may_goto in its entry function (instruction {at}): the loop budget would be shared with other members"
    )]
    SharedLoopBudget {
        /// Instruction index in the member.
        at: usize,
    },
    /// Timers and work queues keep running the old generation's code.
    #[error(
        "it starts timers or work queues (instruction {at}): they would keep a replaced chain alive and running"
    )]
    DeferredWork {
        /// Instruction index in the member.
        at: usize,
    },
    /// Type ids in instructions or maps tie the program to its own type information.
    #[error("it refers to types of its own BTF from instructions or maps (bpf_obj_new, lists, trees)")]
    NeedsOwnBtf,
    /// A kernel function or variable of a module needs a descriptor of the load.
    #[error(
        "it refers to a kernel module's function or variable, or to a map by its place (instruction {at})"
    )]
    UnboundReference {
        /// Instruction index in the member.
        at: usize,
    },
    /// A table of positions would have to move with the program.
    #[error("it jumps by a table of its own positions (instruction {at})")]
    IndirectJump {
        /// Instruction index in the member.
        at: usize,
    },
    /// Sleepable programs run on no packet hook.
    #[error("it is sleepable: no packet hook runs such programs")]
    Sleepable,
    /// The set contains REDIRECT without the explicit wish.
    #[error(
        "its proceed-on set contains REDIRECT: the chain would go on with a packet that it wanted sent elsewhere"
    )]
    RedirectMayProceed,
    /// The kernel counted more stack than the instructions show.
    #[error(
        "function {function} takes {kernel} bytes of stack by the kernel's count, {computed} by its instructions"
    )]
    StackDepthDisagrees {
        /// The function.
        function: String,
        /// The kernel's count.
        kernel: u32,
        /// Ours.
        computed: u32,
    },
}

impl Refusal {
    /// What the one who asked can do about it, in one sentence.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Malformed { .. } | Self::BadBtf { .. } => "compile the program anew",
            Self::TailCall { .. } => "put the program last on a hook of its own, or attach it alone",
            Self::TailCallBelowLargeFrame { .. } => "use smaller stacks in the programs of this hook",
            Self::OldPacketLoad { .. } => "read the packet directly or by bpf_skb_load_bytes",
            Self::Throws { .. } => "return from the program instead of throwing",
            Self::SharedLoopBudget { .. } => "move the loop into a function that is not inlined",
            Self::DeferredWork { .. } | Self::NeedsOwnBtf => "attach the program alone on its hook",
            Self::UnboundReference { .. } => "use functions of the kernel proper only",
            Self::IndirectJump { .. } => "compile the program without jump tables (-fno-jump-tables)",
            Self::Sleepable => "choose a packet program",
            Self::RedirectMayProceed => "take REDIRECT out of the set, or ask for it explicitly",
            Self::StackDepthDisagrees { .. } => {
                "report this program: the stack analysis does not understand it"
            }
        }
    }
}
