//! Private keys in cosign's form: PKCS#8, encrypted by a password (scrypt, then NaCl's secretbox), as JSON in PEM.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;

pub(crate) const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

const KEY: usize = 32;
const TAG: usize = 16;
/// Maximum memory for scrypt, in bytes; cosign's parameters need 64 MiB.
const MAX_MEMORY: u64 = 256 << 20;
const MAX_PARALLEL: u32 = 16;

/// Reason why a cosign key cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CosignKeyError {
    #[error("it is sealed by a password, and none was given")]
    NoPassword,
    #[error("it is not sealed as cosign seals keys, by scrypt and nacl/secretbox")]
    Form,
    #[error("the password does not open it, or it is damaged")]
    WrongPassword,
}

#[derive(Deserialize)]
pub(crate) struct SealedKey {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: ScryptParameters,
    salt: String,
}

#[derive(Clone, Copy, Deserialize)]
struct ScryptParameters {
    #[serde(rename = "N")]
    cost: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl SealedKey {
    pub(crate) fn read(document: &[u8]) -> Result<Self, CosignKeyError> {
        let sealed: Self = serde_json::from_slice(document).map_err(|_| CosignKeyError::Form)?;
        let ScryptParameters { cost, r, p } = sealed.kdf.params;
        let memory = cost.checked_mul(128).and_then(|bytes| bytes.checked_mul(r.into()));
        let fits = cost.is_power_of_two()
            && cost > 1
            && r > 0
            && memory.is_some_and(|bytes| bytes <= MAX_MEMORY)
            && (1..=MAX_PARALLEL).contains(&p);
        let is_known = sealed.kdf.name == "scrypt" && sealed.cipher.name == "nacl/secretbox";
        if is_known && fits { Ok(sealed) } else { Err(CosignKeyError::Form) }
    }

    pub(crate) fn open(&self, password: &str) -> Result<Vec<u8>, CosignKeyError> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| CosignKeyError::Form);
        let (salt, content) = (decode(&self.kdf.salt)?, decode(&self.ciphertext)?);
        let nonce: [u8; 24] = decode(&self.cipher.nonce)?.try_into().map_err(|_| CosignKeyError::Form)?;
        let ScryptParameters { cost, r, p } = self.kdf.params;
        let log_cost = u8::try_from(cost.trailing_zeros()).map_err(|_| CosignKeyError::Form)?;
        let parameters = scrypt::Params::new(log_cost, r, p).map_err(|_| CosignKeyError::Form)?;
        let mut key = [0; KEY];
        let derived = scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut key);
        derived.map_err(|_| CosignKeyError::Form)?;
        open_box(key, nonce, &content).ok_or(CosignKeyError::WrongPassword)
    }
}

/// Decrypts NaCl's `secretbox`: a Poly1305 tag, keyed by the first 32 bytes of stream, then XSalsa20 text.
fn open_box(key: [u8; KEY], nonce: [u8; 24], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, content) = sealed.split_at_checked(TAG)?;
    let mut stream = XSalsa20::new(&key.into(), &nonce.into());
    let mut tag_key = [0; KEY];
    stream.apply_keystream(&mut tag_key);
    let found = Poly1305::new(&tag_key.into()).compute_unpadded(content);
    // Constant time is not needed: an attacker who could measure it has the key file and the password.
    if found.as_slice() != tag {
        return None;
    }
    let mut content = content.to_vec();
    stream.apply_keystream(&mut content);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyError, SigningKey};
    use bpfman_image_format::pem;

    const SEALED: &str = r#"{"kdf":{"name":"scrypt","params":{"N":1024,"r":8,"p":1},"salt":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},"cipher":{"name":"nacl/secretbox","nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"},"ciphertext":"BUY4ShPXqRtrryDncinNMVjL0R9LGgVpP4HFwSefNqjrv6YqNpN0woHj3HcXN/Bz3x2W8m9b2I4ouNDJef30Vzn+18ptdhLgKOdxfUjtolOBH8ZKxjhGEO6H5GDTH5kNZB2fiTr80K5CKDJXVuXSZxkVMaxZuh+Rl3FzG9KpkrxIRhjYw8NmvB8tugS98IbbZUW+WY/ZmKam8g=="}"#;
    const FINGERPRINT: &str = "sha256:d3949091b17809e3c090eb70c3592b2ce2020fb8b5081c99220565a7eb1990f4";

    fn key(document: &str, password: Option<&str>) -> Result<SigningKey, KeyError> {
        let text = pem::write(LABELS[0], document.as_bytes());
        SigningKey::from_pem_or_cosign(&text, || password.map(str::to_owned))
    }

    #[test]
    fn key_that_another_sealed_opens_by_its_password_alone() {
        let opened = key(SEALED, Some("pass word")).unwrap();
        assert_eq!(opened.public_key().unwrap().fingerprint().to_string(), FINGERPRINT);
        for (password, error) in [
            (Some("password"), CosignKeyError::WrongPassword),
            (Some(""), CosignKeyError::WrongPassword),
            (None, CosignKeyError::NoPassword),
        ] {
            let refused = key(SEALED, password).unwrap_err();
            assert_eq!(refused, KeyError::Cosign(error));
        }
        let damaged = SEALED.replace("\"ciphertext\":\"", "\"ciphertext\":\"AAAA");
        assert_eq!(
            key(&damaged, Some("pass word")).unwrap_err(),
            KeyError::Cosign(CosignKeyError::WrongPassword)
        );
    }

    /// A damaged key neither prompts for a password nor takes all memory.
    #[test]
    fn key_of_another_form_is_refused_before_the_password_is_asked() {
        for document in [
            r#"{"kdf":{}}"#.to_owned(),
            String::new(),
            SEALED.replace("scrypt", "argon2"),
            SEALED.replace("secretbox", "box"),
            SEALED.replace("\"N\":1024", "\"N\":1000"),
            SEALED.replace("\"N\":1024", "\"N\":1"),
            SEALED.replace("\"N\":1024", "\"N\":1073741824"),
            SEALED.replace("\"r\":8", "\"r\":4000000000"),
            SEALED.replace("\"r\":8", "\"r\":0"),
            SEALED.replace("\"p\":1", "\"p\":0"),
            SEALED.replace("\"p\":1", "\"p\":1000000"),
        ] {
            let text = pem::write(LABELS[1], document.as_bytes());
            let refused =
                SigningKey::from_pem_or_cosign(&text, || panic!("asked for {document}")).unwrap_err();
            assert_eq!(refused, KeyError::Cosign(CosignKeyError::Form), "{document}");
        }
    }
}
