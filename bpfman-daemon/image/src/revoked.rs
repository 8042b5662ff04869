//! What must not be loaded any more, whoever signed it.

use std::collections::BTreeSet;

use bpfman_image_format::Digest;

use crate::{Signer, TrustedIdentity};

/// What becomes of programs that run already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedRunning {
    /// They run on, and are reported.
    #[default]
    Keep,
    /// Their links are detached; they stay loaded, and are reported.
    Detach,
}

/// The `[revoked]` table of the policy. It counts in every mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revoked {
    /// Keys, by the fingerprint of their public half.
    pub keys: BTreeSet<Digest>,
    /// Identities.
    pub identities: Vec<TrustedIdentity>,
    /// Images, manifests, layers or object files, by digest.
    pub digests: BTreeSet<Digest>,
    /// What becomes of running programs.
    pub running: RevokedRunning,
}

impl Revoked {
    /// True if signatures of this signer count no more.
    #[must_use]
    pub fn covers(&self, signer: &Signer) -> bool {
        match signer {
            Signer::Key(fingerprint) => self.keys.contains(fingerprint),
            Signer::Identity { issuer, subject } => {
                self.identities.iter().any(|identity| identity.covers(issuer, subject))
            }
        }
    }

    /// True if nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.identities.is_empty() && self.digests.is_empty()
    }

    /// Why a program with this provenance should not run any more; none if it may.
    #[must_use]
    pub fn finding(&self, digests: &[Digest], signers: &[Signer]) -> Option<String> {
        if let Some(digest) = digests.iter().find(|digest| self.digests.contains(digest)) {
            return Some(format!("the digest {digest} is revoked"));
        }
        // One is enough: how many others the rule wanted then is not known any more.
        let bad = signers.iter().find(|signer| self.covers(signer))?;
        Some(format!("the {bad} is revoked"))
    }
}
