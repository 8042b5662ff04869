use std::collections::BTreeSet;

use bpfman_image_format::{Digest, ImageReference};
use serde::{Deserialize, Serialize};

use crate::{FileRule, ImageError, Pattern, PolicyFile, Revoked, Signers};

/// Mode in which the rules apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Images that no rule allows are refused. The default, also without a policy file.
    #[default]
    Enforce,
    /// Images that no rule allows are loaded, with a warning in the log and in the program's record.
    Warn,
    /// Signatures are neither fetched nor verified.
    Off,
}

/// The two keys of the `[signing]` table of v0.6.0, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LegacySigning {
    pub verify_enabled: Option<bool>,
    pub allow_unsigned: Option<bool>,
}

impl LegacySigning {
    /// Returns the mode of these keys; `None` if they set none: unlike in v0.6.0, only explicit keys relax.
    #[must_use]
    pub fn mode(self) -> Option<Mode> {
        match (self.verify_enabled, self.allow_unsigned) {
            (Some(false), _) => Some(Mode::Off),
            (_, Some(true)) => Some(Mode::Warn),
            (_, Some(false)) => Some(Mode::Enforce),
            (_, None) => None,
        }
    }
}

/// The signature policy in force.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    mode: Mode,
    rules: Vec<PolicyRule>,
    revoked: Revoked,
    files: FileRule,
}

/// One `[[images]]` entry.
#[derive(Clone, Debug)]
pub struct PolicyRule {
    /// Repositories that the rule covers.
    pub pattern: Pattern,
    /// Only these images, by the digest of index or manifest; `None` allows all.
    pub digests: Option<BTreeSet<Digest>>,
    /// Signatures that the images need.
    pub requirement: Requirement,
}

/// Requirement of a rule.
#[derive(Clone, Debug)]
pub enum Requirement {
    Signed(Signers),
    /// No signature: `unsigned = true` is set.
    Unsigned,
}

/// Decision of the policy about one image.
#[derive(Clone, Copy, Debug)]
pub enum PolicyDecision<'a> {
    /// The rule applies.
    Rule(&'a PolicyRule),
    /// No rule covers the image, and the mode is `warn`.
    Uncovered,
    /// The mode is `off`.
    Off,
}

impl Policy {
    /// Returns the effective policy: the policy file takes precedence over the keys of v0.6.0, these over `enforce`.
    #[must_use]
    pub fn resolve(file: Option<PolicyFile>, legacy: LegacySigning) -> Self {
        let file = file.unwrap_or_default();
        let mode = file.mode.or(legacy.mode()).unwrap_or_default();
        Self { mode, rules: file.rules, revoked: file.revoked, files: file.files }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// Returns the revoked keys, identities and digests.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Returns the rule about object files of this machine.
    #[must_use]
    pub fn files(&self) -> &FileRule {
        &self.files
    }

    /// Returns the decision of the first rule that covers `image`. Called first: a refusal needs no connection.
    pub fn decide(&self, image: &ImageReference) -> Result<PolicyDecision<'_>, ImageError> {
        if let Some(digest) = image.digest() {
            self.check_digest(image, digest)?;
        }
        if self.mode == Mode::Off {
            return Ok(PolicyDecision::Off);
        }
        match self.rules.iter().find(|rule| rule.pattern.covers(image)) {
            Some(rule) => Ok(PolicyDecision::Rule(rule)),
            None if self.mode == Mode::Warn => Ok(PolicyDecision::Uncovered),
            None => Err(ImageError::NoRule { image: image.to_string(), pattern: image.name() }),
        }
    }

    pub(crate) fn check_digest(&self, image: &ImageReference, digest: Digest) -> Result<(), ImageError> {
        if self.revoked.digests.contains(&digest) {
            return Err(ImageError::Revoked { image: image.to_string(), digest });
        }
        Ok(())
    }
}
