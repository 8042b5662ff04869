//! Recorded bundles, none of which signs an image: a root accepts a bundle if only the statement is then refused.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT;

use super::*;
use bpfmand_image::{Signers, TrustRoot, TrustedIdentity};

fn recorded() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "sigstore-verify").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("test_data").join("bundles")
}

fn bundle(name: &str) -> (String, Digest) {
    let text = std::fs::read_to_string(recorded().join(name)).unwrap();
    let bundle = Bundle::from_json(&text).unwrap();
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else { panic!("{name}") };
    let statement: Statement = manifest::object(envelope.payload.as_bytes()).unwrap();
    let digest = format!("sha256:{}", statement.subject[0].digest["sha256"]).parse().unwrap();
    (text, digest)
}

struct Recorded {
    text: String,
    digest: Digest,
    root: TrustRoot,
    issuer: &'static str,
}

fn recorded_bundles() -> [Recorded; 2] {
    let of = |name, root: TrustRoot, issuer| {
        let (text, digest) = bundle(name);
        Recorded { text, digest, root, issuer }
    };
    let actions = "https://token.actions.githubusercontent.com";
    [
        of("conda-attestation.sigstore.json", TrustRoot::PublicGood, actions),
        of(
            "conda-attestation-rekor2.sigstore.json",
            TrustRoot::from_json(SIGSTORE_STAGING_TRUSTED_ROOT).unwrap(),
            "https://github.com/login/oauth",
        ),
    ]
}

fn refused(text: &str, digest: Digest, root: &TrustRoot, issuer: &str) -> String {
    let identities = vec![TrustedIdentity::new(issuer, "*").unwrap()];
    let rule = Signers { identities, minimum: 1, root: Some(root.clone()), ..Signers::default() };
    verify(text.as_bytes(), digest, &VerifyingRule::new(&rule)).unwrap_err().to_string()
}

const UNTRUSTED: &str = "does not stand up to the trusted root";

#[test]
fn trust_root_accepts_only_bundles_of_its_own_instance() {
    let all = recorded_bundles();
    for Recorded { text, digest, root, issuer } in &all {
        let why = refused(text, *digest, root, issuer);
        assert!(why.contains("signed a statement of another kind"), "{why}");
        assert!(why.contains(&format!(" of {issuer} ")), "{why}");
        let why = refused(text, *digest, root, "https://accounts.example.com");
        assert!(why.contains("whom the rule does not name"), "{why}");
    }
    let [public, staging] = &all;
    for (bundle, other) in [(public, staging), (staging, public)] {
        let why = refused(&bundle.text, bundle.digest, &other.root, bundle.issuer);
        assert!(why.contains(UNTRUSTED), "{why}");
    }
}

#[test]
fn trust_root_refuses_altered_or_unrelated_bundles() {
    for Recorded { text, digest, root, issuer } in &recorded_bundles() {
        let untrusted = |text: &str, digest| {
            let why = refused(text, digest, root, issuer);
            assert!(why.contains(UNTRUSTED), "{why}");
        };
        untrusted(text, Digest::of(b"other"));
        let mut changed: Value = serde_json::from_str(text).unwrap();
        let material = &mut changed["verificationMaterial"];
        material.as_object_mut().unwrap().remove("timestampVerificationData");
        material["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionPromise");
        untrusted(&changed.to_string(), *digest);
        let mut changed: Value = serde_json::from_str(text).unwrap();
        let proof = &mut changed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"];
        proof["hashes"].as_array_mut().unwrap().pop();
        untrusted(&changed.to_string(), *digest);
    }
}
