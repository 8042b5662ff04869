use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Signature, not verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Signature {
    /// Signature over a payload in cosign's older format.
    SimpleSigning {
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        payload: Vec<u8>,
        /// Bytes of the signature.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        signature: Vec<u8>,
        /// Proof of the time, and of the identity of a signer without a key.
        #[serde(default)]
        material: Material,
    },
    /// Signature in Sigstore's bundle format.
    Bundle {
        /// Exact bytes of the bundle.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        json: Vec<u8>,
    },
}

impl Signature {
    /// Returns the approximate size of all parts, in bytes.
    pub fn size(&self) -> usize {
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
pub struct Material {
    /// Certificate of the signer, PEM.
    #[serde(default)]
    pub certificate: Option<String>,
    /// Intermediate certificates, PEM.
    #[serde(default)]
    pub chain: Option<String>,
    /// Signed promise of the log to include the entry, JSON.
    #[serde(default)]
    pub log: Option<String>,
    /// Token of a timestamp authority, JSON.
    #[serde(default)]
    pub timestamp: Option<String>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
