//! `skopeo` as an independent reader of our signatures and images, and `buildah` as an independent builder.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, layout, object, publish_signed, unsigned};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Digest, ImageReference, OciLayout, media, signature_tag};
use bpfman_registry::{SigningKey, push, sign};
use serde_json::Value;

/// OpenSSL verifies, because Debian builds skopeo without signature checks.
fn good_signatures(image: &ImageReference, digest: Digest, key: &SigningKey) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let signatures = image.at_tag(&signature_tag(digest));
    skopeo_copy(&format!("docker://{signatures}"), &format!("dir:{}", at("out").display()));
    std::fs::write(at("key.pub"), key.public_key().unwrap().to_pem()).unwrap();
    let manifest: Value = serde_json::from_slice(&std::fs::read(at("out/manifest.json")).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let is_good = |layer: &&Value| {
        assert_eq!(layer["mediaType"], media::SIMPLE_SIGNING);
        let payload = at("out").join(layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
        let document: Value = serde_json::from_slice(&std::fs::read(&payload).unwrap()).unwrap();
        assert_eq!(document["critical"]["image"]["docker-manifest-digest"], digest.to_string());
        assert_eq!(document["critical"]["identity"]["docker-reference"], image.name());
        let signature = layer["annotations"][media::SIGNATURE_ANNOTATION].as_str().unwrap();
        std::fs::write(at("signature"), BASE64_STANDARD.decode(signature).unwrap()).unwrap();
        let verified = Command::new("openssl")
            .args(["dgst", "-sha256", "-verify"])
            .arg(at("key.pub"))
            .arg("-signature")
            .arg(at("signature"))
            .arg(&payload)
            .output()
            .expect("openssl is installed");
        verified.status.success()
    };
    layers.iter().filter(is_good).count()
}

#[tokio::test]
async fn skopeo_and_openssl_verify_what_we_sign() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: openssl is not installed");
        return;
    }
    let registry = DockerRegistry::start();
    let (one, two, stranger) = (key(), key(), key());
    let image = registry.image("demo/skopeo-verifies:v1");
    let digest = publish_signed(&image, &object("skopeo_verifies"), &one).await;
    assert_eq!((good_signatures(&image, digest, &one), good_signatures(&image, digest, &two)), (1, 0));
    let annotations = BTreeMap::from([("team".to_owned(), "net".to_owned())]);
    sign(&image, &two, &annotations, None).await.unwrap();
    for (key, count) in [(&one, 1), (&two, 1), (&stranger, 0)] {
        assert_eq!(good_signatures(&image, digest, key), count);
    }
    for key in [&one, &two] {
        Store::new(demand(&[key])).pull(&image).await.unwrap();
    }
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn skopeo_copy(from: &str, to: &str) {
    let status = Command::new("skopeo")
        .args([
            "--insecure-policy",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            from,
            to,
        ])
        .status()
        .expect("skopeo is installed");
    assert!(status.success());
}

#[tokio::test]
async fn a_layout_that_skopeo_wrote_is_pushed() {
    let (registry, object) = (DockerRegistry::start(), object("skopeo_layout"));
    let folder = tempfile::tempdir().unwrap();
    let (ours, digest) = layout(folder.path(), "ours", &object);
    let theirs = folder.path().join("theirs");
    let place = |path: &Path, name: &str| format!("oci:{}:{name}", path.display());
    skopeo_copy(&place(ours.path(), "ours"), &place(&theirs, "copy"));
    let image = registry.image("demo/layout:v1");
    let layout = OciLayout::open(&theirs).unwrap();
    assert_eq!(push(&layout, "copy", &image, None, None).await.unwrap(), digest);
    assert_eq!(&*Store::new(unsigned()).pull(&image).await.unwrap().bytes, object.bytes());
}

#[tokio::test]
async fn an_image_that_buildah_built_from_our_containerfile_is_loaded() {
    let registry = DockerRegistry::start();
    let folder = tempfile::tempdir().unwrap();
    let object = object("buildah");
    std::fs::write(folder.path().join("prog.o"), object.bytes()).unwrap();
    let containerfile =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/examples/Containerfile.bytecode");
    let buildah = |arguments: &[&str]| {
        let output = Command::new("buildah")
            .args(["--storage-driver", "vfs", "--root"])
            .arg(folder.path().join("root"))
            .arg("--runroot")
            .arg(folder.path().join("run"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .expect("buildah is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let labels = object.labels();
    let (programs, maps) =
        (format!("PROGRAMS={}", labels.programs_json()), format!("MAPS={}", labels.maps_json()));
    let file = containerfile.display().to_string();
    let mut arguments = vec!["build", "--isolation", "chroot", "-f", &file, "-t", "built"];
    for argument in ["BYTECODE_FILE=prog.o", &programs, &maps] {
        arguments.extend(["--build-arg", argument]);
    }
    arguments.push(".");
    buildah(&arguments);
    for format in ["oci", "docker"] {
        let image = registry.image(&format!("demo/buildah:{format}"));
        let target = format!("docker://{image}");
        buildah(&["push", "--tls-verify=false", "--format", format, "built", &target]);
        let loaded = Store::new(unsigned()).pull(&image).await.unwrap();
        assert_eq!((&*loaded.bytes, &loaded.labels), (object.bytes(), labels));
        assert_eq!(loaded.file_name.as_deref(), Some("prog.o"));
    }
}
