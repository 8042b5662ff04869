//! Signatures of one image, as the registry holds them: kept in the cache, verified again at every load.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(crate) enum Signature {
    /// A simple signing payload with a signature over its exact bytes.
    SimpleSigning {
        /// The signed document.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        payload: Vec<u8>,
        /// The signature.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        signature: Vec<u8>,
        /// What vouches for a signer without a key of their own, and for the time.
        #[serde(default)]
        material: Material,
    },
    /// A Sigstore bundle: JSON that holds everything.
    Bundle {
        /// Its exact bytes.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        json: Vec<u8>,
    },
}

impl Signature {
    /// Bytes of all its parts, more or less.
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

/// The annotations that cosign puts beside a simple signing payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Material {
    /// The signer's certificate, PEM.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// Certificates between it and the authority, PEM.
    #[serde(default)]
    pub(crate) chain: Option<String>,
    /// The log's promise that it has the entry, JSON.
    #[serde(default)]
    pub(crate) log: Option<String>,
    /// A timestamp authority's token, JSON.
    #[serde(default)]
    pub(crate) timestamp: Option<String>,
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
