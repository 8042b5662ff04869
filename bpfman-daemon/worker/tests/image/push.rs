use std::collections::BTreeMap;

use crate::harness::authority::Authority;
use crate::harness::bare_registry::{BareRegistry, Habits};
use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, layout, object, publish, publish_signed, unsigned};
use bpfman_image_format::Credential;
use bpfman_registry::{
    PushError, RegistryAccess, RegistryError, SigningKey, fetch_labels, fetch_object, push, save, sign,
};

/// For example, the registry of go-containerregistry ends uploads without a `Location`.
#[tokio::test]
async fn uploads_that_end_without_a_location_are_whole() {
    for absolute_uploads in [false, true] {
        let registry = BareRegistry::start(Habits { absolute_uploads, ..Habits::default() });
        let (image, key) = (registry.image("a:1"), SigningKey::generate().unwrap());
        let object = object("no_location");
        let digest = publish_signed(&image, &object, &key).await;
        let loaded = Store::new(demand(&[&key])).pull(&image).await.unwrap();
        assert_eq!((loaded.digest, &*loaded.bytes), (digest, object.bytes()));
        let uploads = |requests: Vec<String>| requests.iter().filter(|one| one.starts_with("POST")).count();
        let before = uploads(registry.requests());
        publish_signed(&image, &object, &key).await;
        assert_eq!(uploads(registry.requests()), before);
    }
}

#[tokio::test]
async fn uploads_that_end_by_another_success_are_whole() {
    for success in [200, 202, 204] {
        let registry = BareRegistry::start(Habits { success: Some(success), ..Habits::default() });
        let object = object("other_success");
        let digest = publish(&registry.image("a:1"), &object, None).await;
        let loaded = Store::new(unsigned()).pull(&registry.image("a:1")).await.unwrap();
        assert_eq!((loaded.digest, &*loaded.bytes), (digest, object.bytes()), "{success}");
    }
}

#[tokio::test]
async fn upload_that_leaves_nothing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, _) = layout(folder.path(), "image", &object("forgotten"));
    for habits in [
        Habits { forgets: true, ..Habits::default() },
        Habits { success: Some(202), forgets: true, ..Habits::default() },
    ] {
        let registry = BareRegistry::start(habits);
        let error = push(&layout, "image", &registry.image("a:1"), None, None).await.unwrap_err();
        assert!(matches!(error, PushError::Registry(RegistryError::Refused { .. })), "{error}");
        assert!(!registry.requests().iter().any(|one| one.starts_with("PUT /v2/a/manifests")), "{error}");
    }
}

#[tokio::test]
async fn token_that_expires_in_the_middle_is_fetched_again() {
    let registry = BareRegistry::start(Habits { token_lasts: Some(2), ..Habits::default() });
    let (image, key) = (registry.image("a:1"), SigningKey::generate().unwrap());
    let object = object("expired");
    publish_signed(&image, &object, &key).await;
    let pushed = registry.tokens();
    assert!(pushed > 2, "{:?}", registry.requests());
    let loaded = Store::new(demand(&[&key])).pull(&image).await.unwrap();
    assert_eq!(&*loaded.bytes, object.bytes());
    assert!(registry.tokens() > pushed + 1, "{:?}", registry.requests());
    let scopes = registry.requests();
    assert!(scopes.iter().any(|one| one.contains("repository%3Aa%3Apull%2Cpush")), "{scopes:?}");
    assert!(scopes.last().is_some_and(|one| !one.contains("push")), "{scopes:?}");
}

#[tokio::test]
async fn registry_message_about_manifest_is_reported() {
    let body = r#"{"errors":[{"code":"DENIED","message":"tags are immutable"}]}"#;
    for status in [400, 403, 412] {
        let registry =
            BareRegistry::start(Habits { refuses_manifests: Some((status, body)), ..Habits::default() });
        let folder = tempfile::tempdir().unwrap();
        let (layout, _) = layout(folder.path(), "image", &object("words"));
        let error = push(&layout, "image", &registry.image("a:1"), None, None).await.unwrap_err();
        let is_denied = matches!(error, PushError::Registry(RegistryError::Unauthorized { .. }));
        assert_eq!(is_denied, status == 403, "{error}");
        let error = error.to_string();
        assert!(
            error.contains("\"DENIED: tags are immutable\"") && error.contains(&status.to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn registry_with_an_authority_of_its_own_is_pushed_to() {
    let authority = Authority::new("registries");
    let registry = DockerRegistry::start_with_tls(&authority);
    let (image, key, object) =
        (registry.image("team/a:1"), SigningKey::generate().unwrap(), object("client_tls"));
    let folder = tempfile::tempdir().unwrap();
    let (layout, digest) = layout(folder.path(), "image", &object);
    let with_password = RegistryAccess::default().with_credential(Some(Credential::new("user", "pass:word")));
    let access = with_password.clone().with_authorities(authority.pem().as_bytes()).unwrap();
    assert_eq!(push(&layout, "image", &image, &access, None).await.unwrap(), digest);
    assert_eq!(sign(&image, &key, &BTreeMap::new(), &access).await.unwrap().digest, digest);
    let platform = bpfman_image_format::Platform::host().unwrap();
    assert_eq!(fetch_object(&image, &access, platform).await.unwrap().bytes, object.bytes());
    let labels = fetch_labels(&image, &access, platform).await.unwrap();
    assert_eq!((labels.digest, &labels.labels), (digest, object.labels()));
    let saved = bpfman_image_format::OciLayout::open_or_create(&folder.path().join("saved")).unwrap();
    assert_eq!(save(&image, &saved, &access, None).await.unwrap().signatures, 1);
    let plain = with_password.clone().with_plain_http(true);
    let error = push(&layout, "image", &image, &plain, None).await.unwrap_err().to_string();
    assert!(!error.contains("pass:word"), "{error}");
    let other = with_password.with_authorities(Authority::new("registries").pem().as_bytes()).unwrap();
    let error = push(&layout, "image", &image, &other, None).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn labels_are_read_without_a_pull() {
    let registry = BareRegistry::start(Habits::default());
    let (image, object) = (registry.image("a:1"), object("labels"));
    let digest = publish(&image, &object, None).await;
    let before = registry.requests().len();
    let platform = bpfman_image_format::Platform::host().unwrap();
    let labels = fetch_labels(&image, None, platform).await.unwrap();
    assert_eq!((labels.digest, &labels.labels), (digest, object.labels()));
    assert_eq!(registry.requests().len() - before, 2, "{:?}", registry.requests());
}
