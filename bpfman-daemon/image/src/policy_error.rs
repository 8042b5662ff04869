//! Mistakes in `policy.toml`.

use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;
use crate::{PatternError, TrustRootError, TrustedKeyError};

/// A policy file that cannot be followed. The daemon does not start with one: a mistake in it must not loosen
/// anything.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML, or with keys that mean nothing.
    #[error("policy.toml: {0}")]
    Syntax(String),
    /// A pattern that can never match.
    #[error("policy.toml line {line}: {source}")]
    Pattern {
        /// Line of the entry, from 1.
        line: usize,
        /// What is wrong.
        source: PatternError,
    },
    /// An identity that can never match.
    #[error("policy.toml line {line}: {source}")]
    Identity {
        /// Line of the identity, from 1.
        line: usize,
        /// What is wrong.
        source: IdentityError,
    },
    /// An entry that names no signer and does not say that none is needed.
    #[error(
        "policy.toml line {line}: the entry for `{pattern}` names no keys and no identities. \
         hint: write keys = [\"/path/key.pub\"], or unsigned = true to allow any image there"
    )]
    NoSigner {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// An entry that names signers or what they have to say, and says that none is needed.
    #[error(
        "policy.toml line {line}: the entry for `{pattern}` asks for signatures and has unsigned = true; one of them is wrong"
    )]
    Contradiction {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// An empty list of digests.
    #[error("policy.toml line {line}: the entry for `{pattern}` has digests = [], which no image fits")]
    NoDigest {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// An empty list of repositories.
    #[error("policy.toml line {line}: the entry for `{pattern}` has signed_as = [], which no signature fits")]
    NoRepository {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// More signatures wanted than there are signers, or none.
    #[error(
        "policy.toml line {line}: min_signatures = {minimum} with {signers} different signers in the entry for `{pattern}`"
    )]
    Minimum {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
        /// The number written.
        minimum: usize,
        /// Different signers of the entry.
        signers: usize,
    },
    /// Identities or log entries are asked for, and there is nothing to check them with.
    #[error(
        "policy.toml line {line}: the entry for `{pattern}` needs a trusted root. \
         hint: write trusted_root = \"public-good\", or the path of a trusted_root.json, above all entries"
    )]
    NoRoot {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// Neither `public-good` nor an absolute path.
    #[error("policy.toml line {line}: trusted_root `{name}` is neither \"public-good\" nor an absolute path")]
    RootForm {
        /// Line of the key, from 1.
        line: usize,
        /// What was written.
        name: String,
    },
    /// A trusted root that cannot be used.
    #[error("policy.toml line {line}: trusted_root {name}: {source}")]
    Root {
        /// Line of the key, from 1.
        line: usize,
        /// What was written.
        name: String,
        /// The reason.
        source: TrustRootError,
    },
    /// A file that the policy names and that cannot be read.
    #[error("policy.toml line {line}: {path}: {source}")]
    File {
        /// Line that names it, from 1.
        line: usize,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither PEM text nor an absolute path.
    #[error("policy.toml line {line}: the key `{key}` is neither PEM text nor an absolute path")]
    KeyForm {
        /// Line of the key, from 1.
        line: usize,
        /// What was written, shortened.
        key: String,
    },
    /// A key that cannot be used.
    #[error("policy.toml line {line}: key {key}: {source}")]
    Key {
        /// Line of the key, from 1.
        line: usize,
        /// Its path, or `(inline)`.
        key: String,
        /// The reason.
        source: TrustedKeyError,
    },
}
