//! Kinds of failures, as [`crate::REASON_TRAILER`] and messages of failures name them.

/// Why a call failed. The names are an interface: clients choose exit codes by them, and controllers whether to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No such program, link, hook, file or image.
    NotFound,
    /// A request that can never work as it is.
    Invalid,
    /// Against the present state.
    Conflict,
    /// The caller may not.
    Denied,
    /// The kernel refused.
    KernelRefused,
    /// The registry failed.
    Registry,
    /// No trusted signature.
    Signature,
    /// This kernel or version cannot.
    Unsupported,
    /// Over a limit that stays.
    TooLarge,
    /// No room for now.
    Busy,
    /// A fault of the daemon or its disk.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::Invalid,
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

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
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

    /// What a command ends with that failed for it: the numbers of `bpfman`, an interface that scripts branch on.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Busy | Self::Internal => 1,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::Invalid | Self::Unsupported | Self::TooLarge => 6,
            Self::Conflict => 7,
            Self::KernelRefused => 8,
            Self::Registry | Self::Signature => 9,
        }
    }

    /// The reason of a name; none for one that a newer daemon has.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}
