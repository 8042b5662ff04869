use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of Sigstore's public instance in `trusted_root`, with its keys as of the worker's build.
pub const PUBLIC_GOOD: &str = "public-good";

/// Media types of the format, of each version.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// Trusted root: certificate authorities, transparency logs, timestamp authorities. Configured, never fetched. The worker
/// parses certificates and keys: a root that has none verifies nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustRoot {
    /// Root of Sigstore's public instance. Its keys change about once a year, and are as old as the worker's build.
    PublicGood,
    /// Text in the format `trusted_root.json`.
    Json(String),
}

/// Error: the text is not a trusted root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Sigstore trusted root (trusted_root.json): {0}")]
pub struct TrustRootError(pub String);

impl TrustRoot {
    /// Takes a text in the JSON format of `cosign trusted-root create` and of Sigstore's own repository.
    ///
    /// # Errors
    /// Fails if the text is of another format, or names neither a certificate authority nor a log.
    pub fn from_json(text: &str) -> Result<Self, TrustRootError> {
        let root: Value = serde_json::from_str(text).map_err(|error| TrustRootError(error.to_string()))?;
        let media_type = root["mediaType"].as_str().unwrap_or_default();
        if !media_type.starts_with(MEDIA_TYPE) {
            return Err(TrustRootError(format!("its mediaType is {media_type:?}")));
        }
        let has = |name: &str| root[name].as_array().is_some_and(|list| !list.is_empty());
        // An empty root could verify nothing: it is a mistake.
        if !has("certificateAuthorities") && !has("tlogs") {
            return Err(TrustRootError("it names no certificate authority and no log".to_owned()));
        }
        Ok(Self::Json(text.to_owned()))
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
    fn other_texts_are_no_trusted_root() {
        let root =
            r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}"#;
        assert!(TrustRoot::from_json(root).is_ok());
        for text in ["", "[]", "{}", &root.replace("[{}]", "[]"), &root.replace("trustedroot", "bundle")] {
            assert!(TrustRoot::from_json(text).is_err(), "{text}");
        }
    }
}
