use std::collections::BTreeSet;

use bpfman_image_format::Digest;

use crate::{Signer, TrustedIdentity};

/// Effect of a revocation on running programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedRunning {
    /// Programs stay attached, and are reported.
    #[default]
    Keep,
    /// Links are detached; programs stay loaded, and are reported.
    Detach,
}

/// `[revoked]` table of the policy. It applies in every mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revoked {
    /// Fingerprints of public keys.
    pub keys: BTreeSet<Digest>,
    pub identities: Vec<TrustedIdentity>,
    /// Digests of images, manifests, layers or object files.
    pub digests: BTreeSet<Digest>,
    /// Effect on running programs.
    pub running: RevokedRunning,
}

impl Revoked {
    /// Returns whether this signer is revoked.
    #[must_use]
    pub fn covers(&self, signer: &Signer) -> bool {
        match signer {
            Signer::Key(fingerprint) => self.keys.contains(fingerprint),
            Signer::Identity { issuer, subject } => {
                self.identities.iter().any(|identity| identity.covers(issuer, subject))
            }
        }
    }

    /// Returns whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.identities.is_empty() && self.digests.is_empty()
    }

    /// Returns the reason why a program with this provenance is revoked; `None` if it is not.
    #[must_use]
    pub fn finding(&self, digests: &[Digest], signers: &[Signer]) -> Option<String> {
        if let Some(digest) = digests.iter().find(|digest| self.digests.contains(digest)) {
            return Some(format!("the digest {digest} is revoked"));
        }
        // One revoked signer is enough: the number that the rule required at load time is unknown.
        let bad = signers.iter().find(|signer| self.covers(signer))?;
        Some(format!("the {bad} is revoked"))
    }
}
