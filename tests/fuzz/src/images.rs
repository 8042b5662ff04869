//! Data from registries: manifests, configurations, layers, signatures.

use std::io::Write as _;

use bpfman_image_format::{AuthFile, Digest, media};
use bpfman_worker::fuzzing;
use serde_json::json;

use crate::world;

fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

pub fn document(bytes: &[u8]) {
    fuzzing::document(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(image) = "quay.io/team/x:1".parse() else { return };
    if let Ok(file) = AuthFile::parse(text) {
        let _none = file.with_search_path("/nonexistent").find(&image);
    }
}

pub fn document_seeds() -> Vec<Vec<u8>> {
    let one = json!({ "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b""), "size": 1,
        "platform": { "os": "linux", "architecture": "amd64" }, "annotations": { "a": "b" } });
    [
        json!({ "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": one, "layers": [one, one] }),
        json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [one, one] }),
        json!({ "architecture": "amd64", "config": { "Labels": {
            media::LABEL_PROGRAMS: "{\"a\":\"xdp\"}", media::LABEL_MAPS: "{}" } } }),
        json!({ "auths": { "quay.io/team": { "auth": "YTph" } }, "unknown": {} }),
    ]
    .map(|document| document.to_string().into_bytes())
    .to_vec()
}

pub fn layer(bytes: &[u8]) {
    fuzzing::layer(bytes);
}

pub fn layer_seeds() -> Vec<Vec<u8>> {
    let object = std::fs::read(world::object()).expect("the object that was compiled");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(object.len() as u64);
    let name = format!("{}/a.o", "d".repeat(120));
    archive.append_data(&mut header, name, object.as_slice()).expect("memory");
    let packed = archive.into_inner().expect("memory");
    vec![gzip(&object), gzip(&packed), packed, object]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Reads bundles, payloads, certificates and log entries: none of them may count as a signature.
pub fn evidence(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => fuzzing::bundle(rest),
        1 => fuzzing::payload(rest),
        _ => {
            let (certificate, log) = halves(rest);
            fuzzing::certificate(&String::from_utf8_lossy(certificate), &String::from_utf8_lossy(log));
        }
    }
}

pub fn evidence_seeds() -> Vec<Vec<u8>> {
    let digest = Digest::of(b"image");
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" }, "tlogEntries": [] },
        "dsseEnvelope": { "payload": "e30=", "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": "AAAA" }] },
    });
    let payload = json!({ "critical": { "identity": { "docker-reference": "quay.io/a" },
        "image": { "docker-manifest-digest": digest }, "type": "cosign container image signature" },
        "optional": { "a": "b" } });
    let log = json!({ "SignedEntryTimestamp": "AAAA", "Payload": { "body": "e30=", "integratedTime": 1,
        "logIndex": 1, "logID": digest.hex() } });
    let certificate = format!("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\0{log}");
    [(0, bundle.to_string()), (1, payload.to_string()), (2, certificate)]
        .map(|(kind, text)| [vec![kind], text.into_bytes()].concat())
        .to_vec()
}
