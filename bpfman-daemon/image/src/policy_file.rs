//! The text of `policy.toml`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::{Mode, Pattern, PatternError, Requirement, Rule, TrustedKey, TrustedKeyError};

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
    /// An entry that names no signer and does not say that none is needed.
    #[error(
        "policy.toml line {line}: the entry for `{pattern}` names no keys. \
         hint: write keys = [\"/path/key.pub\"], or unsigned = true to allow any image there"
    )]
    NoSigner {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// An entry that names keys and says that none is needed.
    #[error(
        "policy.toml line {line}: the entry for `{pattern}` has keys and unsigned = true; one of them is wrong"
    )]
    Contradiction {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
    },
    /// More signatures wanted than there are keys, or none.
    #[error(
        "policy.toml line {line}: min_signatures = {minimum} with {keys} different keys in the entry for `{pattern}`"
    )]
    Minimum {
        /// Line of the entry, from 1.
        line: usize,
        /// Its pattern.
        pattern: String,
        /// The number written.
        minimum: usize,
        /// Different keys of the entry.
        keys: usize,
    },
    /// A key file that cannot be read.
    #[error("policy.toml line {line}: key {path}: {source}")]
    KeyFile {
        /// Line of the key, from 1.
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
        /// What is wrong with it.
        source: TrustedKeyError,
    },
}

/// What `policy.toml` says.
///
/// ```toml
/// mode = "enforce"                       # or "warn", or "off"; enforce if it is not written
///
/// [[images]]                             # the first entry that covers an image decides
/// pattern = "quay.io/example/*"          # registry/repository, * for any characters; * alone covers all
/// keys = ["/etc/bpfman/keys/team.pub"]   # PEM files, or PEM text; P-256 or RSA
/// min_signatures = 1                     # by so many different keys of these; 1 if it is not written
///
/// [[images]]
/// pattern = "127.0.0.1:5000/trial/*"
/// unsigned = true                        # any image there, by anybody
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// The mode, if it is written.
    pub mode: Option<Mode>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    mode: Option<Mode>,
    #[serde(default)]
    images: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pattern: String,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    min_signatures: Option<usize>,
    #[serde(default)]
    unsigned: bool,
}

/// Reads the text of a key file. The daemon's own reader also checks that only root can write the file.
type ReadKey<'a> = &'a mut dyn FnMut(&Path) -> io::Result<String>;

impl PolicyFile {
    /// Parses the text of the file; `read_key` reads the key files that it names.
    pub fn parse(text: &str, read_key: ReadKey<'_>) -> Result<Self, PolicyError> {
        let document: Document = toml::from_str(text)
            .map_err(|error| PolicyError::Syntax(error.to_string().trim_end().to_owned()))?;
        let line_at = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let mut rules = Vec::new();
        for entry in document.images {
            let line = line_at(entry.span().start);
            rules.push(rule(entry.into_inner(), line, &line_at, read_key)?);
        }
        Ok(Self { mode: document.mode, rules })
    }
}

fn rule(
    entry: Entry,
    line: usize,
    line_at: &dyn Fn(usize) -> usize,
    read_key: ReadKey<'_>,
) -> Result<Rule, PolicyError> {
    let pattern: Pattern = entry.pattern.parse().map_err(|source| PolicyError::Pattern { line, source })?;
    let shown = entry.pattern;
    if entry.unsigned {
        if !entry.keys.is_empty() || entry.min_signatures.is_some() {
            return Err(PolicyError::Contradiction { line, pattern: shown });
        }
        return Ok(Rule { pattern, requirement: Requirement::Unsigned });
    }
    if entry.keys.is_empty() {
        return Err(PolicyError::NoSigner { line, pattern: shown });
    }
    let mut keys: Vec<TrustedKey> = Vec::new();
    for text in entry.keys {
        let key = key(text.get_ref(), line_at(text.span().start), read_key)?;
        // The same key twice must not count as two signers.
        if keys.iter().all(|known| known.fingerprint() != key.fingerprint()) {
            keys.push(key);
        }
    }
    let minimum = entry.min_signatures.unwrap_or(1);
    if minimum == 0 || minimum > keys.len() {
        return Err(PolicyError::Minimum { line, pattern: shown, minimum, keys: keys.len() });
    }
    Ok(Rule { pattern, requirement: Requirement::Keys { keys, minimum } })
}

fn key(text: &str, line: usize, read_key: ReadKey<'_>) -> Result<TrustedKey, PolicyError> {
    if text.trim_start().starts_with("-----BEGIN ") {
        let inline = |source| PolicyError::Key { line, key: "(inline)".to_owned(), source };
        return TrustedKey::from_pem(text).map_err(inline);
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(PolicyError::KeyForm { line, key: text.chars().take(80).collect() });
    }
    let pem =
        read_key(path).map_err(|source| PolicyError::KeyFile { line, path: path.to_owned(), source })?;
    TrustedKey::from_pem(&pem).map_err(|source| PolicyError::Key { line, key: text.to_owned(), source })
}
