use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, object, policy, publish, publish_signed, unsigned};
use bpfman_image_format::signature_tag;
use bpfman_registry::{SignOutcome, SignStep, SigningKey, sign, sign_in_steps};
use bpfmand_image::{Caller, Category, FetchPolicy, ImageError, ImageRequest, VerifiedBy};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[tokio::test]
async fn an_unsigned_image_is_refused_and_no_layer_fetched() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("unsigned"));
    let image = registry.image("demo/unsigned:v1");
    publish(&image, &object, None).await;
    let store = Store::new(demand(&[&key]));
    let request = ImageRequest {
        image: image.clone(),
        pull_policy: FetchPolicy::IfNotPresent,
        credential: None,
        caller: Caller::Other,
    };
    let layers = std::sync::atomic::AtomicUsize::new(0);
    let count = |_, _| {
        layers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let error = store.store.load(&request, Some(&count)).await.err().unwrap();
    assert!(matches!(error, ImageError::Unsigned { .. }), "{error}");
    assert_eq!(error.category(), Category::Denied);
    assert_eq!(layers.into_inner(), 0, "no layer was fetched");
    assert_eq!(store.kept(), [""; 0], "nothing of it is kept");

    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
    store.pull(&image).await.unwrap();
}

#[tokio::test]
async fn without_a_rule_nothing_is_even_asked() {
    let key = key();
    // Without a listener, a connection would fail as unreachable.
    let image = "127.0.0.1:1/demo/a:v1".parse().unwrap();
    let store = Store::new(bpfmand_image::Policy::default());
    let error = store.pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::NoRule { .. }), "{error}");
    assert!(
        error.hint().unwrap().to_string().contains("bpfman policy allow 127.0.0.1:1/demo/a --unsigned"),
        "{error}"
    );
    assert!(!store.folder.path().join("images").exists());
    let error = Store::new(demand(&[&key])).pull(&image).await.unwrap_err();
    assert_eq!(error.category(), Category::Unreachable, "{error}");
}

#[tokio::test]
async fn a_signature_by_another_key_is_refused() {
    let (registry, object) = (DockerRegistry::start(), object("stranger"));
    let (trusted, stranger) = (key(), key());
    let image = registry.image("demo/stranger:v1");
    publish_signed(&image, &object, &stranger).await;
    let store = Store::new(demand(&[&trusted]));
    let error = store.pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
    let signed = sign(&image, &trusted, &BTreeMap::new(), None).await.unwrap();
    assert_eq!(signed.outcome, SignOutcome::Created);
    store.pull(&image).await.unwrap();
    let signed = sign(&image, &trusted, &BTreeMap::new(), None).await.unwrap();
    assert_eq!(signed.outcome, SignOutcome::Unchanged);
    Store::new(demand(&[&stranger])).pull(&image).await.unwrap();
    Store::new(demand(&[&key(), &stranger])).pull(&image).await.unwrap();
}

#[tokio::test]
async fn content_with_two_names_keeps_the_signatures_of_both() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("two_names"));
    let images = ["demo/firewall:v1", "demo/copy:v1"].map(|name| registry.image(name));
    let mut digests = Vec::new();
    for image in &images {
        digests.push(publish_signed(image, &object, &key).await);
    }
    assert_eq!(digests[0], digests[1]);
    let store = Store::new(demand(&[&key]));
    for image in &images {
        store.pull(image).await.unwrap();
    }
    for image in &images {
        store.load(image, FetchPolicy::Never).await.unwrap();
    }
}

#[tokio::test]
async fn signing_reports_steps_and_pushed_bytes() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("steps"));
    let image = registry.image("demo/steps:v1");
    publish(&image, &object, None).await;
    let told = Mutex::new(Vec::new());
    let tell = |step| told.lock().unwrap().push(step);
    let before = registry.bytes();
    let signed = sign_in_steps(&image, &key, &BTreeMap::new(), None, &tell).await.unwrap();
    assert_eq!(signed.outcome, SignOutcome::Created);
    let bytes = registry.bytes() - before;
    let steps = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(steps, [SignStep::Resolve, SignStep::ReadSignatures, SignStep::Push { bytes }]);
    let numbers: Vec<usize> = steps.iter().map(|step| step.number()).collect();
    assert_eq!(numbers, Vec::from_iter(1..=SignStep::COUNT));
    let signed = sign_in_steps(&image, &key, &BTreeMap::new(), None, &tell).await.unwrap();
    assert_eq!(signed.outcome, SignOutcome::Unchanged);
    assert_eq!(*told.lock().unwrap(), [SignStep::Resolve, SignStep::ReadSignatures]);
}

#[tokio::test]
async fn a_rule_may_demand_several_signers() {
    let (registry, object) = (DockerRegistry::start(), object("several"));
    let (one, two) = (key(), key());
    let image = registry.image("demo/several:v1");
    publish_signed(&image, &object, &one).await;
    let pem = |key: &SigningKey| key.public_key().unwrap().to_pem();
    let text = format!(
        "[[images]]\npattern = \"*\"\nmin_signatures = 2\nkeys = ['''{}''', '''{}''']\n",
        pem(&one),
        pem(&two)
    );
    let store = Store::new(policy(&text));
    assert!(matches!(store.pull(&image).await, Err(ImageError::Untrusted { .. })));
    sign(&image, &two, &BTreeMap::new(), None).await.unwrap();
    assert!(matches!(
        store.pull(&image).await.unwrap().verified_by,
        VerifiedBy::Signers { signers, .. } if signers.len() == 2
    ));
}

#[tokio::test]
async fn a_signature_of_another_image_is_refused() {
    let (registry, key) = (DockerRegistry::start(), key());
    let (good, evil) = (registry.image("demo/a:good"), registry.image("demo/a:evil"));
    let good_digest = publish_signed(&good, &object("good"), &key).await;
    let evil_digest = publish(&evil, &object("evil"), None).await;
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .arg(format!("docker://{}", good.at_tag(&signature_tag(good_digest))))
        .arg(format!("docker://{}", good.at_tag(&signature_tag(evil_digest))))
        .status()
        .unwrap();
    assert!(copied.success());
    let error = Store::new(demand(&[&key])).pull(&evil).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::Untrusted { why, .. } if why.to_string().contains("another image")),
        "{error}"
    );
}

#[tokio::test]
async fn a_moved_tag_needs_a_signature_of_its_own() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/moved:v1");
    let (old, new) = (object("old"), object("new"));
    publish_signed(&image, &old, &key).await;
    let store = Store::new(demand(&[&key]));
    assert_eq!(&*store.load(&image, FetchPolicy::Always).await.unwrap().bytes, old.bytes());
    publish(&image, &new, None).await;
    assert_eq!(&*store.pull(&image).await.unwrap().bytes, old.bytes());
    let error = store.load(&image, FetchPolicy::Always).await.unwrap_err();
    assert!(matches!(error, ImageError::Unsigned { .. }), "{error}");
    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
    assert_eq!(&*store.load(&image, FetchPolicy::Always).await.unwrap().bytes, new.bytes());
}

#[tokio::test]
async fn a_forged_cached_signature_is_refused() {
    let (mut registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/forged:v1");
    publish(&image, &object("forged"), None).await;
    let store = Store::new(unsigned());
    let digest = store.pull(&image).await.unwrap().digest;
    registry.stop();
    let store = store.restarted(demand(&[&key]));
    let folder = store.folder.path().join("images/signatures");
    std::fs::create_dir_all(&folder).unwrap();
    let forged = r#"[{"kind":"simple_signing","payload":"e30=","signature":"AAAA"}]"#;
    std::fs::write(folder.join(digest.hex()), forged).unwrap();
    let error = store.load(&image, FetchPolicy::Never).await.unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn warn_loads_and_says_why_it_should_not_have() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("warned"));
    let image = registry.image("demo/warned:v1");
    publish(&image, &object, None).await;
    let pem = key.public_key().unwrap().to_pem();
    let keyed = format!("mode = \"warn\"\n[[images]]\npattern = \"*\"\nkeys = ['''{pem}''']\n");
    for text in ["mode = \"warn\"\n", &keyed] {
        let loaded = Store::new(policy(text)).pull(&image).await.unwrap();
        assert_eq!(&*loaded.bytes, object.bytes());
        assert!(matches!(&loaded.verified_by, VerifiedBy::Warned { reason } if !reason.is_empty()));
    }
    let loaded = Store::new(policy("mode = \"off\"\n")).pull(&image).await.unwrap();
    assert_eq!(loaded.verified_by, VerifiedBy::Off);
    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();
    let loaded = Store::new(policy(&keyed)).pull(&image).await.unwrap();
    assert!(matches!(loaded.verified_by, VerifiedBy::Signers { .. }));
}
