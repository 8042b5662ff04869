use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use bpfman_image_format::Digest;
use bpfmand_policy_text::{PolicyTables, ReadTable, TextDefects};
use serde::Deserialize;
use toml::Spanned;

use crate::policy_error::PolicyError;
use crate::{
    FileRule, Mode, Pattern, PolicyRule, Requirement, Revoked, RevokedRunning, Signers, TrustRoot,
    TrustedIdentity, TrustedKey, TrustedKeyError, trust_root,
};

/// Contents of `policy.toml`.
///
/// ```toml
/// mode = "enforce"                       # or "warn", or "off"; default: enforce
/// trusted_root = "public-good"           # for identities and logs: this, or the path of a trusted_root.json
///
/// [[images]]                             # the first entry that covers an image applies
/// pattern = "quay.io/example/*"          # registry/repository, * for any characters; * alone covers all
/// keys = ["/etc/bpfman/keys/team.pub"]   # PEM files, or PEM text; P-256 or RSA
/// identities = [{ issuer = "https://accounts.example.com", subject = "*@example.com" }]
/// min_signatures = 1                     # number of different signers required; default: 1
/// annotations = { stage = "production" } # required in each of these signatures
/// log = "required"                       # signatures by key also need an entry in a transparency log
/// increasing = "version"                 # this annotation must not decrease: no rollback to an old image
/// signed_as = ["quay.io/upstream/*"]     # repositories that signatures may name; default: the image's own
/// digests = ["sha256:…"]                 # only these images
///
/// [[images]]
/// pattern = "127.0.0.1:5000/trial/*"
/// unsigned = true                        # any image there, signed or not
///
/// [files]
/// users = [0]                            # user ids that may load object files of this machine; [] forbids all
///
/// [revoked]
/// keys = ["sha256:…"]                    # fingerprints; also: identities, digests
/// running = "keep"                       # or "detach"
/// ```
#[derive(Clone, Debug, Default)]
pub struct PolicyFile {
    /// Mode, if set.
    pub mode: Option<Mode>,
    /// Rules, in the order of the file.
    pub rules: Vec<PolicyRule>,
    /// Revoked keys, identities and digests.
    pub revoked: Revoked,
    /// Rule about object files of this machine.
    pub files: FileRule,
}

const KEYS: [&str; 5] = ["mode", "trusted_root", "images", "files", "revoked"];
const KEYS_OF_ACCESS: [&str; 2] = ["access", "grants"];

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
    pattern: Spanned<String>,
    #[serde(default)]
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    identities: Vec<Spanned<SignedIdentity>>,
    min_signatures: Option<Spanned<usize>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    log: Option<Log>,
    increasing: Option<String>,
    signed_as: Option<Spanned<Vec<Spanned<String>>>>,
    digests: Option<Spanned<BTreeSet<Digest>>>,
    #[serde(default)]
    unsigned: bool,
}

/// Function that reads a file. The daemon's function also checks that only root can write the file.
type ReadFile<'a> = &'a mut dyn FnMut(&Path) -> io::Result<String>;

impl PolicyFile {
    /// Parses the text of the policy; `read` reads the files that it names. Returns all defects.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, TextDefects> {
        Self::read(text, read, false)
    }

    /// Parses a policy that an earlier version accepted. Keys and roots that can verify nothing are left out:
    /// images that need them are refused, as before.
    pub fn parse_accepted(text: &str, read: ReadFile<'_>) -> Result<Self, TextDefects> {
        Self::read(text, read, true)
    }

    fn read(text: &str, read: ReadFile<'_>, was_accepted: bool) -> Result<Self, TextDefects> {
        let tables = PolicyTables::parse(text);
        let mut reading = RuleReading { tables, read, root: None, names_root: false, was_accepted };
        let mode = reading.tables.take("mode").map(|mode| mode.value);
        if let Some(root) = reading.tables.take::<Spanned<String>>("trusted_root") {
            reading.names_root = true;
            let root = root.value;
            let found = reading.trusted_root(root.get_ref());
            if !(was_accepted && matches!(found, Err(PolicyError::Root { .. }))) {
                reading.root = reading.good(root.span().start, found);
            }
        }
        let entries = reading.tables.take_each::<Entry>("images");
        let rules = entries.into_iter().filter_map(|entry| reading.rule(entry)).collect();
        let files = reading.tables.take::<Files>("files");
        let files = files.map(|files| FileRule::users(files.value.users)).unwrap_or_default();
        let revoked = reading.tables.take::<RevokedTable>("revoked");
        let revoked = revoked.map(|revoked| revoked.value).unwrap_or_default();
        let revoked = Revoked {
            keys: revoked.keys.into_iter().collect(),
            identities: reading.identities(revoked.identities),
            digests: revoked.digests.into_iter().collect(),
            running: revoked.running,
        };
        reading.tables.refuse_others(&KEYS, &KEYS_OF_ACCESS);
        reading.tables.finish().map(|()| Self { mode, rules, revoked, files })
    }
}

struct RuleReading<'t, 'r> {
    tables: PolicyTables<'t>,
    read: ReadFile<'r>,
    root: Option<TrustRoot>,
    names_root: bool,
    was_accepted: bool,
}

impl RuleReading<'_, '_> {
    fn good<T>(&mut self, at: usize, result: Result<T, PolicyError>) -> Option<T> {
        result.map_err(|why| self.tables.found(at, why)).ok()
    }

    fn trusted_root(&mut self, name: &str) -> Result<TrustRoot, PolicyError> {
        let wrong = |source| PolicyError::Root { name: name.to_owned(), source };
        if name == trust_root::PUBLIC_GOOD {
            return Ok(TrustRoot::PublicGood);
        }
        let path = Path::new(name);
        if !path.is_absolute() {
            return Err(PolicyError::RootForm { name: name.to_owned() });
        }
        let text = (self.read)(path).map_err(|source| PolicyError::File { path: path.to_owned(), source })?;
        TrustRoot::from_json(&text).map_err(wrong)
    }

    fn rule(&mut self, ReadTable { value: entry, at, whole }: ReadTable<Entry>) -> Option<PolicyRule> {
        let (pattern_at, shown) = (entry.pattern.span().start, entry.pattern.into_inner());
        let pattern = self.pattern(pattern_at, &shown);
        if let Some(digests) = entry.digests.as_ref().filter(|digests| digests.get_ref().is_empty()) {
            self.tables.found(digests.span().start, PolicyError::NoDigest { pattern: shown.clone() });
        }
        let digests = entry.digests.map(Spanned::into_inner);
        let names_signers = !entry.keys.is_empty() || !entry.identities.is_empty();
        if entry.unsigned {
            let has_conditions = entry.min_signatures.is_some()
                || !entry.annotations.is_empty()
                || entry.log.is_some()
                || entry.increasing.is_some()
                || entry.signed_as.is_some();
            if names_signers || has_conditions {
                self.tables.found(at, PolicyError::Contradiction { pattern: shown });
            }
            return Some(PolicyRule { pattern: pattern?, digests, requirement: Requirement::Unsigned });
        }
        if !names_signers && whole {
            self.tables.found(at, PolicyError::NoSigner { pattern: shown.clone() });
        }
        let known = self.tables.count();
        let mut keys: Vec<TrustedKey> = Vec::new();
        for text in entry.keys {
            let key = key(text.get_ref(), &mut *self.read);
            let is_broken = matches!(key, Err(PolicyError::Key { source: TrustedKeyError::Numbers, .. }));
            if self.was_accepted && is_broken {
                continue;
            }
            let key = self.good(text.span().start, key);
            // The same key twice must not count as two signers.
            keys.extend(key.filter(|key| keys.iter().all(|known| known.fingerprint() != key.fingerprint())));
        }
        let identities = self.identities(entry.identities);
        let log_required = entry.log == Some(Log::Required);
        if !self.names_root && (log_required || !identities.is_empty()) {
            self.tables.found(at, PolicyError::NoRoot { pattern: shown.clone() });
        }
        let (minimum, minimum_at) = match &entry.min_signatures {
            Some(minimum) => (*minimum.get_ref(), minimum.span().start),
            None => (1, at),
        };
        // A pattern of identities may match many signers.
        let most = match identities.iter().all(TrustedIdentity::is_exact) {
            true => keys.len() + identities.len(),
            false => usize::MAX,
        };
        // Signers that cannot be parsed may or may not be different ones.
        let are_known = whole && names_signers && self.tables.count() == known && !self.was_accepted;
        if minimum == 0 || are_known && minimum > most {
            let why = PolicyError::Minimum { pattern: shown.clone(), minimum, signers: most };
            self.tables.found(minimum_at, why);
        }
        let signed_as = entry.signed_as.map(|patterns| {
            if patterns.get_ref().is_empty() {
                let why = PolicyError::NoRepository { pattern: shown.clone() };
                self.tables.found(patterns.span().start, why);
            }
            let patterns = patterns.into_inner().into_iter();
            patterns.filter_map(|one| self.pattern(one.span().start, one.get_ref())).collect()
        });
        let signers = Signers {
            keys,
            identities,
            minimum,
            annotations: entry.annotations,
            log_required,
            increasing: entry.increasing,
            signed_as,
            root: self.root.clone(),
        };
        Some(PolicyRule { pattern: pattern?, digests, requirement: Requirement::Signed(signers) })
    }

    fn pattern(&mut self, at: usize, text: &str) -> Option<Pattern> {
        self.good(at, text.parse().map_err(|source| PolicyError::Pattern { source }))
    }

    fn identities(&mut self, entries: Vec<Spanned<SignedIdentity>>) -> Vec<TrustedIdentity> {
        let mut found: Vec<TrustedIdentity> = Vec::new();
        for entry in entries {
            let (at, entry) = (entry.span().start, entry.into_inner());
            let identity = TrustedIdentity::new(&entry.issuer, &entry.subject);
            let identity = self.good(at, identity.map_err(|source| PolicyError::Identity { source }));
            found.extend(identity.filter(|identity| !found.contains(identity)));
        }
        found
    }
}

fn key(text: &str, read: ReadFile<'_>) -> Result<TrustedKey, PolicyError> {
    if text.trim_start().starts_with("-----BEGIN ") {
        let inline = |source| PolicyError::Key { key: "(inline)".to_owned(), source };
        return TrustedKey::from_pem(text).map_err(inline);
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(PolicyError::KeyForm {
            key: text.chars().take(80).flat_map(char::escape_debug).collect(),
        });
    }
    let pem = read(path).map_err(|source| PolicyError::File { path: path.to_owned(), source })?;
    TrustedKey::from_pem(&pem).map_err(|source| PolicyError::Key { key: text.to_owned(), source })
}
