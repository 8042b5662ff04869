use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, object, policy, publish, publish_signed, unsigned};
use bpfman_image_format::{Digest, ImageReference};
use bpfman_registry::{SigningKey, sign};
use bpfmand_image::{Bounds, Category, FetchPolicy, ImageError, Policy};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

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
    let mut digests = Vec::new();
    for (tag, version) in [("old", "1.9"), ("new", "1.10")] {
        digests.push(publish(&at(tag), &object(&format!("growing_{tag}")), None).await);
        sign_with(&at(tag), &key, "version", version).await;
    }
    let old_digest = digests[0];
    let store = Store::new(growing());
    store.pull(&at("old")).await.unwrap();
    store.pull(&at("new")).await.unwrap();
    store.pull(&at("new")).await.unwrap();
    let refused = |error: ImageError| {
        assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("1.10")), "{error}");
        assert_eq!(error.category(), Category::Denied);
    };
    refused(store.pull(&at("old")).await.unwrap_err());
    let store = store.restarted(growing());
    refused(store.load(&at("old"), FetchPolicy::Never).await.unwrap_err());
    store.store.prune(BTreeSet::new(), Duration::ZERO).await.unwrap();
    refused(store.pull(&at("old")).await.unwrap_err());
    let other = registry.image("demo/other:v1");
    publish(&other, &object("growing_other"), None).await;
    sign_with(&other, &key, "version", "1").await;
    store.pull(&other).await.unwrap();
    // The digest cannot be loaded under another name: cached content belongs to the names under which it was fetched.
    let nowhere = registry.image("demo/nowhere").at_digest(old_digest);
    let error = store.load(&nowhere, FetchPolicy::Never).await.unwrap_err();
    assert!(matches!(error, ImageError::NotCached { .. } | ImageError::NotYours { .. }), "{error}");
    assert_eq!(store.pull(&nowhere).await.unwrap_err().category(), Category::NotFound);
    // A deliberate rollback: the old image, signed again with a higher version.
    sign_with(&at("old"), &key, "version", "2").await;
    store.load(&at("old"), FetchPolicy::Always).await.unwrap();
    refused_below_two(store.pull(&at("new")).await);
    let bare = registry.image("demo/bare:v1");
    publish_signed(&bare, &object("growing_bare"), &key).await;
    assert!(matches!(store.pull(&bare).await, Err(ImageError::Untrusted { .. })));
    sign_with(&bare, &key, "version", "soon").await;
    let error = store.load(&bare, FetchPolicy::Always).await.unwrap_err();
    assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("soon")), "{error}");
}

fn refused_below_two(result: Result<bpfmand_image::VerifiedImage, ImageError>) {
    let error = result.unwrap_err();
    assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("2 was accepted")), "{error}");
}

#[tokio::test]
async fn revoked_image_is_refused_in_every_mode() {
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
    store.store.set_policy(rule(&key, &format!("[revoked]\nkeys = [\"{fingerprint}\"]\n")));
    let error = store.load(&image, FetchPolicy::Never).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Untrusted { why, .. } if why.to_string().contains("revoked")),
        "{error}"
    );
}

#[tokio::test]
async fn cache_is_collected_by_size_and_age_except_needed_images() {
    let registry = DockerRegistry::start();
    let store = Store::new(unsigned());
    let mut loaded = Vec::new();
    for name in ["one", "two", "three"] {
        let image = registry.image(&format!("demo/{name}:v1"));
        publish(&image, &object(&format!("collect_{name}")), None).await;
        loaded.push((image.clone(), store.pull(&image).await.unwrap()));
        // Records carry times of a coarse clock, but the order of use must differ.
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
    let bounds = Bounds { bytes: size * 5 / 2, age: Duration::from_secs(3600) };
    let store = Store { store: store.store.with_bounds(bounds), folder: store.folder };
    let collected = store.store.collect(BTreeSet::new()).await.unwrap();
    assert_eq!(collected.images, [format!("{}@{}", loaded[0].0.name(), loaded[0].1.digest)]);
    assert!(collected.bytes >= size / 2);
    assert_eq!(names(&store).await, ["three", "two"]);
    assert_eq!(
        store.load(&loaded[0].0, FetchPolicy::Never).await.unwrap_err().category(),
        Category::NotCached
    );
    let store = Store { store: store.store.with_bounds(Bounds { bytes: 0, ..bounds }), folder: store.folder };
    store.store.collect([loaded[1].1.digest].into()).await.unwrap();
    assert_eq!(names(&store).await, ["two"]);
    store.load(&loaded[1].0, FetchPolicy::Never).await.unwrap();
    store.store.prune(BTreeSet::new(), Duration::ZERO).await.unwrap();
    assert_eq!(std::fs::read_dir(store.blobs()).unwrap().count(), 0, "nothing stays of images that went");
}

fn age(store: &Store, seconds: u64) {
    let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
    for entry in std::fs::read_dir(store.folder.path().join("images/images")).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        if file.metadata().unwrap().modified().unwrap() > then {
            file.set_modified(then).unwrap();
        }
    }
}

fn copy(from: &ImageReference, to: &ImageReference, digest: Digest) {
    let signatures = bpfman_image_format::signature_tag(digest);
    for (from, to) in [(from.clone(), to.clone()), (from.at_tag(&signatures), to.at_tag(&signatures))] {
        let status = std::process::Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
            .args(["--dest-tls-verify=false", "--preserve-digests"])
            .arg(format!("docker://{from}"))
            .arg(format!("docker://{to}"))
            .status()
            .expect("skopeo is installed");
        assert!(status.success());
    }
}

#[tokio::test]
async fn image_cannot_pass_as_another_or_roll_back_by_another_name() {
    let (registry, key) = (DockerRegistry::start(), key());
    let at = |tag: &str| registry.image("network/firewall").at_tag(tag);
    let mut digests = Vec::new();
    for (tag, version) in [("v1", "1"), ("v2", "2")] {
        digests.push(publish(&at(tag), &object(&format!("passing_{tag}")), None).await);
        sign_with(&at(tag), &key, "version", version).await;
    }
    let other = registry.image("network/other:v1");
    copy(&at("v1"), &other, digests[0]);
    let store = Store::new(rule(&key, "increasing = \"version\""));
    store.pull(&at("v2")).await.unwrap();
    for name in [other.clone(), other.at_digest(digests[0])] {
        let error = store.pull(&name).await.unwrap_err();
        assert!(
            matches!(&error, ImageError::Untrusted { why, .. } if why.to_string().contains("network/firewall")),
            "{error}"
        );
    }
    let original = registry.image("network/firewall").name();
    for signed_as in [original.as_str(), "*"] {
        let copies = || rule(&key, &format!("increasing = \"version\"\nsigned_as = [\"{signed_as}\"]"));
        Store::new(copies()).pull(&other).await.unwrap();
        let store = Store::new(copies());
        store.pull(&at("v2")).await.unwrap();
        let error = store.pull(&other).await.unwrap_err();
        assert!(matches!(&error, ImageError::WayBack { why, .. } if why.contains("2 was")), "{error}");
    }
    let elsewhere = rule(&key, "signed_as = [\"quay.io/elsewhere/*\"]");
    assert!(matches!(Store::new(elsewhere).pull(&at("v2")).await, Err(ImageError::Untrusted { .. })));
}

#[tokio::test]
async fn refused_pull_leaves_nothing_in_the_cache() {
    let hostile = crate::harness::hostile::Hostile::start();
    let bounds = Bounds { bytes: 20 << 20, ..Bounds::default() };
    let store = Store::new(unsigned());
    let store = Store { store: store.store.with_bounds(bounds), folder: store.folder };
    for round in 0..3_u8 {
        hostile.image_of(&vec![round + 1; 21 << 20]);
        let error = store.pull(&hostile.image("a:latest")).await.unwrap_err();
        assert_eq!(error.category(), Category::Malformed, "{error}");
        assert_eq!(store.kept(), [""; 0]);
    }
    let key = key();
    store.store.set_policy(demand(&[&key]));
    let (_, digest) = hostile.image_of(object("refused").bytes());
    assert!(matches!(store.pull(&hostile.image("a:latest")).await, Err(ImageError::Unsigned { .. })));
    assert_eq!(store.kept(), [""; 0]);
    let loaded = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap();
    assert_eq!(loaded.digest, digest);
    let text = format!(
        "[[images]]\npattern = \"*\"\nunsigned = true\n[revoked]\ndigests = [\"{}\"]\n",
        loaded.elf_digest
    );
    store.store.set_policy(policy(&text));
    assert!(matches!(store.pull(&hostile.image("a:latest")).await, Err(ImageError::Revoked { .. })));
    assert_eq!(store.kept(), [""; 0]);
    store.store.set_policy(unsigned());
    store.pull(&hostile.image("a:latest")).await.unwrap();
}

#[tokio::test]
async fn an_earlier_version_is_judged_by_the_policy_as_it_is_now() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/back:v1");
    publish(&image, &object("back"), None).await;
    sign_with(&image, &key, "version", "1").await;
    let growing = || rule(&key, "increasing = \"version\"");
    let store = Store::new(growing());
    let evidence = store.pull(&image).await.unwrap().evidence();
    let judged = async |store: &Store, policy: Policy| {
        store.store.set_policy(policy);
        store.store.recheck(&image, Some(&evidence)).await
    };
    let newer = registry.image("demo/back:v2");
    publish(&newer, &object("back_newer"), None).await;
    sign_with(&newer, &key, "version", "2").await;
    let other = SigningKey::generate().unwrap();
    for is_cached in [true, false] {
        let store = Store::new(growing());
        if is_cached {
            store.pull(&image).await.unwrap();
        }
        judged(&store, growing()).await.unwrap();
        let pinned = format!("digests = [\"{}\"]", Digest::of(b"other"));
        let revoked = format!("[revoked]\nkeys = [\"{}\"]\n", key.public_key().unwrap().fingerprint());
        for refusing in [
            demand(&[&other]),
            rule(&key, &pinned),
            rule(&key, &revoked),
            rule(&key, "annotations = { stage = \"production\" }"),
            rule(&key, "signed_as = [\"quay.io/*\"]"),
            rule(&key, "min_signatures = 1\nincreasing = \"release\""),
            Policy::default(),
        ] {
            let error = judged(&store, refusing).await.unwrap_err();
            assert_eq!(error.category(), Category::Denied, "{is_cached}: {error}");
        }
        judged(&store, unsigned()).await.unwrap();
        judged(&store, policy("mode = \"off\"\n")).await.unwrap();
        judged(&store, policy("mode = \"warn\"\n")).await.unwrap();
        assert!(store.store.recheck(&image, None).await.is_ok(), "only warned");
        store.store.set_policy(growing());
        assert!(store.store.recheck(&image, None).await.is_err(), "nothing is known of it");
        store.pull(&newer).await.unwrap();
        let error = judged(&store, growing()).await.unwrap_err();
        assert!(matches!(error, ImageError::WayBack { .. }), "{is_cached}: {error}");
    }
}
