//! Kinds of failures, as answers and metrics name them.

/// Kind of a failed call. The names are stable: clients choose exit codes by them, controllers whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A program, link, hook, file or image does not exist.
    NotFound,
    /// The request can never succeed as it is.
    Invalid,
    /// The request does not fit the present state. Answers report it as invalid.
    Precondition,
    /// The request conflicts with the present state.
    Conflict,
    /// The caller lacks the permission.
    Denied,
    /// The kernel refused.
    KernelRefused,
    /// The registry failed.
    Registry,
    /// No trusted signature.
    Signature,
    /// This kernel or version does not support the request.
    Unsupported,
    /// The request exceeds a fixed limit.
    TooLarge,
    /// A limit is reached for now.
    Busy,
    /// The daemon or its disk failed.
    Internal,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::NotFound,
        Self::Invalid,
        Self::Precondition,
        Self::Conflict,
        Self::Denied,
        Self::KernelRefused,
        Self::Registry,
        Self::Signature,
        Self::Unsupported,
        Self::TooLarge,
        Self::Busy,
        Self::Internal,
    ];

    /// Returns the name on the wire and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
            Self::Precondition => "precondition",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::KernelRefused => "kernel-refused",
            Self::Registry => "registry",
            Self::Signature => "signature",
            Self::Unsupported => "unsupported",
            Self::TooLarge => "too-large",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }

    /// Returns the exit code of a command that failed for this reason: a stable interface of `bpfman`, for scripts.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Busy | Self::Internal => 1,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::Invalid | Self::Precondition | Self::Unsupported | Self::TooLarge => 6,
            Self::Conflict => 7,
            Self::KernelRefused => 8,
            Self::Registry | Self::Signature => 9,
        }
    }

    /// Returns the reason of a name; none if only a newer daemon has it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}
