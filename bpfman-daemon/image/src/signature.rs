//! Signatures in the form of the registry: stored in the cache, verified again at every load.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Signature {
    SimpleSigning {
        /// Signed document.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        payload: Vec<u8>,
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        signature: Vec<u8>,
        /// Proof of the time, and of the identity of a signer without a key.
        #[serde(default)]
        material: Material,
    },
    Bundle {
        /// Exact bytes of the bundle.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        json: Vec<u8>,
    },
}

impl Signature {
    /// Returns the approximate size of all parts, in bytes.
    pub(crate) fn size(&self) -> usize {
        let text = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        match self {
            Self::SimpleSigning { payload, signature, material } => {
                let Material { certificate, chain, log, timestamp } = material;
                payload.len()
                    + signature.len()
                    + text(certificate)
                    + text(chain)
                    + text(log)
                    + text(timestamp)
            }
            Self::Bundle { json } => json.len(),
        }
    }
}

/// Annotations that cosign adds to a simple signing payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Material {
    /// Certificate of the signer, PEM.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// Intermediate certificates, PEM.
    #[serde(default)]
    pub(crate) chain: Option<String>,
    /// Signed promise of the log to include the entry, JSON.
    #[serde(default)]
    pub(crate) log: Option<String>,
    /// Token of a timestamp authority, JSON.
    #[serde(default)]
    pub(crate) timestamp: Option<String>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
