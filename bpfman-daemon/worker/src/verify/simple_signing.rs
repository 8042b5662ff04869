//! Signatures in cosign's older format: a signed JSON payload, with the proof of the signer in annotations.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Digest, SimpleSigningPayload, causes, media};
use serde::Deserialize;
use serde_json::{Value, json};
use sigstore_verify::types::{Bundle, DerCertificate};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy};

use bpfmand_image::messages::Material;
use bpfmand_image::{SignatureError, Signer};

use super::count::{ValidSignature, identity, signed_at};
use super::key::{maker, spki};
use super::malformed;
use super::trust_root::VerifyingRule;

pub(super) fn verify(
    payload: &[u8],
    signature: &[u8],
    material: &Material,
    digest: Digest,
    rule: &VerifyingRule<'_>,
) -> Result<ValidSignature, SignatureError> {
    // Verify the signature first: an unsigned document is never parsed.
    let mut good = match &material.certificate {
        Some(certificate) if !rule.rule.identities.is_empty() => {
            let root = rule.root()?;
            let content = certificates(certificate, material.chain.as_deref())?;
            let bundle = as_bundle(&content, payload, signature, material)?;
            let mut policy = VerificationPolicy::any_identity();
            if !root.has_certificate_log {
                policy = policy.skip_sct();
            }
            let result = root.verifier.verify(payload, &bundle, &policy);
            identity(rule.rule, &result.map_err(|error| untrusted(&error))?)?
        }
        _ => by_key(payload, signature, material, rule)?,
    };
    let payload: SimpleSigningPayload =
        serde_json::from_slice(payload).map_err(malformed("a signed payload is malformed"))?;
    if payload.critical.kind != media::SIMPLE_SIGNING_TYPE {
        return Err(SignatureError::PayloadType(payload.critical.kind));
    }
    let signed = &payload.critical.image.docker_manifest_digest;
    if *signed != digest.to_string() {
        return Err(SignatureError::AnotherImage { signer: good.signer, digest: Some(signed.clone()) });
    }
    good.repository = Some(payload.critical.identity.docker_reference);
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    good.annotations =
        payload.optional.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect();
    Ok(good)
}

fn by_key(
    payload: &[u8],
    signature: &[u8],
    material: &Material,
    rule: &VerifyingRule<'_>,
) -> Result<ValidSignature, SignatureError> {
    let key = maker(&rule.rule.keys, payload, signature)?;
    let mut at = None;
    if rule.rule.log_required {
        let content = json!({ "publicKey": { "hint": "" } });
        let bundle = as_bundle(&content, payload, signature, material)?;
        let policy = PublicKeyVerificationPolicy::new(spki(key));
        let result = rule.root()?.verifier.verify(payload, &bundle, &policy);
        at = signed_at(&result.map_err(|error| untrusted(&error))?);
    }
    Ok(ValidSignature {
        signer: Signer::Key(key.fingerprint()),
        annotations: BTreeMap::new(),
        repository: None,
        signed_at: at,
    })
}

fn untrusted(error: &sigstore_verify::Error) -> SignatureError {
    SignatureError::Unproven { form: "signature".into(), why: causes(error) }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LogEntry {
    signed_entry_timestamp: String,
    payload: LogPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
struct Timestamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    token: String,
}

fn as_bundle(
    content: &Value,
    payload: &[u8],
    signature: &[u8],
    material: &Material,
) -> Result<Bundle, SignatureError> {
    const ENTRY: &str = "the log entry of a signature";
    let log = material.log.as_deref().ok_or(SignatureError::NoLogEntry)?;
    let entry: LogEntry = serde_json::from_str(log).map_err(malformed(ENTRY))?;
    let body = BASE64_STANDARD.decode(&entry.payload.body).map_err(malformed(ENTRY))?;
    let kind: Value = serde_json::from_slice(&body).map_err(malformed(ENTRY))?;
    let log_id = format!("sha256:{}", entry.payload.log_id).parse::<Digest>().map_err(malformed(ENTRY))?;
    let mut verification = json!({
        "tlogEntries": [{
            "logIndex": entry.payload.log_index.to_string(),
            "logId": { "keyId": BASE64_STANDARD.encode(log_id.bytes()) },
            "kindVersion": { "kind": kind["kind"], "version": kind["apiVersion"] },
            "integratedTime": entry.payload.integrated_time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": entry.signed_entry_timestamp },
            "canonicalizedBody": entry.payload.body,
        }],
    });
    if let (Some(fields), Some(more)) = (verification.as_object_mut(), content.as_object()) {
        fields.extend(more.clone());
    }
    if let Some(text) = &material.timestamp {
        let stamp: Timestamp =
            serde_json::from_str(text).map_err(malformed("the timestamp of a signature"))?;
        verification["timestampVerificationData"] =
            json!({ "rfc3161Timestamps": [{ "signedTimestamp": stamp.token }] });
    }
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": verification,
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": BASE64_STANDARD.encode(Digest::of(payload).bytes()),
            },
            "signature": BASE64_STANDARD.encode(signature),
        },
    });
    Bundle::from_json(&bundle.to_string()).map_err(malformed("the parts of a signature"))
}

fn certificates(leaf: &str, chain: Option<&str>) -> Result<Value, SignatureError> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks =
        leaf.split_inclusive(END).take(1).chain(chain.unwrap_or_default().split_inclusive(END).take(8));
    let mut all = Vec::new();
    for block in blocks.map(str::trim).filter(|block| !block.is_empty()) {
        let certificate =
            DerCertificate::from_pem(block).map_err(malformed("the certificate of a signature"))?;
        all.push(json!({ "rawBytes": BASE64_STANDARD.encode(certificate.as_bytes()) }));
    }
    Ok(json!({ "x509CertificateChain": { "certificates": all } }))
}
