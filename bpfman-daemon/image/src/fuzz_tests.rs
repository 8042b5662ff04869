//! Spoiled input for every reader: a fixed number of rounds over a small corpus, the same in each run.
//!
//! A reader may refuse, and must not panic, hang, or take more than its limits. `BPFMAN_FUZZ_ROUNDS` asks for more rounds.

use std::collections::BTreeMap;
use std::io::Write as _;

use bpfman_image_format::{AuthFile, Digest, Labels, SigningKey, SimpleSigningPayload, check_object, media};
use serde_json::json;

use crate::manifest::{self, ImageConfig};
use crate::signature::Material;
use crate::{PolicyFile, Signers, TrustRoot, TrustedKey, bundle, layer, simple_signing};

/// A small generator of its own: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }

    /// Flips, cuts, doubles, or puts in what often hurts.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        const HURTING: [&[u8]; 12] = [
            b"\"",
            b"{",
            b"[",
            b"}",
            b"null",
            b"-1",
            b"18446744073709551616",
            b"\0",
            b"\xff\xff",
            b"[[",
            b"\\u0000",
            b"...",
        ];
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, HURTING[self.below(HURTING.len())].iter().copied())),
                4 => {
                    let end = at + self.below(bytes.len() - at + 1).min(64);
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    drop(bytes.splice(to..to, piece));
                }
                _ => {
                    let end = (at + self.below(16)).min(bytes.len());
                    drop(bytes.drain(at..end));
                }
            }
        }
        bytes
    }
}

/// Gives the reader each of the corpus as it is, then spoiled.
fn rounds(seed: u64, count: u32, corpus: &[Vec<u8>], mut read: impl FnMut(&[u8])) {
    let more = std::env::var("BPFMAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed);
    corpus.iter().for_each(|whole| read(whole));
    for _ in 0..more.unwrap_or(count) {
        let whole = &corpus[random.below(corpus.len())];
        read(&random.spoil(whole));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header of an object for BPF and a few sections' worth of bytes.
fn object() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([1, 0, 247, 0, 1, 0, 0, 0]);
    bytes.resize(40, 0);
    bytes.extend(64_u64.to_le_bytes());
    bytes.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 2, 0, 1, 0]);
    bytes.resize(64 + 2 * 64, 0);
    bytes
}

#[test]
fn layers_may_hold_anything() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(object().len() as u64);
    archive.append_data(&mut header, format!("{}/a.o", "d".repeat(120)), object().as_slice()).unwrap();
    let packed = archive.into_inner().unwrap();
    let corpus = [object(), gzip(&object()), packed.clone(), gzip(&packed)];
    rounds(1, 4000, &corpus, |bytes| drop(layer::decode(bytes)));
}

#[test]
fn objects_may_hold_anything() {
    rounds(2, 20_000, &[object()], |bytes| drop(check_object("x.o", bytes)));
}

#[test]
fn documents_may_hold_anything() {
    let one = json!({ "mediaType": media::OCI_MANIFEST, "digest": Digest::of(b""), "size": 1,
        "platform": { "os": "linux", "architecture": "amd64" }, "annotations": { "a": "b" } });
    let corpus = [
        json!({ "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": one, "layers": [one, one] }),
        json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [one, one] }),
        json!({ "architecture": "amd64", "config": { "Labels": { "io.ebpf.programs": "{\"a\":\"xdp\"}" } } }),
    ];
    let corpus = corpus.map(|document| document.to_string().into_bytes());
    rounds(3, 20_000, &corpus, |bytes| {
        drop(manifest::parse(bytes));
        drop(ImageConfig::parse(bytes).map(|config| drop(Labels::read(&config.labels()))));
    });
}

#[test]
fn labels_may_hold_anything() {
    let corpus = [b"{\"xdp_pass\":\"xdp\",\"tc\":\"tc\"}".to_vec(), b"{}".to_vec()];
    rounds(4, 20_000, &corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        for label in [media::LABEL_PROGRAMS, media::LABEL_MAPS] {
            drop(Labels::read(&BTreeMap::from([(label.to_owned(), text.clone())])));
        }
    });
}

#[test]
fn policies_may_hold_anything_and_never_allow_more() {
    let pem = SigningKey::generate().unwrap().public_key().unwrap().to_pem();
    let corpus = [format!(
        "mode = \"enforce\"\ntrusted_root = \"public-good\"\n[[images]]\npattern = \"quay.io/a/*\"\nkeys = ['''{pem}''']\n\
         identities = [{{ issuer = \"https://i\", subject = \"*@example.com\" }}]\nmin_signatures = 1\n\
         annotations = {{ a = \"b\" }}\nincreasing = \"v\"\n[files]\nusers = [0]\n[revoked]\nkeys = [\"{0}\"]\n\
         running = \"detach\"\n",
        Digest::of(b"")
    )
    .into_bytes()];
    rounds(5, 400, &corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let none = std::io::ErrorKind::NotFound;
        if let Ok(file) = PolicyFile::parse(&text, &mut |_| Err(none.into())) {
            let unsigned =
                |rule: &crate::PolicyRule| matches!(rule.requirement, crate::Requirement::Unsigned);
            assert!(!file.rules.iter().any(unsigned), "{text}");
        }
    });
}

#[test]
fn signatures_may_hold_anything_and_are_not_good() {
    let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let trusted = TrustedKey::from_pem(&key.public_key().unwrap().to_pem()).unwrap();
    let identity = crate::TrustedIdentity::new("*", "*").unwrap();
    let root = Some(TrustRoot::public_good().unwrap());
    let rule =
        Signers { keys: vec![trusted], identities: vec![identity], minimum: 1, root, ..Signers::default() };
    let digest = Digest::of(b"image");
    let payload =
        serde_json::to_vec(&SimpleSigningPayload::new("quay.io/a", digest, &BTreeMap::new())).unwrap();
    let signature = stranger.sign(&payload).unwrap();
    let log = json!({ "SignedEntryTimestamp": "AAAA", "Payload": { "body": "e30=", "integratedTime": 1,
        "logIndex": 1, "logID": digest.hex() } });
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" }, "tlogEntries": [] },
        "dsseEnvelope": { "payload": "e30=", "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": "AAAA" }] },
    });
    rounds(6, 3000, &[bundle.to_string().into_bytes()], |bytes| {
        assert!(bundle::verify(bytes, digest, &rule).is_err());
    });
    rounds(7, 3000, &[log.to_string().into_bytes(), payload.clone()], |bytes| {
        let text = Some(String::from_utf8_lossy(bytes).into_owned());
        let material = Material { certificate: text.clone(), log: text, ..Material::default() };
        assert!(simple_signing::verify(bytes, &signature, &material, digest, &rule).is_err());
    });
}

#[test]
fn password_files_may_hold_anything() {
    let corpus = [br#"{"auths":{"quay.io/team":{"auth":"YTph"}},"unknown":{}}"#.to_vec()];
    let image = "quay.io/team/x:1".parse().unwrap();
    rounds(8, 20_000, &corpus, |bytes| {
        if let Ok(file) = AuthFile::parse(&String::from_utf8_lossy(bytes)) {
            drop(file.with_search_path("/nonexistent").find(&image));
        }
    });
}
