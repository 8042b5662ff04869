use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;
use crate::{PatternError, TrustRootError, TrustedKeyError};

/// Defect in the signature rules. Any defect invalidates the whole text: a mistake must not relax the policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A pattern that can never match.
    #[error("{source}")]
    Pattern {
        /// Defect.
        source: PatternError,
    },
    /// An identity that can never match.
    #[error("{source}")]
    Identity {
        /// Defect.
        source: IdentityError,
    },
    /// An entry with neither signers nor `unsigned = true`.
    #[error(
        "the entry for `{pattern}` names no keys and no identities: \
         write keys = [\"/path/key.pub\"], or unsigned = true to allow any image there"
    )]
    NoSigner {
        /// Pattern of the entry.
        pattern: String,
    },
    /// An entry with signers or conditions on signatures, and with `unsigned = true`.
    #[error("the entry for `{pattern}` asks for signatures and has unsigned = true; one of them is wrong")]
    Contradiction {
        /// Pattern of the entry.
        pattern: String,
    },
    #[error("the entry for `{pattern}` has digests = [], which no image fits")]
    NoDigest {
        /// Pattern of the entry.
        pattern: String,
    },
    #[error("the entry for `{pattern}` has signed_as = [], which no signature fits")]
    NoRepository {
        /// Pattern of the entry.
        pattern: String,
    },
    /// More required signatures than signers, or none.
    #[error("min_signatures = {minimum} with {signers} different signers in the entry for `{pattern}`")]
    Minimum {
        /// Pattern of the entry.
        pattern: String,
        /// Value in the entry.
        minimum: usize,
        /// Number of different signers in the entry.
        signers: usize,
    },
    /// Identities or log entries are required without a trusted root.
    #[error(
        "the entry for `{pattern}` needs a trusted root: \
         write trusted_root = \"public-good\", or the path of a trusted_root.json, above all entries"
    )]
    NoRoot {
        /// Pattern of the entry.
        pattern: String,
    },
    /// Neither `public-good` nor an absolute path.
    #[error("trusted_root `{name}` is neither \"public-good\" nor an absolute path")]
    RootForm {
        /// Value in the policy.
        name: String,
    },
    #[error("trusted_root {name}: {source}")]
    Root {
        /// Value in the policy.
        name: String,
        /// Defect.
        source: TrustRootError,
    },
    /// A file that the policy names cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Neither PEM text nor an absolute path.
    #[error("the key `{key}` is neither PEM text nor an absolute path")]
    KeyForm {
        /// Value in the entry, shortened.
        key: String,
    },
    #[error("key {key}: {source}")]
    Key {
        /// Path, or `(inline)`.
        key: String,
        /// Defect.
        source: TrustedKeyError,
    },
}
