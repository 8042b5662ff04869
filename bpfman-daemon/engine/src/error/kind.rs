//! Kinds of errors, for callers to branch on.

use bpfmand_kernel::{KernelError, ProbeTargetError};

use super::EngineError;

/// Kind of a failure, for callers to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// The request is invalid.
    Invalid,
    /// The request does not fit the present state.
    Precondition,
    /// The object is held by someone else, or full.
    Conflict,
    /// The caller lacks permission.
    Denied,
    /// The kernel refused.
    KernelRefused,
    /// A registry could not be reached.
    Registry,
    /// A signature is missing or wrong.
    Signature,
    /// Not on this kernel, or not in this version.
    Unsupported,
    /// Larger than the limit.
    TooLarge,
    /// The daemon's own fault, or its disk's.
    Internal,
}

impl ErrorKind {
    /// Returns the word for it in metrics.
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
            Self::Internal => "internal",
        }
    }
}

impl EngineError {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoProgram(_)
            | Self::NoKernelProgram(_)
            | Self::NoKernelLink(_)
            | Self::NoPin { .. }
            | Self::NoMap { .. }
            | Self::NoMapOfOurs(_)
            | Self::NoMapEntry { .. }
            | Self::NoStray { .. }
            | Self::NoLink(_)
            | Self::NoMatching(_)
            | Self::NoChain { .. }
            | Self::NoMember { .. }
            | Self::NoAnchor { .. } => ErrorKind::NotFound,
            Self::NoForeignOrder { .. }
            | Self::TcxBeforeFilter { .. }
            | Self::NotNarrowed { .. }
            | Self::FilterBehindTcx { .. }
            | Self::Invalid(_)
            | Self::MapReadOnly { .. }
            | Self::MapOwner { .. }
            | Self::Object(_)
            | Self::Bytes { .. } => ErrorKind::Invalid,
            Self::Bytecode { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Invalid,
            },
            Self::NoFrags { .. }
            | Self::TraceMaySend { .. }
            | Self::NoEarlierVersion(_)
            | Self::NothingToReplace(..)
            | Self::EmptyChain
            | Self::WrongPoint { .. }
            | Self::OlderRecords { .. }
            | Self::EarlierProcess { .. }
            | Self::Lost { .. }
            | Self::MapsShared { .. } => ErrorKind::Precondition,
            Self::HookHeld(_)
            | Self::Dispatcher { .. }
            | Self::ChainFull { .. }
            | Self::KeptPlaces { .. }
            | Self::OverBudget { .. }
            | Self::SharedMap { .. }
            | Self::MapDiffers { .. }
            | Self::Contradiction { .. }
            | Self::InBetween { .. }
            | Self::AlreadyThere { .. }
            | Self::Repeated { .. }
            | Self::HeldByOurs { .. }
            | Self::StrayAtHook { .. }
            | Self::MaxMatchings { .. }
            | Self::Interference(_)
            | Self::MembersChange { .. }
            | Self::NewMember { .. }
            | Self::OtherFreeze { .. }
            | Self::NewPlace { .. }
            | Self::HookOnHold { .. } => ErrorKind::Conflict,
            Self::Denied(_) | Self::InnerMapOfOthers { .. } => ErrorKind::Denied,
            Self::TooLarge { .. } | Self::MapMemory { .. } | Self::OwnersMapMemory { .. } => {
                ErrorKind::TooLarge
            }
            Self::Image(failure) => failure.error_kind(),
            Self::Chain { .. } | Self::Unplanned(_) | Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::ChainRefused { .. } | Self::NotInKernel { .. } => ErrorKind::KernelRefused,
            Self::Kernel(error) => match error {
                KernelError::Refused { .. } | KernelError::Call { .. } => ErrorKind::KernelRefused,
                KernelError::HookHeld { .. }
                | KernelError::SharedHook { .. }
                | KernelError::HookChanged { .. }
                | KernelError::HookFull { .. }
                | KernelError::Preorder { .. }
                | KernelError::HeldByOther { .. }
                | KernelError::NoAnchor { .. } => ErrorKind::Conflict,
                KernelError::NoProbeTarget {
                    reason: ProbeTargetError::Unreadable { .. } | ProbeTargetError::OutsideFunction { .. },
                    ..
                } => ErrorKind::Denied,
                KernelError::HookGone { .. }
                | KernelError::NoTracepoint { .. }
                | KernelError::NoRawTracepoint { .. }
                | KernelError::NoControlGroup { .. }
                | KernelError::NoCpu { .. }
                | KernelError::NoProbeTarget { .. } => ErrorKind::NotFound,
                KernelError::NoInterface { .. }
                | KernelError::NoNamespace { .. }
                | KernelError::TooFrequent { .. }
                | KernelError::NoNetkit { .. }
                | KernelError::BadMap { .. }
                | KernelError::UnsizedMap { .. } => ErrorKind::Invalid,
                KernelError::NotMounted { .. }
                | KernelError::PrivatePins { .. }
                | KernelError::NoTaskGroup { .. }
                | KernelError::NamespaceNotFound { .. } => ErrorKind::Precondition,
                KernelError::Unsupported { .. } | KernelError::NoCounter { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Internal,
            },
            Self::Adopt(refusal) => refusal.error_kind(),
            Self::Guard(refusal) => refusal.error_kind(),
            Self::Extension(refusal) => refusal.error_kind(),
            Self::Verified(limit) => limit.error_kind(),
            Self::Reader(_)
            | Self::Fault(_)
            | Self::Store(_)
            | Self::StoreUnsure
            | Self::Files(_)
            | Self::NotUndone { .. } => ErrorKind::Internal,
        }
    }
}
