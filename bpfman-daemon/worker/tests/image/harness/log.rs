use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::Digest;
use bpfman_registry::SigningKey;
use serde_json::{Value, json};

use super::authority::{Authority, now, spki};

pub struct Log {
    key: SigningKey,
}

pub struct Entry {
    pub body: Vec<u8>,
    pub time: i64,
    pub id: Digest,
    pub promise: Vec<u8>,
    pub sibling: Digest,
    pub root: Digest,
    pub checkpoint: String,
}

const ORIGIN: &str = "log.test - 1";

pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

impl Log {
    pub fn new() -> Self {
        Self { key: SigningKey::generate().unwrap() }
    }

    pub fn public_pem(&self) -> String {
        self.key.public_key().unwrap().to_pem()
    }

    pub fn add(&self, body: Vec<u8>, time: i64) -> Entry {
        let id = Digest::of(&spki(&self.key));
        let promised = json!({
            "body": base64(&body), "integratedTime": time, "logID": id.hex(), "logIndex": 1,
        });
        // serde_json writes keys in order and without spaces, which is the canonical form.
        let promise = self.key.sign(promised.to_string().as_bytes()).unwrap();
        let leaf = Digest::of(&[&[0], body.as_slice()].concat());
        let sibling = Digest::of(b"the first entry");
        let root = Digest::of(&[&[1], sibling.bytes().as_slice(), &leaf.bytes()].concat());
        let text = format!("{ORIGIN}\n2\n{}\n", base64(&root.bytes()));
        let signature = [&id.bytes()[..4], &self.key.sign(text.as_bytes()).unwrap()].concat();
        let name = ORIGIN.split(' ').next().unwrap();
        let checkpoint = format!("{text}\n\u{2014} {name} {}\n", base64(&signature));
        Entry { body, time, id, promise, sibling, root, checkpoint }
    }
}

impl Entry {
    pub fn in_bundle(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        json!({
            "logIndex": "1",
            "logId": { "keyId": base64(&self.id.bytes()) },
            "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
            "integratedTime": self.time.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": base64(&self.promise) },
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": base64(&self.root.bytes()),
                "treeSize": "2",
                "hashes": [base64(&self.sibling.bytes())],
                "checkpoint": { "envelope": self.checkpoint },
            },
            "canonicalizedBody": base64(&self.body),
        })
    }

    pub fn in_annotation(&self) -> Value {
        json!({
            "SignedEntryTimestamp": base64(&self.promise),
            "Payload": {
                "body": base64(&self.body),
                "integratedTime": self.time,
                "logIndex": 1,
                "logID": self.id.hex(),
            },
        })
    }

    pub fn in_answer(&self) -> Value {
        json!({
            "body": base64(&self.body),
            "integratedTime": self.time,
            "logID": self.id.hex(),
            "logIndex": 1,
            "verification": {
                "signedEntryTimestamp": base64(&self.promise),
                "inclusionProof": {
                    "checkpoint": self.checkpoint,
                    "hashes": [self.sibling.hex()],
                    "logIndex": 1,
                    "rootHash": self.root.hex(),
                    "treeSize": 2,
                },
            },
        })
    }
}

pub fn trusted_root(authority: &Authority, log: &Log) -> String {
    let start = json!({ "start": "2000-01-01T00:00:00Z" });
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": "https://log.test",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&spki(&log.key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": start,
            },
            "logId": { "keyId": base64(&Digest::of(&spki(&log.key)).bytes()) },
        }],
        "certificateAuthorities": [{
            "subject": { "organization": "test", "commonName": "test" },
            "uri": "https://authority.test",
            "certChain": { "certificates": [{ "rawBytes": base64(authority.der()) }] },
            "validFor": start,
        }],
        "ctlogs": [],
        "timestampAuthorities": [],
    })
    .to_string()
}

pub fn ten_minutes() -> (i64, i64) {
    (now() - 60, now() + 540)
}
