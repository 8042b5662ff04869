//! Signatures in Sigstore's bundle format; `sigstore-verify` checks the proof of the signer.

use std::collections::BTreeMap;

use bpfman_image_format::{Digest, causes};
use serde::Deserialize;
use serde_json::Value;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{Bundle, DsseEnvelope, Sha256Hash, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy};

use bpfman_image_format::manifest;
use bpfmand_image::{SignatureError, Signer};

use super::count::{ValidSignature, identity, name_of, signed_at};
use super::key::{maker, spki};
use super::malformed;
use super::trust_root::VerifyingRule;

/// Predicate type of cosign's image signatures. Attestations have the same format and other types.
pub(super) const PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

pub(super) fn verify(
    json: &[u8],
    digest: Digest,
    rule: &VerifyingRule<'_>,
) -> Result<ValidSignature, SignatureError> {
    const BUNDLE: &str = "a signature bundle is malformed";
    let text = std::str::from_utf8(json).map_err(malformed(BUNDLE))?;
    let bundle = Bundle::from_json(text).map_err(malformed(BUNDLE))?;
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return Err(SignatureError::NoStatement);
    };
    let untrusted = |error: sigstore_verify::Error| SignatureError::Unproven {
        form: "signature bundle".into(),
        why: causes(&error),
    };
    let hash = Sha256Hash::new(digest.bytes());
    // Signatures by identity always need a log entry. Report a missing one as such, not as a fault of the trusted root.
    let has_entry = !bundle.verification_material.tlog_entries.is_empty();
    // Verify the signature first: an unsigned statement is never parsed.
    let mut good = if let VerificationMaterialContent::PublicKey(_) = &bundle.verification_material.content {
        let key = maker(&rule.rule.keys, &envelope.pae(), envelope.signature.sig.as_bytes())?;
        let mut at = None;
        if rule.rule.log_required {
            if !has_entry {
                return Err(SignatureError::NoLogEntry);
            }
            let policy = PublicKeyVerificationPolicy::new(spki(key));
            let result = rule.root()?.verifier.verify(hash, &bundle, &policy).map_err(untrusted)?;
            at = signed_at(&result);
        }
        ValidSignature {
            signer: Signer::Key(key.fingerprint()),
            annotations: BTreeMap::new(),
            repository: None,
            signed_at: at,
        }
    } else if rule.rule.identities.is_empty() {
        return Err(SignatureError::KeysOnly);
    } else {
        let root = rule.root()?;
        if !has_entry {
            return Err(SignatureError::NoLogEntry);
        }
        let mut policy = VerificationPolicy::any_identity();
        if !root.has_certificate_log {
            policy = policy.skip_sct();
        }
        identity(rule.rule, &root.verifier.verify(hash, &bundle, &policy).map_err(untrusted)?)?
    };
    let subject = statement(envelope, digest, &good.signer)?;
    // cosign 3 leaves the name out. Other tools write arbitrary text: only an image name counts.
    good.repository = subject.name.filter(|name| name_of(name).is_some());
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    good.annotations = subject.annotations.into_iter().map(|(name, value)| (name, text(value))).collect();
    Ok(good)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    name: Option<String>,
    digest: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, Value>,
}

fn statement(envelope: &DsseEnvelope, digest: Digest, signer: &Signer) -> Result<Subject, SignatureError> {
    if envelope.payload_type != PAYLOAD {
        return Err(SignatureError::PayloadType(envelope.payload_type.clone()));
    }
    let statement: Statement = manifest::object(envelope.payload.as_bytes())
        .map_err(malformed("a signed statement is malformed"))?;
    if statement.kind != STATEMENT || statement.predicate_type != PREDICATE {
        let (signer, kind) = (signer.clone(), statement.predicate_type);
        return Err(SignatureError::AnotherKind { signer, kind });
    }
    let hex = digest.hex();
    statement
        .subject
        .into_iter()
        .find(|subject| subject.digest.get("sha256") == Some(&hex))
        .ok_or_else(|| SignatureError::AnotherImage { signer: signer.clone(), digest: None })
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
