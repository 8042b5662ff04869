//! Loads that exceed the owner's limit of verified instructions.

use bpfman_model::Reason;

/// Refusal of a load above its owner's limit of verified instructions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifiedLimit {
    /// The program text alone exceeds the limit; the kernel was not called.
    #[error(
        "the programs of the load have {insns} instructions up to program \"{program}\"; the limit of verified instructions \
         is {limit} a load"
    )]
    Text {
        program: String,
        /// Number of instructions up to the end of the program, callees included.
        insns: u64,
        limit: u64,
    },
    #[error(
        "the verifier walked through {insns} instructions of the load up to program \"{program}\"; the limit is {limit} a \
         load"
    )]
    Walked {
        program: String,
        /// Number of instructions that the kernel reports, up to this program.
        insns: u64,
        limit: u64,
    },
    /// A limit is set, but the kernel does not report the count.
    #[error(
        "the verified instructions of a load are limited to {limit}, and this kernel ({release}) does not count them: \
         Linux 5.16 and later do"
    )]
    Uncounted { release: String, limit: u64 },
}

impl VerifiedLimit {
    pub(super) const fn error_kind(&self) -> Reason {
        match self {
            Self::Text { .. } | Self::Walked { .. } => Reason::TooLarge,
            Self::Uncounted { .. } => Reason::Unsupported,
        }
    }

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
