use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;
use crate::{PatternError, TrustRootError, TrustedKeyError};

/// Any defect invalidates the whole text: a mistake must not relax the policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("{source}")]
    Pattern { source: PatternError },
    #[error("{source}")]
    Identity { source: IdentityError },
    #[error(
        "the entry for `{pattern}` names no keys and no identities: \
         write keys = [\"/path/key.pub\"], or unsigned = true to allow any image there"
    )]
    NoSigner { pattern: String },
    #[error("the entry for `{pattern}` asks for signatures and has unsigned = true; one of them is wrong")]
    Contradiction { pattern: String },
    #[error("the entry for `{pattern}` has digests = [], which no image fits")]
    NoDigest { pattern: String },
    #[error("the entry for `{pattern}` has signed_as = [], which no signature fits")]
    NoRepository { pattern: String },
    #[error("min_signatures = {minimum} with {signers} different signers in the entry for `{pattern}`")]
    Minimum {
        pattern: String,
        minimum: usize,
        /// Number of different signers in the entry.
        signers: usize,
    },
    #[error(
        "the entry for `{pattern}` needs a trusted root: \
         write trusted_root = \"public-good\", or the path of a trusted_root.json, above all entries"
    )]
    NoRoot { pattern: String },
    #[error("trusted_root `{name}` is neither \"public-good\" nor an absolute path")]
    RootForm { name: String },
    #[error("trusted_root {name}: {source}")]
    Root { name: String, source: TrustRootError },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the key `{key}` is neither PEM text nor an absolute path")]
    KeyForm { key: String },
    #[error("key {key}: {source}")]
    Key {
        /// Path, or `(inline)`.
        key: String,
        source: TrustedKeyError,
    },
}
