//! Why a load is more than the verifier may be given by its owner.

use super::ErrorKind;

/// A load over its owner's limit of verified instructions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifiedLimit {
    /// The text alone is over it: the kernel was not asked.
    #[error(
        "the programs of the load have {insns} instructions up to program \"{program}\"; the limit of verified instructions \
         is {limit} a load"
    )]
    Text {
        /// The program with which it went over the limit.
        program: String,
        /// Instructions up to its end, callees included.
        insns: u64,
        /// The limit.
        limit: u64,
    },
    /// The verifier walked through more.
    #[error(
        "the verifier walked through {insns} instructions of the load up to program \"{program}\"; the limit is {limit} a \
         load"
    )]
    Walked {
        /// The program with which it went over the limit.
        program: String,
        /// The kernel's own count, up to this program.
        insns: u64,
        /// The limit.
        limit: u64,
    },
    /// There is a limit, and the kernel does not count.
    #[error(
        "the verified instructions of a load are limited to {limit}, and this kernel ({release}) does not count them: \
         Linux 5.16 and later do"
    )]
    Uncounted {
        /// `uname -r`.
        release: String,
        /// The limit.
        limit: u64,
    },
}

impl VerifiedLimit {
    /// The kind of failure.
    pub(super) const fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Text { .. } | Self::Walked { .. } => ErrorKind::TooLarge,
            Self::Uncounted { .. } => ErrorKind::Unsupported,
        }
    }

    /// What to do next.
    pub(super) const fn hint(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::Walked { .. } => {
                "simplify the program (shorter loops, fewer branches), load its parts one by one, or have root raise \
                 limits.verified_instructions of the grant in policy.toml"
            }
            Self::Uncounted { .. } => {
                "have root remove limits.verified_instructions of the grant in policy.toml, or use a newer kernel"
            }
        }
    }
}
