//! The text of `policy.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use bpfman_image_format::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::policy_error::PolicyError;
use crate::{
    FileRule, Mode, Pattern, PolicyRule, Requirement, Revoked, RevokedRunning, Signers, TrustRoot,
    TrustedIdentity, TrustedKey, trust_root,
};

/// What `policy.toml` says.
///
/// ```toml
/// mode = "enforce"                       # or "warn", or "off"; enforce if it is not written
/// trusted_root = "public-good"           # for identities and logs: that, or the path of a trusted_root.json
///
/// [[images]]                             # the first entry that covers an image decides
/// pattern = "quay.io/example/*"          # registry/repository, * for any characters; * alone covers all
/// keys = ["/etc/bpfman/keys/team.pub"]   # PEM files, or PEM text; P-256 or RSA
/// identities = [{ issuer = "https://accounts.example.com", subject = "*@example.com" }]
/// min_signatures = 1                     # by so many different signers of these; 1 if it is not written
/// annotations = { stage = "production" } # that each of these signatures carries
/// log = "required"                       # signatures by key need an entry in a transparency log, too
/// increasing = "version"                 # this annotation never falls: no way back to an old image
/// signed_as = ["quay.io/upstream/*"]     # repositories that signatures may name; the image's own if it is not written
/// digests = ["sha256:…"]                 # only these images
///
/// [[images]]
/// pattern = "127.0.0.1:5000/trial/*"
/// unsigned = true                        # any image there, by anybody
///
/// [files]
/// users = [0]                            # who may load files of this machine, by number; [] is nobody
///
/// [revoked]
/// keys = ["sha256:…"]                    # fingerprints; also: identities, digests
/// running = "keep"                       # or "detach"
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// The mode, if it is written.
    pub mode: Option<Mode>,
    /// The rules, in order.
    pub rules: Vec<PolicyRule>,
    /// What must not be loaded any more.
    pub revoked: Revoked,
    /// Who may load files.
    pub files: FileRule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    mode: Option<Mode>,
    trusted_root: Option<Spanned<String>>,
    #[serde(default)]
    images: Vec<Spanned<Entry>>,
    files: Option<Files>,
    #[serde(default)]
    revoked: RevokedTable,
    /// Who may do what, which is decided elsewhere.
    #[serde(rename = "access")]
    _access: Option<IgnoredAny>,
    #[serde(rename = "grants")]
    _grants: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    users: Vec<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RevokedTable {
    keys: Vec<Digest>,
    identities: Vec<Spanned<SignedIdentity>>,
    digests: Vec<Digest>,
    running: RevokedRunning,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedIdentity {
    issuer: String,
    subject: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Log {
    Required,
    #[default]
    Optional,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    pattern: String,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    identities: Vec<Spanned<SignedIdentity>>,
    min_signatures: Option<usize>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    log: Option<Log>,
    increasing: Option<String>,
    signed_as: Option<Vec<String>>,
    digests: Option<BTreeSet<Digest>>,
    #[serde(default)]
    unsigned: bool,
}

/// Reads the text of a key file or a trusted root. The daemon's own reader also checks that only root can write the
/// file.
type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<String>;

/// Where in the text an entry begins, for messages.
type LineAt<'a> = &'a dyn Fn(usize) -> usize;

impl PolicyFile {
    /// Parses the text of the file; `read` reads the files that it names.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PolicyError> {
        let document: Document = toml::from_str(text)
            .map_err(|error| PolicyError::Syntax(error.to_string().trim_end().to_owned()))?;
        let line_at = |offset: usize| text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        let root = document.trusted_root.map(|root| trusted_root(&root, &line_at, read)).transpose()?;
        let mut rules = Vec::new();
        for entry in document.images {
            let line = line_at(entry.span().start);
            rules.push(rule(entry.into_inner(), line, &line_at, root.as_ref(), read)?);
        }
        let revoked = Revoked {
            keys: document.revoked.keys.into_iter().collect(),
            identities: identities(document.revoked.identities, &line_at)?,
            digests: document.revoked.digests.into_iter().collect(),
            running: document.revoked.running,
        };
        let files = document.files.map(|files| FileRule::users(files.users)).unwrap_or_default();
        Ok(Self { mode: document.mode, rules, revoked, files })
    }
}

fn trusted_root(
    root: &Spanned<String>,
    line_at: LineAt<'_>,
    read: ReadFile<'_>,
) -> Result<TrustRoot, PolicyError> {
    let (line, name) = (line_at(root.span().start), root.get_ref().clone());
    let wrong = |source| PolicyError::Root { line, name: name.clone(), source };
    if name == trust_root::PUBLIC_GOOD {
        return TrustRoot::public_good().map_err(wrong);
    }
    let path = Path::new(&name);
    if !path.is_absolute() {
        return Err(PolicyError::RootForm { line, name });
    }
    let text = read(path).map_err(|source| PolicyError::File { line, path: path.to_owned(), source })?;
    TrustRoot::from_json(&text).map_err(wrong)
}

fn rule(
    entry: Entry,
    line: usize,
    line_at: LineAt<'_>,
    root: Option<&TrustRoot>,
    read: ReadFile<'_>,
) -> Result<PolicyRule, PolicyError> {
    let pattern: Pattern = entry.pattern.parse().map_err(|source| PolicyError::Pattern { line, source })?;
    let shown = entry.pattern;
    let digests = entry.digests;
    if digests.as_ref().is_some_and(BTreeSet::is_empty) {
        return Err(PolicyError::NoDigest { line, pattern: shown });
    }
    let no_signer = entry.keys.is_empty() && entry.identities.is_empty();
    if entry.unsigned {
        let conditions = entry.min_signatures.is_some()
            || !entry.annotations.is_empty()
            || entry.log.is_some()
            || entry.increasing.is_some()
            || entry.signed_as.is_some();
        if !no_signer || conditions {
            return Err(PolicyError::Contradiction { line, pattern: shown });
        }
        return Ok(PolicyRule { pattern, digests, requirement: Requirement::Unsigned });
    }
    if no_signer {
        return Err(PolicyError::NoSigner { line, pattern: shown });
    }
    let mut keys: Vec<TrustedKey> = Vec::new();
    for text in entry.keys {
        let key = key(text.get_ref(), line_at(text.span().start), read)?;
        // The same key twice must not count as two signers.
        if keys.iter().all(|known| known.fingerprint() != key.fingerprint()) {
            keys.push(key);
        }
    }
    let identities = identities(entry.identities, line_at)?;
    let log_required = entry.log == Some(Log::Required);
    if root.is_none() && (log_required || !identities.is_empty()) {
        return Err(PolicyError::NoRoot { line, pattern: shown });
    }
    let minimum = entry.min_signatures.unwrap_or(1);
    // A pattern of identities may stand for many signers.
    let most = if identities.iter().all(TrustedIdentity::is_exact) {
        keys.len() + identities.len()
    } else {
        usize::MAX
    };
    if minimum == 0 || minimum > most {
        return Err(PolicyError::Minimum { line, pattern: shown, minimum, signers: most });
    }
    let signed_as = entry
        .signed_as
        .map(|patterns| patterns.iter().map(|pattern| pattern.parse()).collect::<Result<Vec<Pattern>, _>>());
    let signed_as = signed_as.transpose().map_err(|source| PolicyError::Pattern { line, source })?;
    if signed_as.as_ref().is_some_and(Vec::is_empty) {
        return Err(PolicyError::NoRepository { line, pattern: shown });
    }
    let signers = Signers {
        keys,
        identities,
        minimum,
        annotations: entry.annotations,
        log_required,
        increasing: entry.increasing,
        signed_as,
        root: root.cloned(),
    };
    Ok(PolicyRule { pattern, digests, requirement: Requirement::Signed(signers) })
}

fn identities(
    entries: Vec<Spanned<SignedIdentity>>,
    line_at: LineAt<'_>,
) -> Result<Vec<TrustedIdentity>, PolicyError> {
    let mut found: Vec<TrustedIdentity> = Vec::new();
    for entry in entries {
        let (line, entry) = (line_at(entry.span().start), entry.into_inner());
        let identity = TrustedIdentity::new(&entry.issuer, &entry.subject)
            .map_err(|source| PolicyError::Identity { line, source })?;
        if !found.contains(&identity) {
            found.push(identity);
        }
    }
    Ok(found)
}

fn key(text: &str, line: usize, read: ReadFile<'_>) -> Result<TrustedKey, PolicyError> {
    if text.trim_start().starts_with("-----BEGIN ") {
        let inline = |source| PolicyError::Key { line, key: "(inline)".to_owned(), source };
        return TrustedKey::from_pem(text).map_err(inline);
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(PolicyError::KeyForm { line, key: text.chars().take(80).collect() });
    }
    let pem = read(path).map_err(|source| PolicyError::File { line, path: path.to_owned(), source })?;
    TrustedKey::from_pem(&pem).map_err(|source| PolicyError::Key { line, key: text.to_owned(), source })
}
