use crate::harness::authority::{Authority, SERVER, now};
use crate::harness::hostile::Answer;
use crate::harness::keyless::{ISSUER, Making, SUBJECT, key_bundle};
use crate::harness::log::{Log, base64};
use crate::harness::policy;
use crate::harness::world::World;
use bpfman_image_format::{Digest, media};
use bpfman_registry::SigningKey;
use bpfmand_image::{ImageError, Signer, VerifiedBy};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn signer(verified: &VerifiedBy) -> &Signer {
    let [signer] = verified.signers() else { panic!("{verified}") };
    signer
}

#[tokio::test]
async fn a_bundle_by_identity_is_verified_offline_and_told() {
    let world = World::new("bundle");
    world.refer(&[world.making().bundle(world.digest)]);
    for (issuer, subject) in [(ISSUER, SUBJECT), (ISSUER, "*@example.com"), ("*", "*")] {
        let verified = world.load(world.trusting(issuer, subject)).await.unwrap();
        let who = Signer::Identity { issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned() };
        assert_eq!(signer(&verified), &who);
        let VerifiedBy::Signers { signed_at: Some(at), .. } = verified else { panic!() };
        assert!((now() - at) < 600, "the log vouches for the time");
    }
    for (issuer, subject) in [
        ("https://accounts.test.evil.io", SUBJECT),
        (ISSUER, "dev@example.com.evil.io"),
        (ISSUER, "*@example.org"),
    ] {
        let why = world.refused(world.trusting(issuer, subject)).await;
        assert!(why.contains("whom the rule does not name"), "{why}");
    }
}

#[tokio::test]
async fn an_older_signature_by_identity_is_verified_offline() {
    let world = World::new("simple");
    let (payload, annotations) = world.making().simple(&world.image.name(), world.digest);
    world.tag(&payload, &annotations);
    let verified = world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
    assert!(matches!(signer(&verified), Signer::Identity { .. }));
    for missing in ["dev.sigstore.cosign/bundle", "dev.sigstore.cosign/certificate"] {
        let rest: Vec<_> = annotations.iter().filter(|(name, _)| *name != missing).cloned().collect();
        world.tag(&payload, &rest);
        world.refused(world.trusting(ISSUER, SUBJECT)).await;
    }
    let (payload, annotations) = world.making().simple(&world.image.name(), Digest::of(b"other"));
    world.tag(&payload, &annotations);
    let why = world.refused(world.trusting(ISSUER, SUBJECT)).await;
    assert!(why.contains("another image"), "{why}");
    let rogue = Authority::new("rogue");
    let (payload, annotations) =
        Making { authority: &rogue, ..world.making() }.simple(&world.image.name(), world.digest);
    world.tag(&payload, &annotations);
    world.refused(world.trusting(ISSUER, SUBJECT)).await;
}

#[tokio::test]
async fn a_certificate_counts_only_within_the_logs_time() {
    let world = World::new("expired");
    // An expired certificate, logged while it was valid, stays good.
    let then = now() - 365 * 86_400;
    let old = Making { valid: (then, then + 600), logged: then + 60, ..world.making() };
    world.refer(&[old.bundle(world.digest)]);
    world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
    for logged in [then - 60, then + 660, now()] {
        let late = Making { valid: (then, then + 600), logged, ..world.making() };
        world.refer(&[late.bundle(world.digest)]);
        world.refused(world.trusting(ISSUER, SUBJECT)).await;
        let (payload, annotations) = late.simple(&world.image.name(), world.digest);
        world.tag(&payload, &annotations);
        world.refused(world.trusting(ISSUER, SUBJECT)).await;
    }
}

#[tokio::test]
async fn a_foreign_authority_log_or_usage_is_refused() {
    let world = World::new("foreign");
    let (authority, log) = (Authority::new("test"), Log::new());
    for making in [
        Making { authority: &authority, ..world.making() },
        Making { log: &log, ..world.making() },
        Making { usage: SERVER, ..world.making() },
    ] {
        world.refer(&[making.bundle(world.digest)]);
        let why = world.refused(world.trusting(ISSUER, SUBJECT)).await;
        assert!(why.contains("trusted root"), "{why}");
    }
}

#[tokio::test]
async fn a_forged_or_missing_proof_is_refused() {
    let world = World::new("forged");
    let honest = world.making().bundle(world.digest);
    let other = world.making().bundle(Digest::of(b"other"));
    type Change = fn(&mut Value, &Value);
    let forgeries: [(&str, Change); 9] = [
        ("promise", |entry, other| entry["inclusionPromise"] = other["inclusionPromise"].clone()),
        ("no promise", |entry, _| drop(entry.as_object_mut().unwrap().remove("inclusionPromise"))),
        ("no proof", |entry, _| drop(entry.as_object_mut().unwrap().remove("inclusionProof"))),
        ("proof of another entry", |entry, other| entry["inclusionProof"] = other["inclusionProof"].clone()),
        ("sibling", |entry, _| entry["inclusionProof"]["hashes"][0] = base64(&[7; 32]).into()),
        ("root", |entry, _| entry["inclusionProof"]["rootHash"] = base64(&[7; 32]).into()),
        ("checkpoint", |entry, _| {
            let text = entry["inclusionProof"]["checkpoint"]["envelope"].as_str().unwrap();
            let forged = text.replacen("\n2\n", "\n3\n", 1);
            entry["inclusionProof"]["checkpoint"]["envelope"] = forged.into();
        }),
        ("time", |entry, _| entry["integratedTime"] = (now() - 30).to_string().into()),
        ("whole entry of another", |entry, other| *entry = other.clone()),
    ];
    for (name, forge) in forgeries {
        let mut forged = honest.clone();
        let other = &other["verificationMaterial"]["tlogEntries"][0];
        forge(&mut forged["verificationMaterial"]["tlogEntries"][0], other);
        world.refer(&[forged]);
        let error = world.load(world.trusting(ISSUER, SUBJECT)).await;
        assert!(matches!(error, Err(ImageError::Untrusted { .. })), "{name}: {error:?}");
    }
    world.refer(&[honest]);
    world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
}

#[tokio::test]
async fn a_tampered_bundle_is_refused() {
    let world = World::new("tampered_bundle");
    let honest = world.making().bundle(world.digest);
    let stranger = world.making().bundle(Digest::of(b"other"));
    let mut payload = honest.clone();
    payload["dsseEnvelope"]["payload"] = stranger["dsseEnvelope"]["payload"].clone();
    let mut signature = honest.clone();
    signature["dsseEnvelope"]["signatures"] = stranger["dsseEnvelope"]["signatures"].clone();
    let mut two = honest.clone();
    two["dsseEnvelope"]["signatures"] =
        json!([honest["dsseEnvelope"]["signatures"][0], stranger["dsseEnvelope"]["signatures"][0],]);
    let mut certificate = honest.clone();
    certificate["verificationMaterial"]["certificate"] =
        stranger["verificationMaterial"]["certificate"].clone();
    for bundle in [payload, signature, two, certificate, json!({}), json!([])] {
        world.refer(&[bundle]);
        world.refused(world.trusting(ISSUER, SUBJECT)).await;
    }
    world.refer(&[stranger]);
    world.refused(world.trusting(ISSUER, SUBJECT)).await;
}

#[tokio::test]
async fn an_attestation_is_no_signature() {
    let world = World::new("attestation");
    let key = SigningKey::generate().unwrap();
    let spdx = "https://spdx.dev/Document";
    world.refer(&[
        Making { predicate: spdx, ..world.making() }.bundle(world.digest),
        key_bundle(&key, world.digest, spdx, None),
    ]);
    let why = world.refused(world.trusting("*", "*")).await;
    assert!(why.contains("another kind"), "{why}");
    let keys = format!("keys = ['''{}''']", key.public_key().unwrap().to_pem());
    assert!(world.refused(world.policy(&keys)).await.contains("another kind"));
}

#[tokio::test]
async fn a_bundle_by_key_needs_a_log_only_where_the_rule_says_so() {
    let world = World::new("key_bundle");
    let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let predicate = "https://sigstore.dev/cosign/sign/v1";
    let keys = format!("keys = ['''{}''']", key.public_key().unwrap().to_pem());
    let with_log = format!("{keys}\nlog = \"required\"");
    world.refer(&[key_bundle(&key, world.digest, predicate, None)]);
    world.load(world.policy(&keys)).await.unwrap();
    let error = world.load(world.policy(&with_log)).await.unwrap_err().to_string();
    assert!(
        error.contains("has no entry of a transparency log") && !error.contains("trusted root"),
        "{error}"
    );
    world.refer(&[key_bundle(&key, world.digest, predicate, Some(&world.log))]);
    let verified = world.load(world.policy(&with_log)).await.unwrap();
    assert!(matches!(verified, VerifiedBy::Signers { signed_at: Some(_), .. }));
    world.refer(&[key_bundle(&key, world.digest, predicate, Some(&Log::new()))]);
    world.refused(world.policy(&with_log)).await;
    world.refer(&[key_bundle(&stranger, world.digest, predicate, Some(&world.log))]);
    world.refused(world.policy(&keys)).await;
    world.refused(world.policy(&with_log)).await;
}

#[tokio::test]
async fn two_identities_are_two_signers_and_one_twice_is_one() {
    let world = World::new("two_identities");
    let two = "identities = [{ issuer = \"*\", subject = \"*@example.com\" }]\nmin_signatures = 2";
    let once = world.making().bundle(world.digest);
    let again = world.making().bundle(world.digest);
    world.refer(&[once.clone(), again]);
    world.refused(world.policy(two)).await;
    let other = Making { subject: "other@example.com", ..world.making() }.bundle(world.digest);
    world.refer(&[once, other]);
    assert_eq!(world.load(world.policy(two)).await.unwrap().signers().len(), 2);
}

#[tokio::test]
async fn referrers_are_read_from_the_registrys_list_page_by_page() {
    let world = World::new("pages");
    let bundle = world.making().bundle(world.digest);
    let place = format!("referrers/{}", world.digest);
    let list = |entries: &[Value]| json!({ "schemaVersion": 2, "manifests": entries }).to_string();
    let wrong_subject = world.referrer(&bundle, Digest::of(b"other"));
    // The harness ignores queries, so the second page is the first one again: it is read, within the limit.
    let path = format!("/v2/a/{place}?last=1");
    let next = |address: &str| format!("<{address}>; rel=\"next\"");
    world.hostile.set(&place, Answer::ok(list(&[wrong_subject])));
    assert!(matches!(
        world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap_err(),
        ImageError::Unsigned { .. }
    ));
    let entry = world.referrer(&bundle, world.digest);
    world.hostile.set_query(&path, Answer::ok(list(std::slice::from_ref(&entry))));
    world.hostile.set(&place, Answer::ok(list(&[])).header("link", &next(&path)));
    world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
    world.hostile.set(&place, Answer::ok(list(&[])).header("link", &next(&format!("/v2/a/{place}"))));
    let error = world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap_err();
    assert!(matches!(error, ImageError::Unsigned { .. }), "{error}");
    for address in ["http://127.0.0.1:1/v2/a/x".to_owned(), "/v2/b/x".to_owned()] {
        world.hostile.set(&place, Answer::ok(list(&[])).header("link", &next(&address)));
        let error = world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap_err();
        assert!(matches!(error, ImageError::Malformed { .. }), "{error}");
    }
    let missing = |number: usize| {
        let digest = Digest::of(&number.to_le_bytes());
        json!({ "mediaType": media::OCI_MANIFEST, "digest": digest, "size": 100 })
    };
    let among = |at: usize| {
        let mut all: Vec<_> = (0..600).map(missing).collect();
        all.insert(at, entry.clone());
        Answer::ok(list(&all))
    };
    for at in [0, 600] {
        world.hostile.set(&place, among(at));
        world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
    }
    world.hostile.set(&place, among(300));
    let why = world.refused(world.trusting(ISSUER, SUBJECT)).await;
    assert!(why.contains("more than are looked at"), "{why}");
    world.hostile.set(&place, Answer::ok(list(&vec![entry; 600])));
    world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
}

#[tokio::test]
async fn the_embedded_root_refuses_a_private_signer() {
    let world = World::new("public_good");
    world.refer(&[world.making().bundle(world.digest)]);
    let text = "trusted_root = \"public-good\"\n[[images]]\npattern = \"*\"\n\
                identities = [{ issuer = \"*\", subject = \"*\" }]\n";
    assert!(world.refused(policy(text)).await.contains("trusted root"));
}

#[tokio::test]
async fn an_older_signature_counts_as_a_referrer_too() {
    let world = World::new("simple_referrer");
    let trusting = || world.trusting(ISSUER, SUBJECT);
    let (payload, annotations) = world.making().simple(&world.image.name(), world.digest);
    world.refer_simple(&payload, &annotations, world.digest);
    let verified = world.load(trusting()).await.unwrap();
    assert!(matches!(signer(&verified), Signer::Identity { .. }));
    world.refer_simple(&payload, &annotations, Digest::of(b"other"));
    assert!(matches!(world.load(trusting()).await.unwrap_err(), ImageError::Unsigned { .. }));
    let (payload, annotations) = world.making().simple(&world.image.name(), Digest::of(b"other"));
    world.refer_simple(&payload, &annotations, world.digest);
    let why = world.refused(trusting()).await;
    assert!(why.contains("another image"), "{why}");
    let key = SigningKey::generate().unwrap();
    let payload = serde_json::to_vec(&bpfman_image_format::SimpleSigningPayload::new(
        &world.image.name(),
        world.digest,
        &Default::default(),
    ));
    let payload = payload.unwrap();
    let signature = base64(&key.sign(&payload).unwrap());
    let annotations = [("dev.cosignproject.cosign/signature", signature)];
    world.refer_simple(&payload, &annotations, world.digest);
    let keys = format!("keys = ['''{}''']", key.public_key().unwrap().to_pem());
    world.load(world.policy(&keys)).await.unwrap();
}

#[tokio::test]
async fn a_revoked_identity_counts_no_more() {
    let world = World::new("revoked_identity");
    let other = Making { subject: "other@example.com", ..world.making() };
    let both = [world.making().bundle(world.digest), other.bundle(world.digest)];
    let anybody = "identities = [{ issuer = \"*\", subject = \"*@example.com\" }]";
    let revoked = |issuer: &str, subject: &str, more: &str| {
        let identity = format!("{{ issuer = \"{issuer}\", subject = \"{subject}\" }}");
        world.policy(&format!("{anybody}\n{more}\n[revoked]\nidentities = [{identity}]\n"))
    };
    world.refer(&both[..1]);
    for (issuer, subject) in [(ISSUER, SUBJECT), ("*", SUBJECT), (ISSUER, "*@example.com")] {
        let why = world.refused(revoked(issuer, subject, "")).await;
        assert!(why.contains("revoked identity") && why.contains(SUBJECT), "{why}");
    }
    // The same subject at another issuer is another identity.
    world.load(revoked("https://other.test", SUBJECT, "")).await.unwrap();
    world.refer(&both);
    let verified = world.load(revoked(ISSUER, SUBJECT, "")).await.unwrap();
    assert!(signer(&verified).to_string().contains("other@example.com"), "{verified}");
    world.refused(revoked(ISSUER, SUBJECT, "min_signatures = 2")).await;
}

fn verify_by_client(world: &World, issuer: &str, subject: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_bpfman-worker")).with_file_name("bpfman");
    assert!(program.exists(), "the workspace has to be built: there is no {}", program.display());
    let root = world.folder.path().join("trusted_root.json");
    Command::new(program)
        .args(["image", "verify", &world.image.to_string(), "--identity", issuer, subject, "-o", "json"])
        .arg("--trusted-root")
        .arg(root)
        .output()
        .unwrap()
}

#[test]
fn client_verifies_an_identity_without_a_daemon() {
    let world = World::new("client");
    let _writes_the_root = world.trusting(ISSUER, SUBJECT);
    let refused = |issuer: &str, subject: &str, status: i32, why: &str| {
        let refused = verify_by_client(&world, issuer, subject);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(status) && stderr.contains(why), "{refused:?}");
    };
    refused(ISSUER, SUBJECT, 9, "is not signed");
    world.refer(&[world.making().bundle(world.digest)]);
    let verified = verify_by_client(&world, ISSUER, "*@example.com");
    let answer: Value = serde_json::from_slice(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"));
    assert_eq!(answer["digest"], world.digest.to_string());
    assert_eq!(answer["signers"], json!([format!("identity {SUBJECT} of {ISSUER}")]));
    refused(ISSUER, "*@example.org", 9, "whom the rule does not name");
    refused("", SUBJECT, 6, "empty");
    let rogue = Authority::new("rogue");
    world.refer(&[Making { authority: &rogue, ..world.making() }.bundle(world.digest)]);
    refused(ISSUER, SUBJECT, 9, "does not stand up to the trusted root");
}
