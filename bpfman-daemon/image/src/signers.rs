//! Signers that a rule accepts, and checks of the signers that a worker counted.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_image_format::ImageReference;
use serde::{Deserialize, Serialize};

use crate::{Pattern, Revoked, Signed, Signer, TrustRoot, TrustedIdentity, TrustedKey};

/// Signers that a rule accepts, and how many it requires.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signers {
    pub keys: Vec<TrustedKey>,
    /// Accepted identities, which require a trusted root.
    pub identities: Vec<TrustedIdentity>,
    /// Required number of different signers, at least 1.
    pub minimum: usize,
    /// Annotations that each counted signature must carry.
    pub annotations: BTreeMap<String, String>,
    /// Set if signatures by key need an entry in a transparency log. Those by identity always need one.
    pub log_required: bool,
    /// Name of the annotation that must not decrease from one load of a repository to the next.
    pub increasing: Option<String>,
    /// Repositories that signatures may name. `None`: the image's own, and signatures that name none count as well.
    pub signed_as: Option<Vec<Pattern>>,
    /// Trusted root for identities and log entries.
    pub root: Option<TrustRoot>,
}

/// Signers that a worker counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedSigners {
    pub signers: Vec<Signer>,
    /// Latest time of the counted signatures, if one is proved, in seconds since 1970.
    pub signed_at: Option<i64>,
    /// Values of the `increasing` annotation in the counted signatures.
    pub versions: BTreeSet<String>,
    /// Further signed content, without the version.
    pub signed: Signed,
    /// Places of the counted signatures in the list.
    pub places: BTreeSet<usize>,
}

impl CountedSigners {
    /// Returns why this result cannot follow from the rule and `seen` signatures: the verifier is then faulty.
    pub fn contradicts(
        &self,
        rule: &Signers,
        image: &ImageReference,
        revoked: &Revoked,
        seen: usize,
    ) -> Option<&'static str> {
        let counts = |signer| rule.names(signer) && !revoked.covers(signer);
        let different: BTreeSet<&Signer> = self.signers.iter().collect();
        let takes = |name: &String| rule.takes_repository(image, Some(name));
        let wrong = [
            (different.is_empty() || different.len() < rule.minimum, "too few signers"),
            (!different.into_iter().all(counts), "a signer that the rule does not count"),
            (!self.signed.repositories.iter().all(takes), "a repository that the rule does not take"),
            (self.places.iter().any(|place| *place >= seen), "a signature that is not there"),
        ];
        wrong.into_iter().find_map(|(wrong, why)| wrong.then_some(why))
    }
}

impl Signers {
    /// Returns whether signatures that name this repository, or none, count for an image.
    pub fn takes_repository(&self, image: &ImageReference, written: Option<&str>) -> bool {
        let named = written.and_then(|written| written.parse::<ImageReference>().ok());
        match (&self.signed_as, written) {
            (None, None) => true,
            (None, Some(_)) => named.is_some_and(|named| named.name() == image.name()),
            (Some(patterns), _) => patterns.iter().any(|pattern| {
                pattern.covers_all() || named.as_ref().is_some_and(|named| pattern.covers(named))
            }),
        }
    }

    /// Returns whether the rule names this signer.
    pub fn names(&self, signer: &Signer) -> bool {
        match signer {
            Signer::Key(fingerprint) => self.keys.iter().any(|key| key.fingerprint() == *fingerprint),
            Signer::Identity { issuer, subject } => {
                self.identities.iter().any(|identity| identity.covers(issuer, subject))
            }
        }
    }
}
