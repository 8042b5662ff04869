//! Rules beyond signatures: pins, annotations that only grow, what is revoked; and what the cache keeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it did not expect")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpfman_image_format::{Digest, ImageReference, SigningKey, archive, save, sign};
use bpfmand_image::{Bounds, Category, ImageError, Outcome, Policy, PullPolicy};
use harness::docker_registry::DockerRegistry;
use harness::{Store, demand, object, policy, publish, publish_signed, unsigned};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

/// The policy that demands a key, with more lines in its entry, and more tables after it.
fn rule(key: &SigningKey, more: &str) -> Policy {
    let pem = key.public_key().unwrap().to_pem();
    policy(&format!("[[images]]\npattern = \"*\"\nkeys = ['''{pem}''']\n{more}\n"))
}

async fn sign_with(image: &ImageReference, key: &SigningKey, name: &str, value: &str) {
    let annotations = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    sign(image, key, &annotations, None).await.unwrap();
}

#[tokio::test]
async fn a_rule_may_name_the_only_images_by_digest() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/pinned:v1");
    let digest = publish_signed(&image, &object("pinned"), &key).await;
    let other = format!("digests = [\"{}\"]", Digest::of(b"other"));
    Store::new(rule(&key, &format!("digests = [\"{digest}\"]"))).pull(&image).await.unwrap();
    let error = Store::new(rule(&key, &other)).pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::NotPinned { digest: found, .. } if found == digest), "{error}");
    assert_eq!(error.category(), Category::Denied);
    // A pin is enough by itself, where the rule says so in writing.
    let text = format!("[[images]]\npattern = \"*\"\nunsigned = true\ndigests = [\"{digest}\"]\n");
    Store::new(policy(&text)).pull(&image).await.unwrap();
    let text = format!("[[images]]\npattern = \"*\"\nunsigned = true\n{other}\n");
    assert!(Store::new(policy(&text)).pull(&image).await.is_err());
}

#[tokio::test]
async fn an_annotation_that_has_to_grow_forbids_the_way_back() {
    let (registry, key) = (DockerRegistry::start(), key());
    let growing = || rule(&key, "increasing = \"version\"");
    let at = |tag: &str| registry.image("demo/growing").at_tag(tag);
    for (tag, version) in [("old", "1.9"), ("new", "1.10")] {
        publish(&at(tag), &object(&format!("growing_{tag}")), None).await;
        sign_with(&at(tag), &key, "version", version).await;
    }
    let store = Store::new(growing());
    store.pull(&at("old")).await.unwrap();
    store.pull(&at("new")).await.unwrap();
    store.pull(&at("new")).await.unwrap();
    let refused = |error: ImageError| {
        assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("1.10")), "{error}");
        assert_eq!(error.category(), Category::Denied);
    };
    refused(store.pull(&at("old")).await.unwrap_err());
    // Also after a restart, from the cache, by digest, and when nothing else is left of the cache.
    let store = store.restarted(growing());
    refused(store.load(&at("old"), PullPolicy::Never).await.unwrap_err());
    store.store.prune(BTreeSet::new(), Duration::ZERO).await.unwrap();
    refused(store.pull(&at("old")).await.unwrap_err());
    // Another repository has a number of its own.
    let other = registry.image("demo/other:v1");
    publish(&other, &object("growing_other"), None).await;
    sign_with(&other, &key, "version", "1").await;
    store.pull(&other).await.unwrap();
    // Going back on purpose: the old image, signed anew with a higher number.
    sign_with(&at("old"), &key, "version", "2").await;
    store.load(&at("old"), PullPolicy::Always).await.unwrap();
    refused_below_two(store.pull(&at("new")).await);
    // Without the annotation, or with one that is no number, an image is not loaded at all.
    let bare = registry.image("demo/bare:v1");
    publish_signed(&bare, &object("growing_bare"), &key).await;
    assert!(matches!(store.pull(&bare).await, Err(ImageError::Untrusted { .. })));
    sign_with(&bare, &key, "version", "soon").await;
    let error = store.load(&bare, PullPolicy::Always).await.unwrap_err();
    assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("soon")), "{error}");
}

fn refused_below_two(result: Result<bpfmand_image::VerifiedImage, ImageError>) {
    let error = result.unwrap_err();
    assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("2 was accepted")), "{error}");
}

#[tokio::test]
async fn what_is_revoked_is_refused_in_every_mode() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/revoked:v1");
    publish_signed(&image, &object("revoked"), &key).await;
    let loaded = Store::new(demand(&[&key])).pull(&image).await.unwrap();
    for digest in [loaded.digest, loaded.layer_digest, loaded.elf_digest] {
        let revoked = format!("[revoked]\ndigests = [\"{digest}\"]\n");
        for mode in ["enforce", "warn", "off"] {
            let text = format!("mode = \"{mode}\"\n[[images]]\npattern = \"*\"\nunsigned = true\n{revoked}");
            let error = Store::new(policy(&text)).pull(&image).await.unwrap_err();
            assert!(matches!(error, ImageError::Revoked { digest: found, .. } if found == digest), "{error}");
        }
    }
    let fingerprint = key.public_key().unwrap().fingerprint();
    let store = Store::new(demand(&[&key]));
    store.pull(&image).await.unwrap();
    // Cached and loaded a moment ago: no longer.
    store.store.set_policy(rule(&key, &format!("[revoked]\nkeys = [\"{fingerprint}\"]\n")));
    let error = store.load(&image, PullPolicy::Never).await.unwrap_err();
    assert!(matches!(&error, ImageError::Untrusted { why, .. } if why.contains("revoked")), "{error}");
}

#[tokio::test]
async fn the_cache_is_collected_by_size_and_age_but_for_what_is_needed() {
    let registry = DockerRegistry::start();
    let store = Store::new(unsigned());
    let mut loaded = Vec::new();
    for name in ["one", "two", "three"] {
        let image = registry.image(&format!("demo/{name}:v1"));
        publish(&image, &object(&format!("collect_{name}")), None).await;
        loaded.push((image.clone(), store.pull(&image).await.unwrap()));
        // Records carry times of a coarse clock; the order of use is what counts here.
        age(&store, 100 - 10 * loaded.len() as u64);
    }
    let images = store.store.images().await.unwrap();
    assert_eq!(images.len(), 3);
    assert!(images.iter().all(|image| image.tags == ["v1"] && image.bytes > 0));
    let size = images[0].bytes;
    let names = async |store: &Store| {
        let images = store.store.images().await.unwrap();
        images.into_iter().map(|image| image.name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // Room for two and a half: the longest unused goes.
    let bounds = Bounds { bytes: size * 5 / 2, age: Duration::from_secs(3600) };
    let store = Store { store: store.store.with_bounds(bounds), folder: store.folder };
    let collected = store.store.collect(BTreeSet::new()).await.unwrap();
    assert_eq!(collected.images, [format!("{}@{}", loaded[0].0.name(), loaded[0].1.digest)]);
    assert!(collected.bytes >= size / 2);
    assert_eq!(names(&store).await, ["three", "two"]);
    assert_eq!(
        store.load(&loaded[0].0, PullPolicy::Never).await.unwrap_err().category(),
        Category::NotCached
    );
    // What is needed stays, however small the room is.
    let store = Store { store: store.store.with_bounds(Bounds { bytes: 0, ..bounds }), folder: store.folder };
    store.store.collect([loaded[1].1.digest].into()).await.unwrap();
    assert_eq!(names(&store).await, ["two"]);
    store.load(&loaded[1].0, PullPolicy::Never).await.unwrap();
    store.store.prune(BTreeSet::new(), Duration::ZERO).await.unwrap();
    assert_eq!(std::fs::read_dir(store.blobs()).unwrap().count(), 0, "nothing stays of images that went");
}

/// Makes every use look so many seconds old, unless it was noted as older already.
fn age(store: &Store, seconds: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
    for entry in std::fs::read_dir(store.folder.path().join("images/images")).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        if file.metadata().unwrap().modified().unwrap() > then {
            file.set_modified(then).unwrap();
        }
    }
}

#[tokio::test]
async fn layouts_of_skopeo_and_our_own_archives_are_imported() {
    let (mut registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/import:v1");
    let object = object("import");
    let digest = publish_signed(&image, &object, &key).await;
    let folder = tempfile::tempdir().unwrap();
    let layout = bpfman_image_format::Layout::open_or_create(&folder.path().join("layout")).unwrap();
    let saved = save(&image, &layout, None).await.unwrap();
    assert_eq!((saved.digest, saved.signatures), (digest, 1));
    let packed = folder.path().join("image.tar");
    archive(&layout, &packed).unwrap();
    // skopeo's own, with the whole name as it is in the field, and no signature.
    let theirs = folder.path().join("theirs");
    let status = std::process::Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{image}"))
        .arg(format!("oci-archive:{}:{image}", theirs.display()))
        .status()
        .expect("skopeo is installed");
    assert!(status.success());
    registry.stop();
    for (path, is_signed) in [(layout.path(), true), (packed.as_path(), true), (theirs.as_path(), false)] {
        let store = Store::new(demand(&[&key]));
        let imported = store.store.import(path).await.unwrap();
        assert_eq!((imported.len(), imported[0].digest), (1, digest), "{}", path.display());
        assert_eq!(matches!(imported[0].outcome, Outcome::Verified(_)), is_signed);
        let loaded = store.load(&image, PullPolicy::Never).await;
        assert_eq!(loaded.is_ok(), is_signed);
        let store = store.restarted(unsigned());
        assert_eq!(&*store.load(&image, PullPolicy::Never).await.unwrap().bytes, object.bytes());
        assert_eq!(store.left_over(), 0);
    }
}

#[tokio::test]
async fn layouts_that_are_none_or_lie_are_refused_and_leave_nothing_loadable() {
    let folder = tempfile::tempdir().unwrap();
    let tar = |entries: &[(&str, &[u8])]| {
        let path = folder.path().join("bad.tar");
        let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (name, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap();
        path
    };
    let blob = format!("blobs/sha256/{}", Digest::of(b"right").hex());
    let index = br#"{"schemaVersion":2,"manifests":[]}"#.as_slice();
    for (entries, part) in [
        (vec![], "no index.json"),
        (vec![("index.json", b"[]".as_slice())], "index.json"),
        (vec![("index.json", index)], "no image whose name"),
        (vec![("index.json", index), (blob.as_str(), b"wrong".as_slice())], "digest"),
    ] {
        let store = Store::new(unsigned());
        let error = store.store.import(&tar(&entries)).await.unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert_eq!(store.left_over(), 0);
        assert!(store.store.images().await.unwrap().is_empty());
    }
    let store = Store::new(unsigned());
    assert_eq!(
        store.store.import(&folder.path().join("none")).await.unwrap_err().category(),
        Category::Storage
    );
    std::fs::write(folder.path().join("text"), "text").unwrap();
    assert_eq!(
        store.store.import(&folder.path().join("text")).await.unwrap_err().category(),
        Category::Malformed
    );
}
