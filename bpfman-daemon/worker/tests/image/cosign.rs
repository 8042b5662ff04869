//! cosign as an independent signer: versions 2 and 3, with and without a key, from `tests/tools/cosign`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::keyless::{ISSUER, SUBJECT};
use crate::harness::log::trusted_root;
use crate::harness::services::{Services, token};
use crate::harness::{Store, demand, object, policy, publish};
use bpfman_image_format::{Digest, ImageReference, OciLayout, Platform, PlatformInputs, SourceDate};
use bpfman_registry::{CosignKeyError, KeyError, PublicKey, SigningKey, push, sign};
use bpfmand_image::{ImageError, Policy, Signer, VerifiedBy};

struct Cosign {
    program: String,
    folder: tempfile::TempDir,
}

impl Cosign {
    fn version(version: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/cosign");
        let output = Command::new(script).arg(version).output().expect("bash is installed");
        if output.status.code() == Some(77) {
            let why = String::from_utf8_lossy(&output.stderr);
            println!("skipped: cosign {version} cannot be fetched: {}", why.lines().last().unwrap_or(""));
            return None;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let program = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let cosign = Self { program, folder: tempfile::tempdir().unwrap() };
        assert!(cosign.try_run(&["generate-key-pair"]).is_ok());
        // Version 3 needs addresses of services, unless its configuration has none.
        if version == "3" {
            cosign.run(&["signing-config", "create", "--out", "none.json"]);
        }
        Some(cosign)
    }

    fn try_run(&self, arguments: &[&str]) -> Result<(), String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("COSIGN_PASSWORD", "")
            .env("SIGSTORE_REKOR_PUBLIC_KEY", self.folder.path().join("log.pub"))
            .env("SIGSTORE_ROOT_FILE", self.folder.path().join("authority.pem"))
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn run(&self, arguments: &[&str]) {
        if let Err(error) = self.try_run(arguments) {
            panic!("cosign {}: {error}", arguments.join(" "));
        }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn trusted(&self, more: &str) -> Policy {
        let public = std::fs::read_to_string(self.folder.path().join("cosign.pub")).unwrap();
        policy(&format!("[[images]]\npattern = \"*\"\nkeys = ['''{public}''']\n{more}\n"))
    }

    fn sign_by_key(&self, more: &[&str], image: &ImageReference, digest: Digest) {
        let name = image.at_digest(digest).to_string();
        let mut arguments = vec!["sign", "--yes", "--key", "cosign.key"];
        arguments.extend(more);
        arguments.push(&name);
        self.run(&arguments);
    }

    fn trusting(&self, services: &Services, subject: &str) -> Policy {
        self.write("root.json", &trusted_root(&services.authority, &services.log));
        let root = self.folder.path().join("root.json");
        policy(&format!(
            "trusted_root = \"{}\"\n[[images]]\npattern = \"*\"\n\
             identities = [{{ issuer = \"{ISSUER}\", subject = \"{subject}\" }}]\n",
            root.display()
        ))
    }
}

async fn published(registry: &DockerRegistry, name: &str) -> (ImageReference, Digest) {
    let image = registry.image(name);
    let salt = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let digest = publish(&image, &object(&salt), None).await;
    (image, digest)
}

async fn accepted(image: &ImageReference, trusted: Policy) -> VerifiedBy {
    let verified = Store::new(trusted).pull(image).await.unwrap().verified_by;
    assert!(matches!(verified, VerifiedBy::Signers { .. }));
    let stranger = SigningKey::generate().unwrap();
    let error = Store::new(demand(&[&stranger])).pull(image).await.unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
    verified
}

#[tokio::test]
async fn cosign_2_with_a_key_is_verified_in_both_its_forms() {
    let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version("2")) else { return };
    let (image, digest) = published(&registry, "demo/two:tag").await;
    cosign.sign_by_key(&["--tlog-upload=false", "-a", "stage=production"], &image, digest);
    accepted(&image, cosign.trusted("annotations = { stage = \"production\" }")).await;
    let error =
        Store::new(cosign.trusted("annotations = { stage = \"trial\" }")).pull(&image).await.unwrap_err();
    assert!(error.to_string().contains("stage=production"), "{error}");
    let ours = SigningKey::generate().unwrap();
    sign(&image, &ours, &BTreeMap::new(), None).await.unwrap();
    Store::new(demand(&[&ours])).pull(&image).await.unwrap();
    Store::new(cosign.trusted("")).pull(&image).await.unwrap();
    let encrypted = std::fs::read_to_string(cosign.folder.path().join("cosign.key")).unwrap();
    let sealed = SigningKey::from_pem(&encrypted).unwrap_err();
    assert_eq!(sealed, KeyError::Cosign(CosignKeyError::NoPassword));
}

#[tokio::test]
async fn cosign_3_with_a_key_is_verified_in_both_its_forms() {
    let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version("3")) else { return };
    let (image, digest) = published(&registry, "demo/three:bundle").await;
    cosign.sign_by_key(&["--signing-config", "none.json", "-a", "stage=production"], &image, digest);
    accepted(&image, cosign.trusted("annotations = { stage = \"production\" }")).await;
    assert!(Store::new(cosign.trusted("annotations = { stage = \"trial\" }")).pull(&image).await.is_err());
    let (image, digest) = published(&registry, "demo/three:tag").await;
    let older = ["--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false"];
    cosign.sign_by_key(&older, &image, digest);
    accepted(&image, cosign.trusted("")).await;
}

#[tokio::test]
async fn an_index_that_cosign_signed_is_verified() {
    let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version("3")) else { return };
    let host = Platform::host().unwrap();
    let other = Platform::all().find(|p| *p != host && p.endian() == host.endian()).unwrap();
    let inputs =
        PlatformInputs::several([(host, object("index_ours")), (other, object("index_other"))]).unwrap();
    let built = inputs.build(SourceDate::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    built.write(&layout, "multi").unwrap();
    let image = registry.image("demo/index:v1");
    push(&layout, "multi", &image, None, None).await.unwrap();
    cosign.sign_by_key(&["--signing-config", "none.json"], &image, built.digest());
    let verified = accepted(&image, cosign.trusted("")).await;
    assert!(matches!(verified, VerifiedBy::Signers { subject, .. } if subject == built.digest()));
}

#[tokio::test]
async fn cosign_2_without_a_key_is_verified_against_a_private_root() {
    let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version("2")) else { return };
    let services = Services::start();
    cosign.write("log.pub", &services.log.public_pem());
    cosign.write("authority.pem", &services.authority.pem());
    let (image, digest) = published(&registry, "demo/keyless:two").await;
    let name = image.at_digest(digest).to_string();
    cosign.write("token", &token());
    cosign.run(&[
        "sign",
        "--yes",
        "--identity-token",
        "token",
        "--fulcio-url",
        &services.url,
        "--rekor-url",
        &services.url,
        "--insecure-skip-verify=true",
        &name,
    ]);
    let verified = accepted(&image, cosign.trusting(&services, SUBJECT)).await;
    let who = Signer::Identity { issuer: ISSUER.to_owned(), subject: SUBJECT.to_owned() };
    assert_eq!(verified.signers(), [who]);
    assert!(Store::new(cosign.trusting(&services, "other@example.com")).pull(&image).await.is_err());
    assert!(Store::new(cosign.trusting(&Services::start(), SUBJECT)).pull(&image).await.is_err());
}

#[tokio::test]
async fn cosign_3_without_a_key_is_verified_against_a_private_root() {
    let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version("3")) else { return };
    let services = Services::start();
    cosign.write("services.json", &{
        let service = serde_json::json!([{
            "url": services.url, "majorApiVersion": 1, "operator": "test",
            "validFor": { "start": "2000-01-01T00:00:00Z" },
        }]);
        serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service,
            "rekorTlogUrls": service,
            "rekorTlogConfig": { "selector": "ANY" },
            "tsaConfig": {},
        })
        .to_string()
    });
    let trusted = cosign.trusting(&services, SUBJECT);
    let (image, digest) = published(&registry, "demo/keyless:three").await;
    let name = image.at_digest(digest).to_string();
    cosign.write("token", &token());
    cosign.run(&[
        "sign",
        "--yes",
        "--identity-token",
        "token",
        "--signing-config",
        "services.json",
        "--trusted-root",
        "root.json",
        &name,
    ]);
    let verified = accepted(&image, trusted).await;
    assert!(matches!(&verified, VerifiedBy::Signers { signed_at: Some(_), .. }));
    assert!(Store::new(cosign.trusting(&services, "other@example.com")).pull(&image).await.is_err());
    assert!(Store::new(cosign.trusting(&Services::start(), SUBJECT)).pull(&image).await.is_err());
}

#[tokio::test]
async fn cosign_verifies_what_we_sign() {
    for version in ["2", "3"] {
        let (registry, Some(cosign)) = (DockerRegistry::start(), Cosign::version(version)) else { return };
        let key = SigningKey::generate().unwrap();
        let (image, digest) = published(&registry, "demo/ours:v1").await;
        sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
        cosign.write("ours.pub", &key.public_key().unwrap().to_pem());
        let name = image.at_digest(digest).to_string();
        let mut arguments = vec!["verify", "--key", "ours.pub", "--insecure-ignore-tlog=true"];
        if version == "3" {
            arguments.push("--new-bundle-format=false");
        }
        arguments.push(&name);
        cosign.run(&arguments);
        cosign.write("ours.pub", &SigningKey::generate().unwrap().public_key().unwrap().to_pem());
        assert!(cosign.try_run(&arguments).is_err());
    }
}

#[tokio::test]
async fn keys_of_cosign_sign_here() {
    for version in ["2", "3"] {
        let Some(cosign) = Cosign::version(version) else { return };
        let read = |name: &str| std::fs::read_to_string(cosign.folder.path().join(name)).unwrap();
        let sealed = read("cosign.key");
        let key = SigningKey::from_pem_or_cosign(&sealed, || Some(String::new())).unwrap();
        assert_eq!(key.public_key().unwrap(), PublicKey::from_pem(&read("cosign.pub")).unwrap());
        let wrong = SigningKey::from_pem_or_cosign(&sealed, || Some("other".to_owned())).unwrap_err();
        assert_eq!(wrong, KeyError::Cosign(CosignKeyError::WrongPassword));
    }
}
