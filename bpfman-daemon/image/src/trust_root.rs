//! Trusted roots: certificate authorities and transparency logs that verify keyless signatures.

use std::fmt;
use std::sync::Arc;

use bpfman_image_format::causes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

/// Name of Sigstore's public instance in `trusted_root`, with its keys as of the daemon's build.
pub const PUBLIC_GOOD: &str = "public-good";

/// Trusted root: certificate authorities, transparency logs, timestamp authorities. Configured, never fetched.
#[derive(Clone)]
pub struct TrustRoot {
    verifier: Arc<Verifier>,
    /// False for private roots without a certificate log: their certificates carry no SCT.
    has_certificate_log: bool,
    json: Arc<str>,
}

/// Error: the text is not a trusted root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Sigstore trusted root (trusted_root.json): {0}")]
pub struct TrustRootError(pub String);

impl TrustRoot {
    /// Parses the JSON format of `cosign trusted-root create` and of Sigstore's own repository.
    pub fn from_json(text: &str) -> Result<Self, TrustRootError> {
        let failed = |error: &dyn std::error::Error| TrustRootError(causes(error));
        let root = TrustedRoot::from_json(text).map_err(|error| failed(&error))?;
        // An empty root could verify nothing: it is a mistake.
        if root.certificate_authorities.is_empty() && root.tlogs.is_empty() {
            return Err(TrustRootError("it names no certificate authority and no log".to_owned()));
        }
        let verifier = Verifier::new(&root).map_err(|error| failed(&error))?;
        Ok(Self {
            verifier: Arc::new(verifier),
            has_certificate_log: !root.ctlogs.is_empty(),
            json: text.into(),
        })
    }

    /// Returns the root of Sigstore's public instance. Its keys change about once a year, and are as old as this build.
    pub fn public_good() -> Result<Self, TrustRootError> {
        Self::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT)
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) const fn has_certificate_log(&self) -> bool {
        self.has_certificate_log
    }
}

impl Serialize for TrustRoot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.json)
    }
}

impl<'de> Deserialize<'de> for TrustRoot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustRoot(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_root_is_one_and_other_texts_are_not() {
        assert!(TrustRoot::public_good().unwrap().has_certificate_log());
        for text in
            ["", "[]", "{}", r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#]
        {
            assert!(TrustRoot::from_json(text).is_err(), "{text}");
        }
    }
}
