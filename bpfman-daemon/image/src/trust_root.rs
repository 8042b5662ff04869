use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::der::is_der_sequence;

/// Name of Sigstore's public instance in `trusted_root`, with its keys as of the worker's build.
pub const PUBLIC_GOOD: &str = "public-good";

/// Media types of the format, of each version.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// Trusted root: certificate authorities, transparency logs, timestamp authorities. Configured, never fetched. The worker
/// parses certificates and keys.
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
        if let Some(place) = broken_place(&root) {
            return Err(TrustRootError(format!(
                "{place} is neither a certificate nor a key (DER, in base64)"
            )));
        }
        Ok(Self::Json(text.to_owned()))
    }
}

/// Decodes both alphabets, with or without padding, as the worker does.
fn raw_bytes(value: &Value) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = value["rawBytes"].as_str()?;
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE)).filter(|bytes| !bytes.is_empty())
}

fn broken_place(root: &Value) -> Option<String> {
    let is_der = |value: &Value| raw_bytes(value).is_some_and(|der| is_der_sequence(&der));
    let each = |list: &str| root[list].as_array().into_iter().flatten().enumerate();
    for list in ["certificateAuthorities", "timestampAuthorities"] {
        for (place, authority) in each(list) {
            let place = format!("{list}[{place}].certChain.certificates");
            // The worker skips a timestamp authority whose list of certificates is empty.
            let may_be_empty = list == "timestampAuthorities";
            let Some(chain) = authority["certChain"]["certificates"]
                .as_array()
                .filter(|chain| may_be_empty || !chain.is_empty())
            else {
                return Some(place);
            };
            if let Some(one) = chain.iter().position(|certificate| !is_der(certificate)) {
                return Some(format!("{place}[{one}]"));
            }
        }
    }
    let mut logs = ["tlogs", "ctlogs"].into_iter().flat_map(|list| each(list).map(move |log| (list, log)));
    // The worker skips keys of algorithms that it does not know.
    let (list, (place, _)) = logs.find(|(_, (_, log))| raw_bytes(&log["publicKey"]).is_none())?;
    Some(format!("{list}[{place}].publicKey"))
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustRoot(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"publicKey":{"rawBytes":"MAEA"}}"#;

    fn root(lists: &str) -> String {
        format!(r#"{{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",{lists}}}"#)
    }

    #[test]
    fn other_texts_are_no_trusted_root() {
        let root = root(&format!(r#""tlogs":[{KEY}]"#));
        assert!(TrustRoot::from_json(&root).is_ok());
        let empty = root.replace(KEY, "");
        for text in ["", "[]", "{}", &empty, &root.replace("trustedroot", "bundle")] {
            assert!(TrustRoot::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn roots_are_taken_as_the_worker_reads_them() {
        for lists in [
            format!(r#""tlogs":[{KEY}],"timestampAuthorities":[{{"certChain":{{"certificates":[]}}}}]"#),
            r#""tlogs":[{"publicKey":{"rawBytes":"-_8"}}]"#.to_owned(),
            r#""certificateAuthorities":[{"certChain":{"certificates":[{"rawBytes":"MAI_-w"}]}}]"#.to_owned(),
        ] {
            assert!(TrustRoot::from_json(&root(&lists)).is_ok(), "{lists}");
        }
    }

    #[test]
    fn place_without_certificate_or_key_is_named() {
        for (lists, place) in [
            (r#""tlogs":[{}]"#.to_owned(), "tlogs[0].publicKey"),
            (format!(r#""tlogs":[{KEY}],"ctlogs":[{KEY},{{}}]"#), "ctlogs[1].publicKey"),
            (format!(r#""tlogs":[{}]"#, KEY.replace("MAEA", "M*E")), "tlogs[0].publicKey"),
            (r#""certificateAuthorities":[{}]"#.to_owned(), "certificateAuthorities[0].certChain.certificates"),
            (
                r#""certificateAuthorities":[{"certChain":{"certificates":[{"rawBytes":"MAEA"},{"rawBytes":"x"}]}}]"#
                    .to_owned(),
                "certificateAuthorities[0].certChain.certificates[1]",
            ),
        ] {
            let error = TrustRoot::from_json(&root(&lists)).unwrap_err().0;
            assert!(error.starts_with(&format!("{place} is neither")), "{error}");
        }
    }
}
