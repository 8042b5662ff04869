//! Mistakes in `policy.toml`.

use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;
use crate::{PatternError, TrustRootError, TrustedKeyError};

/// One mistake in the signature rules. With any of them the text is no policy: a mistake must not loosen anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// A pattern that can never match.
    #[error("{source}")]
    Pattern {
        /// What is wrong.
        source: PatternError,
    },
    /// An identity that can never match.
    #[error("{source}")]
    Identity {
        /// What is wrong.
        source: IdentityError,
    },
    /// An entry that names no signer and does not say that none is needed.
    #[error(
        "the entry for `{pattern}` names no keys and no identities: \
         write keys = [\"/path/key.pub\"], or unsigned = true to allow any image there"
    )]
    NoSigner {
        /// Its pattern.
        pattern: String,
    },
    /// An entry that names signers or what they have to say, and says that none is needed.
    #[error("the entry for `{pattern}` asks for signatures and has unsigned = true; one of them is wrong")]
    Contradiction {
        /// Its pattern.
        pattern: String,
    },
    /// An empty list of digests.
    #[error("the entry for `{pattern}` has digests = [], which no image fits")]
    NoDigest {
        /// Its pattern.
        pattern: String,
    },
    /// An empty list of repositories.
    #[error("the entry for `{pattern}` has signed_as = [], which no signature fits")]
    NoRepository {
        /// Its pattern.
        pattern: String,
    },
    /// More signatures wanted than there are signers, or none.
    #[error("min_signatures = {minimum} with {signers} different signers in the entry for `{pattern}`")]
    Minimum {
        /// Its pattern.
        pattern: String,
        /// The number written.
        minimum: usize,
        /// Different signers of the entry.
        signers: usize,
    },
    /// Identities or log entries are asked for, and there is nothing to check them with.
    #[error(
        "the entry for `{pattern}` needs a trusted root: \
         write trusted_root = \"public-good\", or the path of a trusted_root.json, above all entries"
    )]
    NoRoot {
        /// Its pattern.
        pattern: String,
    },
    /// Neither `public-good` nor an absolute path.
    #[error("trusted_root `{name}` is neither \"public-good\" nor an absolute path")]
    RootForm {
        /// What was written.
        name: String,
    },
    /// A trusted root that cannot be used.
    #[error("trusted_root {name}: {source}")]
    Root {
        /// What was written.
        name: String,
        /// The reason.
        source: TrustRootError,
    },
    /// A file that the policy names and that cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither PEM text nor an absolute path.
    #[error("the key `{key}` is neither PEM text nor an absolute path")]
    KeyForm {
        /// What was written, shortened.
        key: String,
    },
    /// A key that cannot be used.
    #[error("key {key}: {source}")]
    Key {
        /// Its path, or `(inline)`.
        key: String,
        /// The reason.
        source: TrustedKeyError,
    },
}
