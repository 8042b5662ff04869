//! Kinds of errors, for callers to branch on.

use bpfman_model::Reason;
use bpfmand_kernel::{KernelError, ProbeTargetError};

use super::EngineError;

impl EngineError {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> Reason {
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
            | Self::NoAnchor { .. } => Reason::NotFound,
            Self::NoForeignOrder { .. }
            | Self::TcxBeforeFilter { .. }
            | Self::NotNarrowed { .. }
            | Self::FilterBehindTcx { .. }
            | Self::SendsToGuarded { .. }
            | Self::Invalid(_)
            | Self::MapReadOnly { .. }
            | Self::MapOwner { .. }
            | Self::Object(_)
            | Self::Bytes { .. } => Reason::Invalid,
            Self::Bytecode { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Reason::NotFound,
                std::io::ErrorKind::PermissionDenied => Reason::Denied,
                _ => Reason::Invalid,
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
            | Self::Paused { .. }
            | Self::MapsShared { .. } => Reason::Precondition,
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
            | Self::MaxLinks { .. }
            | Self::Interference(_)
            | Self::MembersChange { .. }
            | Self::NewMember { .. }
            | Self::OtherFreeze { .. }
            | Self::NewPlace { .. }
            | Self::HookOnHold { .. } => Reason::Conflict,
            Self::Denied(_) | Self::InnerMapOfOthers { .. } => Reason::Denied,
            Self::TooLarge { .. } | Self::MapMemory { .. } | Self::OwnersMapMemory { .. } => Reason::TooLarge,
            Self::Image(failure) => failure.kind,
            Self::Chain { .. } | Self::Unplanned(_) | Self::Unsupported(_) => Reason::Unsupported,
            Self::ChainRefused { .. } | Self::NotInKernel { .. } => Reason::KernelRefused,
            Self::Kernel(error) => match error {
                KernelError::Refused { .. } | KernelError::Call { .. } => Reason::KernelRefused,
                KernelError::HookHeld { .. }
                | KernelError::SharedHook { .. }
                | KernelError::HookChanged { .. }
                | KernelError::HookFull { .. }
                | KernelError::Preorder { .. }
                | KernelError::HeldByOther { .. }
                | KernelError::NoAnchor { .. } => Reason::Conflict,
                KernelError::CannotProbe {
                    reason: ProbeTargetError::Unreadable { .. } | ProbeTargetError::OutsideFunction { .. },
                    ..
                } => Reason::Denied,
                KernelError::CannotProbe { reason: ProbeTargetError::OfModule { .. }, .. } => {
                    Reason::Unsupported
                }
                KernelError::HookGone { .. }
                | KernelError::NoTracepoint { .. }
                | KernelError::NoRawTracepoint { .. }
                | KernelError::NoControlGroup { .. }
                | KernelError::NoCpu { .. }
                | KernelError::CannotProbe { .. } => Reason::NotFound,
                KernelError::NoInterface { .. }
                | KernelError::NoNamespace { .. }
                | KernelError::TooFrequent { .. }
                | KernelError::NoNetkit { .. }
                | KernelError::BadMap { .. }
                | KernelError::UnsizedMap { .. } => Reason::Invalid,
                KernelError::NotMounted { .. }
                | KernelError::PrivatePins { .. }
                | KernelError::NoTaskGroup { .. }
                | KernelError::NamespaceNotFound { .. } => Reason::Precondition,
                KernelError::Unsupported { .. } | KernelError::NoCounter { .. } => Reason::Unsupported,
                _ => Reason::Internal,
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
            | Self::NotUndone { .. } => Reason::Internal,
        }
    }
}
