//! Which signatures an image needs before its bytecode may run.

use std::collections::BTreeSet;

use bpfman_image_format::{Digest, ImageReference};
use serde::{Deserialize, Serialize};

use crate::{FileRule, ImageError, Pattern, PolicyFile, Revoked, Signers};

/// How the rules are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What no rule allows is refused. The default, and the meaning of an absent file.
    #[default]
    Enforce,
    /// What no rule allows is loaded, with a warning in the log and in the program's record.
    Warn,
    /// Signatures are neither fetched nor looked at.
    Off,
}

/// The two keys of v0.6.0's `[signing]` table, where they were written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LegacySigning {
    /// `verify_enabled`.
    pub verify_enabled: Option<bool>,
    /// `allow_unsigned`.
    pub allow_unsigned: Option<bool>,
}

impl LegacySigning {
    /// The mode that these keys ask for; none if they were not written or ask for the strictest.
    ///
    /// v0.6.0 took absent keys as "verify, but allow unsigned". Here only what root wrote out loosens anything.
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
    /// The repositories it is about.
    pub pattern: Pattern,
    /// Only these images, by the digest of index or manifest; none if any will do.
    pub digests: Option<BTreeSet<Digest>>,
    /// What their images need.
    pub requirement: Requirement,
}

/// What a rule demands.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Signatures.
    Signed(Signers),
    /// Nothing: `unsigned = true` was written out.
    Unsigned,
}

/// What the policy says about one image.
#[derive(Clone, Copy, Debug)]
pub enum PolicyDecision<'a> {
    /// This rule decides.
    Rule(&'a PolicyRule),
    /// No rule covers it, and the mode is `warn`.
    Uncovered,
    /// The mode is `off`.
    Off,
}

impl Policy {
    /// The policy of this machine: the policy file, where there is one, over v0.6.0's keys, over `enforce`.
    #[must_use]
    pub fn resolve(file: Option<PolicyFile>, legacy: LegacySigning) -> Self {
        let file = file.unwrap_or_default();
        let mode = file.mode.or(legacy.mode()).unwrap_or_default();
        Self { mode, rules: file.rules, revoked: file.revoked, files: file.files }
    }

    /// How the rules are applied.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// What must not be loaded any more.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Who may load files of this machine.
    #[must_use]
    pub fn files(&self) -> &FileRule {
        &self.files
    }

    /// The first rule, in the order of the file, that covers `image` decides.
    ///
    /// Asked before any traffic: an image that no rule covers is refused without a connection.
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

    /// Refuses what is revoked, in every mode.
    pub(crate) fn check_digest(&self, image: &ImageReference, digest: Digest) -> Result<(), ImageError> {
        if self.revoked.digests.contains(&digest) {
            return Err(ImageError::Revoked { image: image.to_string(), digest });
        }
        Ok(())
    }
}
