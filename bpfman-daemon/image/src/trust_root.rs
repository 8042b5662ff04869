use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::der::{KeyShape, is_der_sequence};

/// Name of Sigstore's public instance in `trusted_root`, with its keys as of the worker's build.
pub const PUBLIC_GOOD: &str = "public-good";

/// Media types of the format, of each version.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

const HASHES: [&str; 9] =
    ["sha2_256", "sha2_384", "sha2_512", "sha256", "sha384", "sha512", "sha-256", "sha-384", "sha-512"];
/// Bytes of a log's id.
const ID: usize = 32;

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
    /// Fails if the text has another format or an invalid part, or names no certificate authority and no log.
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
        if let Some(mistake) = wrong_field(&root) {
            return Err(TrustRootError(mistake));
        }
        Ok(Self::Json(text.to_owned()))
    }
}

/// Returns the first field for which the worker would later refuse the whole root.
fn wrong_field(root: &Value) -> Option<String> {
    let each = |list: &'static str| {
        let entries = root[list].as_array().into_iter().flatten().enumerate();
        entries.map(move |(place, entry)| (format!("{list}[{place}]"), entry))
    };
    for (place, authority) in each("certificateAuthorities") {
        if !authority["uri"].is_string() {
            return Some(format!("{place}.uri is missing"));
        }
    }
    for (place, log) in each("tlogs").chain(each("ctlogs")) {
        let fields = [("/baseUrl", ".baseUrl"), ("/publicKey/keyDetails", ".publicKey.keyDetails")];
        if let Some((_, name)) = fields.iter().find(|(at, _)| !log.pointer(at).is_some_and(Value::is_string))
        {
            return Some(format!("{place}{name} is missing"));
        }
        let algorithm = &log["hashAlgorithm"];
        if !algorithm.as_str().is_some_and(|name| HASHES.contains(&name.to_lowercase().as_str())) {
            return Some(format!(
                "{place}.hashAlgorithm is {algorithm}: expected one of {}",
                HASHES.join(", ")
            ));
        }
        if decoded(&log["logId"]["keyId"]).is_none() {
            return Some(format!("{place}.logId.keyId is missing, or no base64"));
        }
    }
    // The worker skips keys of algorithms that it does not know, with their ids.
    let is_known = |log: &&Value| {
        let key = decoded(&log["publicKey"]["rawBytes"]).map(|key| KeyShape::of(&key));
        matches!(key, Some(KeyShape::P256 | KeyShape::Rsa))
    };
    let mut ids = Vec::new();
    for (place, log) in each("tlogs").filter(|(_, log)| is_known(log)) {
        let id = decoded(&log["logId"]["keyId"]).unwrap_or_default();
        if id.len() != ID {
            return Some(format!("{place}.logId.keyId has {} bytes and not {ID}", id.len()));
        }
        if ids.contains(&id) {
            return Some(format!("{place}.logId.keyId is that of another log, too"));
        }
        ids.push(id);
    }
    let lists = ["certificateAuthorities", "timestampAuthorities"].into_iter().flat_map(&each);
    let keys = ["tlogs", "ctlogs"].into_iter().flat_map(&each);
    let keys = keys.map(|(place, log)| (format!("{place}.publicKey"), &log["publicKey"]));
    lists.chain(keys).find_map(|(place, entry)| {
        let period = &entry["validFor"];
        (!period.is_null() && !period["start"].is_string()).then(|| format!("{place}.validFor has no start"))
    })
}

fn raw_bytes(value: &Value) -> Option<Vec<u8>> {
    decoded(&value["rawBytes"])
}

/// Decodes both alphabets, with or without padding, as the worker does.
fn decoded(text: &Value) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.as_str()?;
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

    const LOG: &str = r#"{"baseUrl":"https://log","hashAlgorithm":"SHA2_256","logId":{"keyId":"AQ"},
        "publicKey":{"rawBytes":"MAEA","keyDetails":"OTHER"}}"#;
    const AUTHORITY: &str = r#"{"uri":"https://ca","certChain":{"certificates":[{"rawBytes":"MAI_-w"}]}}"#;

    fn root(lists: &str) -> String {
        format!(r#"{{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",{lists}}}"#)
    }

    #[test]
    fn other_texts_are_no_trusted_root() {
        let root = root(&format!(r#""tlogs":[{LOG}]"#));
        assert!(TrustRoot::from_json(&root).is_ok());
        let empty = root.replace(LOG, "");
        for text in ["", "[]", "{}", &empty, &root.replace("trustedroot", "bundle")] {
            assert!(TrustRoot::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn roots_are_taken_as_the_worker_reads_them() {
        for lists in [
            format!(r#""tlogs":[{LOG}],"timestampAuthorities":[{{"certChain":{{"certificates":[]}}}}]"#),
            format!(r#""tlogs":[{},{LOG}]"#, LOG.replace("MAEA", "-_8")),
            format!(r#""certificateAuthorities":[{AUTHORITY}]"#),
        ] {
            assert_eq!(TrustRoot::from_json(&root(&lists)).map(drop), Ok(()), "{lists}");
        }
    }

    #[test]
    fn place_without_certificate_or_key_is_named() {
        for (lists, place) in [
            (r#""tlogs":[{}]"#.to_owned(), "tlogs[0].publicKey"),
            (format!(r#""tlogs":[{LOG}],"ctlogs":[{LOG},{{}}]"#), "ctlogs[1].publicKey"),
            (format!(r#""tlogs":[{}]"#, LOG.replace("MAEA", "M*E")), "tlogs[0].publicKey"),
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

    #[test]
    fn field_that_the_worker_needs_is_named() {
        const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n\
                            60p8D54WK84zV2sxXs7LtkBoN79R9Q==";
        let known = LOG.replace("MAEA", P256);
        let whole = known.replace("\"AQ\"", &format!("\"{}\"", "A".repeat(43)));
        assert!(TrustRoot::from_json(&root(&format!(r#""tlogs":[{whole}]"#))).is_ok());
        for (lists, says) in [
            (format!(r#""tlogs":[{}]"#, LOG.replace("baseUrl", "url")), "tlogs[0].baseUrl is missing"),
            (
                format!(r#""ctlogs":[{}],"tlogs":[{LOG}]"#, LOG.replace("logId", "id")),
                "ctlogs[0].logId.keyId is",
            ),
            (format!(r#""tlogs":[{}]"#, LOG.replace("\"AQ\"", "7")), "tlogs[0].logId.keyId is"),
            (format!(r#""tlogs":[{}]"#, LOG.replace("SHA2_256", "MD5")), "tlogs[0].hashAlgorithm is \"MD5\""),
            (
                format!(r#""tlogs":[{}]"#, LOG.replace("keyDetails", "details")),
                "tlogs[0].publicKey.keyDetails is",
            ),
            (format!(r#""tlogs":[{known}]"#), "tlogs[0].logId.keyId has 1 bytes"),
            (format!(r#""tlogs":[{whole},{whole}]"#), "tlogs[1].logId.keyId is that of another log"),
            (
                format!(r#""certificateAuthorities":[{}]"#, AUTHORITY.replace("uri", "url")),
                "certificateAuthorities[0].uri",
            ),
            (
                format!(
                    r#""certificateAuthorities":[{}]"#,
                    AUTHORITY.replace("\"uri\"", "\"validFor\":{},\"uri\"")
                ),
                "certificateAuthorities[0].validFor has no start",
            ),
        ] {
            let error = TrustRoot::from_json(&root(&lists)).unwrap_err().0;
            assert!(error.starts_with(says), "{error}");
        }
    }
}
