//! Keyless signatures in the form of cosign and its services; each part can be made invalid.

use bpfman_image_format::{Digest, SimpleSigningPayload};
use bpfman_registry::SigningKey;
use serde_json::{Value, json};

use super::authority::{Authority, CODE_SIGNING, Claims, email, now, spki};
use super::der::pem;
use super::log::{Log, base64, ten_minutes};
use super::timestamp::Timestamper;

pub const ISSUER: &str = "https://accounts.test";
pub const SUBJECT: &str = "dev@example.com";

pub struct Making<'a> {
    pub authority: &'a Authority,
    pub log: &'a Log,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub usage: &'a [u64],
    pub valid: (i64, i64),
    pub logged: i64,
    pub predicate: &'a str,
    pub annotations: Value,
    pub promised: bool,
    pub stamps: Vec<(&'a Timestamper, i64)>,
}

impl<'a> Making<'a> {
    pub fn new(authority: &'a Authority, log: &'a Log) -> Self {
        Self {
            authority,
            log,
            issuer: ISSUER,
            subject: SUBJECT,
            usage: CODE_SIGNING,
            valid: ten_minutes(),
            logged: now() - 5,
            predicate: "https://sigstore.dev/cosign/sign/v1",
            annotations: json!({}),
            promised: true,
            stamps: Vec::new(),
        }
    }

    fn certificate(&self, key: &SigningKey) -> Vec<u8> {
        let claims = Claims {
            name: email(self.subject),
            issuer: Some(self.issuer),
            usage: self.usage,
            valid: self.valid,
        };
        self.authority.issue(&spki(key), &claims)
    }

    pub fn bundle(&self, digest: Digest) -> Value {
        let key = SigningKey::generate().unwrap();
        let certificate = self.certificate(&key);
        let (payload, signature) = statement(&key, digest, self.predicate, &self.annotations);
        let body = log_body(&payload, &signature, &pem("CERTIFICATE", &certificate));
        let mut entry = self.log.add(body, self.logged).in_bundle();
        if !self.promised {
            let fields = entry.as_object_mut().unwrap();
            for field in ["inclusionPromise", "integratedTime"] {
                fields.remove(field);
            }
        }
        let mut material =
            json!({ "certificate": { "rawBytes": base64(&certificate) }, "tlogEntries": [entry] });
        let stamp =
            |(by, at): &(&Timestamper, i64)| json!({ "signedTimestamp": base64(&by.stamp(&signature, *at)) });
        let stamps: Vec<Value> = self.stamps.iter().map(stamp).collect();
        if !stamps.is_empty() {
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": stamps });
        }
        bundle(&material, &payload, &signature)
    }

    pub fn simple(&self, repository: &str, digest: Digest) -> (Vec<u8>, Vec<(&'static str, String)>) {
        let key = SigningKey::generate().unwrap();
        let certificate = pem("CERTIFICATE", &self.certificate(&key));
        let payload = SimpleSigningPayload::new(repository, digest, &Default::default());
        let payload = serde_json::to_vec(&payload).unwrap();
        let signature = base64(&key.sign(&payload).unwrap());
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": Digest::of(&payload).hex() } },
                "signature": { "content": signature, "publicKey": { "content": base64(certificate.as_bytes()) } },
            },
        });
        let entry = self.log.add(body.to_string().into_bytes(), self.logged).in_annotation();
        let annotations = vec![
            ("dev.cosignproject.cosign/signature", signature),
            ("dev.sigstore.cosign/certificate", certificate),
            ("dev.sigstore.cosign/chain", self.authority.pem()),
            ("dev.sigstore.cosign/bundle", entry.to_string()),
        ];
        (payload, annotations)
    }
}

pub fn key_bundle(key: &SigningKey, digest: Digest, predicate: &str, log: Option<&Log>) -> Value {
    let (payload, signature) = statement(key, digest, predicate, &json!({}));
    let mut material = json!({ "publicKey": { "hint": "" } });
    if let Some(log) = log {
        let body = log_body(&payload, &signature, &key.public_key().unwrap().to_pem());
        material["tlogEntries"] = json!([log.add(body, now() - 5).in_bundle()]);
    }
    bundle(&material, &payload, &signature)
}

fn statement(key: &SigningKey, digest: Digest, predicate: &str, annotations: &Value) -> (Vec<u8>, Vec<u8>) {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digest.hex() }, "annotations": annotations }],
        "predicateType": predicate,
        "predicate": {},
    });
    let payload = statement.to_string().into_bytes();
    let kind = "application/vnd.in-toto+json";
    let signed = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
    let signature = key.sign(&signed).unwrap();
    (payload, signature)
}

fn log_body(payload: &[u8], signature: &[u8], verifier: &str) -> Vec<u8> {
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": { "algorithm": "sha256", "value": Digest::of(signature).hex() },
            "payloadHash": { "algorithm": "sha256", "value": Digest::of(payload).hex() },
            "signatures": [{ "signature": base64(signature), "verifier": base64(verifier.as_bytes()) }],
        },
    });
    body.to_string().into_bytes()
}

fn bundle(material: &Value, payload: &[u8], signature: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": base64(payload),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": base64(signature) }],
        },
    })
}
