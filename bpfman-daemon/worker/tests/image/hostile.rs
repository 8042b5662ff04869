use std::io::Write as _;
use std::time::Duration;

use crate::harness::hostile::{Answer, Hostile};
use crate::harness::{Store, demand, object, unsigned};
use bpfman_image_format::{
    Credential, Descriptor, Digest, Platform, SimpleSigningPayload, media, signature_tag,
};
use bpfman_registry::SigningKey;
use bpfmand_image::{
    Caller, Category, FetchPolicy, ImageError, ImageRequest, Limits, RegistrySetting, RegistrySettings,
};
use serde_json::json;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn refused(hostile: &Hostile) -> ImageError {
    let store = Store::new(unsigned());
    let error = store.pull(&hostile.image("a:latest")).await.unwrap_err();
    assert_eq!(store.left_over(), 0);
    let again = store.load(&hostile.image("a:latest"), FetchPolicy::Never).await.unwrap_err();
    assert_ne!(again.category(), Category::Unreachable, "Never does not touch the network");
    error
}

#[tokio::test]
async fn an_honest_answer_is_accepted() {
    let hostile = Hostile::start();
    let object = object("honest");
    hostile.image_of(object.bytes());
    let loaded = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap();
    assert_eq!(&*loaded.bytes, object.bytes());
    assert_eq!((loaded.file_name, loaded.labels), (None, Default::default()));
}

#[tokio::test]
async fn an_oversize_manifest_is_cut_off() {
    let hostile = Hostile::start();
    hostile.set("manifests/latest", Answer::ok("{").header("content-length", "300000000"));
    let error = refused(&hostile).await;
    assert!(matches!(error, ImageError::TooLarge { size: Some(300_000_000), .. }), "{error}");
    hostile.set("manifests/latest", Answer::ok("{").endless());
    let error = refused(&hostile).await;
    assert!(matches!(error, ImageError::TooLarge { size: None, .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_other_than_the_digest_asked_for_is_refused() {
    let hostile = Hostile::start();
    let (_, digest) = hostile.image_of(object("other").bytes());
    let wanted = Digest::of(b"wanted");
    let manifest = Answer::ok("{}").header("docker-content-digest", &wanted.to_string());
    hostile.set(&format!("manifests/{wanted}"), manifest);
    let store = Store::new(unsigned());
    let error = store.pull(&hostile.image("a").at_digest(wanted)).await.unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { expected, .. } if expected == wanted), "{error}");
    // A false header does not change the digest of a tag.
    let honest = store.pull(&hostile.image("a:latest")).await.unwrap();
    assert_eq!(honest.digest, digest);
}

#[tokio::test]
async fn a_blob_of_another_size_or_content_is_refused() {
    let object = object("blob");
    let hostile = Hostile::start();
    let (layer, _) = hostile.image_of(object.bytes());
    let path = format!("blobs/{}", layer.digest);
    let mut changed = object.bytes().to_vec();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    hostile.set(&path, Answer::ok(changed));
    assert!(matches!(refused(&hostile).await, ImageError::WrongDigest { .. }));
    hostile.set(&path, Answer::ok(&object.bytes()[..last]));
    assert!(matches!(refused(&hostile).await, ImageError::Malformed { .. }));
    hostile.set(&path, Answer::ok([object.bytes(), b"more"].concat()));
    assert!(matches!(refused(&hostile).await, ImageError::TooLarge { .. }));
    hostile.set(&path, Answer::ok(object.bytes()).endless());
    assert!(matches!(refused(&hostile).await, ImageError::TooLarge { .. }));

    for size in [layer.size - 1, layer.size + 1, 1 << 40] {
        let hostile = Hostile::start();
        let (layer, _) = hostile.image_of(object.bytes());
        hostile.image_with(Descriptor { size, ..layer });
        let error = refused(&hostile).await;
        assert!(matches!(error, ImageError::TooLarge { .. } | ImageError::Malformed { .. }), "{error}");
    }
}

#[tokio::test]
async fn addresses_in_a_manifest_are_not_followed() {
    let (hostile, elsewhere) = (Hostile::start(), Hostile::start());
    hostile.image_of_layer_at(&elsewhere, object("urls").bytes());
    assert!(matches!(refused(&hostile).await, ImageError::NotFound { .. }));
    assert_eq!(elsewhere.requests(), [""; 0]);
}

#[tokio::test]
async fn redirects_to_this_machine_are_not_followed() {
    let (hostile, elsewhere) = (Hostile::start(), Hostile::start());
    elsewhere.image_of(object("redirect").bytes());
    let target = format!("http://{}/v2/a/manifests/latest?secret=token", elsewhere.address());
    hostile.set("manifests/latest", Answer::status(302).header("location", &target));
    let error = refused(&hostile).await;
    assert!(matches!(error, ImageError::Malformed { .. }), "{error}");
    assert!(error.to_string().contains("redirects to") && !error.to_string().contains("token"), "{error}");
    assert_eq!(elsewhere.requests(), [""; 0]);
    hostile.set("manifests/latest", Answer::status(302).header("location", "/v2/a/manifests/latest"));
    assert!(matches!(refused(&hostile).await, ImageError::Malformed { .. }));
    assert!(hostile.requests().len() < 10);
    let (_, digest) = hostile.image_of(object("redirect").bytes());
    let target = format!("/v2/a/manifests/{digest}");
    hostile.set("manifests/latest", Answer::status(307).header("location", &target));
    Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap();
}

#[tokio::test]
async fn bombs_and_tricks_in_a_layer_are_refused() {
    let hostile = Hostile::start();
    let mut bomb = b"\x7fELF".to_vec();
    bomb.resize(64 << 20, 0);
    hostile.image_of(&gzip(&bomb));
    assert!(matches!(refused(&hostile).await, ImageError::TooLarge { .. }));

    let object = object("tricks");
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..9].copy_from_slice(b"../prog.o");
    header.set_size(object.bytes().len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, object.bytes()).unwrap();
    hostile.image_of(&gzip(&archive.into_inner().unwrap()));
    let error = refused(&hostile).await;
    assert_eq!(error.category(), Category::Malformed);
    assert!(error.to_string().contains("holds no object file"), "{error}");

    for layer in [b"text".as_slice(), b"", b"\x1f\x8b", b"\x7fELF"] {
        hostile.image_of(layer);
        assert_eq!(refused(&hostile).await.category(), Category::Malformed);
    }
}

#[tokio::test]
async fn malformed_documents_are_named() {
    let hostile = Hostile::start();
    let (layer, _) = hostile.image_of(object("documents").bytes());
    let config = hostile.blob(media::OCI_CONFIG, b"{}");
    let host = Platform::host().unwrap();
    let entry = |digest: Digest| {
        json!({
            "mediaType": media::OCI_MANIFEST, "digest": digest, "size": 1,
            "platform": { "os": "linux", "architecture": host.architecture() },
        })
    };
    let inner = hostile.manifest("inner", &json!({ "schemaVersion": 2, "manifests": [] }));
    for manifest in [
        json!({ "schemaVersion": 2, "config": config, "layers": [layer], "manifests": [] }),
        json!({ "schemaVersion": 2, "config": config, "layers": [] }),
        json!({ "schemaVersion": 1 }),
        json!("text"),
        json!({ "schemaVersion": 2, "config": { "mediaType": "x", "digest": "sha256:../../x", "size": 1 }, "layers": [] }),
    ] {
        hostile.manifest("latest", &manifest);
        let error = refused(&hostile).await;
        assert!(matches!(error, ImageError::Malformed { .. }), "{manifest}: {error}");
    }
    hostile.manifest("latest", &json!({ "schemaVersion": 2, "manifests": [entry(inner)] }));
    assert!(matches!(refused(&hostile).await, ImageError::NoPlatform { .. }));
    for text in ["", "[]", r#"{"config":{"Labels":{"io.ebpf.programs":"xdp"}}}"#, r#"{"config":3}"#] {
        let config = hostile.blob(media::OCI_CONFIG, text.as_bytes());
        hostile.manifest("latest", &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
        assert_eq!(refused(&hostile).await.category(), Category::Malformed, "{text}");
    }
    let config = hostile.blob(media::OCI_CONFIG, br#"{"architecture":"other"}"#);
    let member = hostile.manifest("m", &json!({ "schemaVersion": 2, "config": config, "layers": [layer] }));
    hostile.manifest("latest", &json!({ "schemaVersion": 2, "manifests": [entry(member)] }));
    assert_eq!(refused(&hostile).await.category(), Category::Malformed);
}

#[tokio::test]
async fn malformed_signatures_are_refused() {
    let key = SigningKey::generate().unwrap();
    let hostile = Hostile::start();
    let (_, digest) = hostile.image_of(object("signatures").bytes());
    let tag = signature_tag(digest);
    let image = hostile.image("a:latest");
    let payload = SimpleSigningPayload::new(&image.name(), digest, &Default::default());
    let payload = serde_json::to_vec(&payload).unwrap();
    let signature = base64(&key.sign(&payload).unwrap());
    let mut layer = hostile.blob(media::SIMPLE_SIGNING, &payload);
    layer.annotations.insert(media::SIGNATURE_ANNOTATION.to_owned(), signature.clone());
    let load = async || Store::new(demand(&[&key])).pull(&image).await;

    hostile.manifest(&tag, &json!({ "layers": [layer] }));
    load().await.unwrap();
    for (media_type, value) in [
        (media::SIMPLE_SIGNING, Some("no base64!")),
        (media::SIMPLE_SIGNING, None),
        ("text/plain", Some(signature.as_str())),
    ] {
        let mut layer = Descriptor { media_type: media_type.to_owned(), ..layer.clone() };
        layer.annotations.clear();
        if let Some(value) = value {
            layer.annotations.insert(media::SIGNATURE_ANNOTATION.to_owned(), value.to_owned());
        }
        hostile.manifest(&tag, &json!({ "layers": [layer] }));
        assert!(matches!(load().await.unwrap_err(), ImageError::Unsigned { .. }));
    }
    hostile.manifest(&tag, &json!({ "layers": vec![layer.clone(); 500] }));
    load().await.unwrap();
    let huge = Descriptor { size: 1 << 30, ..hostile.blob(media::SIMPLE_SIGNING, b"huge") };
    let mut missing = Descriptor::of(media::SIMPLE_SIGNING, b"missing");
    let mut wrong = hostile.blob(media::SIMPLE_SIGNING, b"right");
    hostile.set(&format!("blobs/{}", wrong.digest), Answer::ok(b"wrong".as_slice()));
    for bad in [&mut missing, &mut wrong] {
        bad.annotations.clone_from(&layer.annotations);
    }
    let huge = Descriptor { annotations: layer.annotations.clone(), ..huge };
    hostile.manifest(&tag, &json!({ "layers": [huge, missing, wrong, layer] }));
    load().await.unwrap();
    hostile.set(&format!("manifests/{tag}"), Answer::ok("not json"));
    assert!(matches!(load().await.unwrap_err(), ImageError::Malformed { .. }));
    hostile.set(&format!("manifests/{tag}"), Answer::ok("{").endless());
    assert!(matches!(load().await.unwrap_err(), ImageError::TooLarge { .. }));
    hostile.set(&format!("manifests/{tag}"), Answer::status(500));
    assert_eq!(load().await.unwrap_err().category(), Category::Unreachable);
    hostile.manifest(&tag, &json!({ "layers": [Descriptor { size: 1 << 30, ..layer }] }));
    assert!(matches!(load().await.unwrap_err(), ImageError::TooLarge { .. }));
}

fn base64(bytes: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    BASE64_STANDARD.encode(bytes)
}

#[tokio::test]
async fn a_silent_registry_does_not_hold_a_load_forever() {
    let hostile = Hostile::start();
    hostile.set("manifests/latest", Answer::ok("{}").stall());
    let short = Duration::from_secs(1);
    for limits in [
        Limits { read_timeout: short, ..Limits::default() },
        Limits { overall_timeout: 2 * short, ..Limits::default() },
    ] {
        let store = Store::with_limits(unsigned(), limits);
        let error = store.pull(&hostile.image("a:latest")).await.unwrap_err();
        assert_eq!(error.category(), Category::Unreachable, "{error}");
        hostile.image_of(object("silent").bytes());
        store.pull(&hostile.image("a:latest")).await.unwrap();
        hostile.set("manifests/latest", Answer::ok("{}").stall());
    }
}

#[tokio::test]
async fn a_token_is_fetched_where_the_registry_says() {
    let (hostile, realm) = (Hostile::start(), Hostile::start());
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", realm.address());
    hostile.image_of(object("token").bytes());
    hostile.lock_all("Bearer opaque", &challenge);
    hostile.set_absolute("/v2/", Answer::status(401).header("www-authenticate", &challenge));
    let load = async |credential: Option<Credential>| {
        let request = ImageRequest {
            image: hostile.image("a:latest"),
            pull_policy: FetchPolicy::Always,
            credential,
            caller: Caller::Other,
        };
        let setting = RegistrySetting {
            other_hosts: [realm.address().parse().unwrap()].into(),
            ..RegistrySetting::default()
        };
        let registries = [(hostile.address().parse().unwrap(), setting)].into();
        let store = Store::new(unsigned()).store.with_settings(RegistrySettings::new(registries, None));
        store.load(&request, None).await
    };
    // Only the token service sees the password.
    let secret = || Some(Credential::new("user", "secret"));
    let error = load(secret()).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    realm.set_absolute("/token", Answer::ok(r#"{"token":"opaque"}"#));
    load(None).await.unwrap();
    load(secret()).await.unwrap();
    let asked = realm.requests();
    assert!(
        asked[0].contains("scope=repository") && asked[0].ends_with("authorization: Basic dXNlcjpzZWNyZXQ=")
    );
    assert!(!asked[1].contains("authorization"), "{asked:?}");
    assert!(hostile.requests().iter().all(|request| !request.contains("Basic")));
    assert_eq!(asked.len(), 3);

    realm.set_absolute("/token", Answer::ok(r#"{"token":"other"}"#));
    assert_eq!(load(None).await.unwrap_err().category(), Category::Unauthorized);
    assert_eq!(realm.requests().len(), 4);
}

#[tokio::test]
async fn a_token_is_not_fetched_where_only_this_machine_can_ask() {
    let (hostile, internal) = (Hostile::start(), Hostile::start());
    internal.set_absolute("/internal/api", Answer::ok(r#"{"token":"INTERNAL"}"#));
    hostile.image_of(object("internal").bytes());
    let port = internal.address().rsplit_once(':').unwrap().1.to_owned();
    for realm in [
        format!("http://127.0.0.1:{port}/internal/api?role=admin"),
        format!("http://localhost:{port}/internal/api"),
        format!("http://localhost.:{port}/internal/api"),
        format!("https://127.0.0.1:{port}/internal/api"),
        "https://100.64.0.1/internal/api".to_owned(),
    ] {
        hostile.lock_all("Bearer INTERNAL", &format!("Bearer realm=\"{realm}\",service=\"x\""));
        let error = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap_err();
        assert_eq!(error.category(), Category::Unauthorized, "{realm}: {error}");
        assert!(error.to_string().contains("other_hosts"), "{realm}: {error}");
        assert!(!error.to_string().contains("role=admin"), "{error}");
    }
    assert_eq!(internal.requests(), [""; 0]);
    assert!(hostile.requests().iter().all(|request| !request.contains("authorization")));
}
