//! Interoperation with the `cosign` program, where it is installed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it did not expect")]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bpfman_image_format::{SigningKey, sign};
use bpfmand_image::VerifiedBy;
use harness::docker_registry::DockerRegistry;
use harness::{Store, demand, object, policy, publish};

/// Runs cosign with a home of its own and no network beyond this machine.
fn cosign(folder: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("cosign");
    command.args(arguments).env("HOME", folder).env("COSIGN_PASSWORD", "").current_dir(folder);
    let output = command.output().expect("cosign was found before");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

fn is_installed() -> bool {
    let found = Command::new("cosign").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: cosign is not installed");
    }
    found
}

#[tokio::test]
async fn cosign_verifies_what_we_sign() {
    if !is_installed() {
        return;
    }
    let (registry, key) = (DockerRegistry::start(), SigningKey::generate().unwrap());
    let image = registry.image("demo/ours:v1");
    let digest = publish(&image, &object("cosign_ours"), None).await;
    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ours.pub"), key.public_key().unwrap().to_pem()).unwrap();
    let name = image.at_digest(digest).to_string();
    let arguments =
        ["verify", "--key", "ours.pub", "--insecure-ignore-tlog=true", "--allow-http-registry", &name];
    assert!(cosign(folder.path(), &arguments));
}

#[tokio::test]
async fn we_verify_what_cosign_signs() {
    if !is_installed() {
        return;
    }
    let (registry, ours) = (DockerRegistry::start(), SigningKey::generate().unwrap());
    let image = registry.image("demo/theirs:v1");
    let digest = publish(&image, &object("cosign_theirs"), None).await;
    let folder = tempfile::tempdir().unwrap();
    assert!(cosign(folder.path(), &["generate-key-pair"]));
    let name = image.at_digest(digest).to_string();
    let sign_with = |more: &[&str]| {
        let mut arguments = vec!["sign", "--yes", "--key", "cosign.key", "--allow-http-registry"];
        arguments.extend(more);
        arguments.push(&name);
        cosign(folder.path(), &arguments)
    };
    // Version 2 writes this form as it is; version 3 has to be told.
    assert!(
        sign_with(&["--tlog-upload=false"])
            || sign_with(&["--tlog-upload=false", "--new-bundle-format=false", "--use-signing-config=false"])
    );
    let public = std::fs::read_to_string(folder.path().join("cosign.pub")).unwrap();
    let text = format!("[[images]]\npattern = \"*\"\nkeys = ['''{public}''']\n");
    let loaded = Store::new(policy(&text)).pull(&image).await.unwrap();
    assert!(matches!(loaded.verified_by, VerifiedBy::Signers { .. }));
    // Ours is added beside theirs, and both stay good.
    sign(&image, &ours, &BTreeMap::new(), None).await.unwrap();
    Store::new(demand(&[&ours])).pull(&image).await.unwrap();
    Store::new(policy(&text)).pull(&image).await.unwrap();
    let encrypted = std::fs::read_to_string(folder.path().join("cosign.key")).unwrap();
    assert!(SigningKey::from_pem(&encrypted).unwrap_err().to_string().contains("encrypted"));
}
