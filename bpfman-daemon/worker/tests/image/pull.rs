use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use crate::harness::docker_registry::DockerRegistry;
use crate::harness::{Store, demand, layout, object, publish, publish_signed, unsigned};
use bpfman_image_format::{Credential, OciLayout, Platform, PlatformInputs, SourceDate};
use bpfman_registry::{RegistryError, SignError, SigningKey, push, sign};
use bpfmand_image::{Caller, Category, FetchPolicy, ImageError, ImageRequest, Signer, VerifiedBy};

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[tokio::test]
async fn a_signed_image_is_loaded_by_tag_and_by_digest() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("signed"));
    let image = registry.image("demo/signed:v1");
    let digest = publish_signed(&image, &object, &key).await;
    for name in [image.clone(), image.at_digest(digest), image.at_tag("v1")] {
        let store = Store::new(demand(&[&key]));
        let loaded = store.pull(&name).await.unwrap();
        assert_eq!(&*loaded.bytes, object.bytes());
        assert_eq!((loaded.digest, loaded.manifest_digest), (digest, digest));
        assert_eq!(&loaded.labels, object.labels());
        assert_eq!(loaded.file_name.as_deref(), Some("prog.o"));
        let signers = vec![Signer::Key(key.public_key().unwrap().fingerprint())];
        let rule = "*".to_owned();
        assert_eq!(
            loaded.verified_by,
            VerifiedBy::Signers { rule, subject: digest, signers, signed_at: None }
        );
        assert_eq!(store.left_over(), 0);
    }
}

#[tokio::test]
async fn an_image_pushed_by_skopeo_is_loaded() {
    let (registry, object) = (DockerRegistry::start(), object("skopeo"));
    let folder = tempfile::tempdir().unwrap();
    let (layout, digest) = layout(folder.path(), "ours", &object);
    let image = registry.image("demo/skopeo:v1");
    for (kind, tag) in [("oci", "v1"), ("v2s2", "v2")] {
        let status = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--format", kind])
            .arg(format!("oci:{}:ours", layout.path().display()))
            .arg(format!("docker://{}", image.at_tag(tag)))
            .status()
            .expect("skopeo is installed");
        assert!(status.success());
    }
    let store = Store::new(unsigned());
    let loaded = store.pull(&image).await.unwrap();
    assert_eq!((&*loaded.bytes, loaded.digest), (object.bytes(), digest));
    assert_eq!(loaded.verified_by, VerifiedBy::UnsignedAllowed { rule: "*".to_owned() });
    let loaded = store.pull(&image.at_tag("v2")).await.unwrap();
    assert_eq!((&*loaded.bytes, &loaded.labels), (object.bytes(), object.labels()));
}

#[tokio::test]
async fn an_index_gives_this_platforms_image() {
    let (registry, key) = (DockerRegistry::start(), key());
    let host = Platform::host().unwrap();
    let other = Platform::all().find(|p| *p != host && p.endian() == host.endian()).unwrap();
    let missing = Platform::all().find(|platform| ![host, other].contains(platform)).unwrap();
    let (ours, theirs) = (object("ours"), object("theirs"));
    let inputs = PlatformInputs::several([(host, ours.clone()), (other, theirs.clone())]).unwrap();
    let built = inputs.build(SourceDate::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let layout = OciLayout::open_or_create(folder.path()).unwrap();
    built.write(&layout, "multi").unwrap();
    let image = registry.image("demo/multi:v1");
    assert_eq!(push(&layout, "multi", &image, None, None).await.unwrap(), built.digest());
    sign(&image, &key, &BTreeMap::new(), None).await.unwrap();

    let store = Store::new(demand(&[&key]));
    let loaded = store.pull(&image).await.unwrap();
    assert_eq!((&*loaded.bytes, loaded.digest), (ours.bytes(), built.digest()));
    assert_ne!(loaded.manifest_digest, loaded.digest);
    let store = Store { store: store.store.for_platform(other), folder: store.folder };
    assert_eq!(&*store.pull(&image).await.unwrap().bytes, theirs.bytes());
    let store = Store { store: store.store.for_platform(missing), folder: store.folder };
    let error = store.pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::NoPlatform { .. }), "{error}");

    // A signature on this platform's image alone suffices; the labels are those of the first object.
    let image = registry.image("demo/member:v1");
    push(&layout, "multi", &image, None, None).await.unwrap();
    let member = image.at_digest(loaded.manifest_digest);
    sign(&member, &key, &BTreeMap::new(), None).await.unwrap();
    let store = Store::new(demand(&[&key]));
    let loaded = store.pull(&image).await.unwrap();
    assert!(
        matches!(loaded.verified_by, VerifiedBy::Signers { subject, .. } if subject == loaded.manifest_digest)
    );
    assert_eq!(loaded.labels.programs, inputs.labels().programs);
}

#[tokio::test]
async fn a_tampered_layer_is_refused() {
    let (registry, key, object) = (DockerRegistry::start(), key(), object("tampered"));
    let image = registry.image("demo/tampered:v1");
    let digest = publish_signed(&image, &object, &key).await;
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(registry.blob(digest)).unwrap()).unwrap();
    let layer = registry.blob(manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap());
    let mut bytes = std::fs::read(&layer).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let store = Store::new(demand(&[&key]));
    let error = store.pull(&image).await.unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    assert_eq!(error.category(), Category::Malformed);
    assert_eq!(store.left_over(), 0);
    assert!(store.load(&image, FetchPolicy::Never).await.is_err());
}

#[tokio::test]
async fn a_tampered_manifest_is_refused() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/manifest:v1");
    let digest = publish_signed(&image, &object("manifest"), &key).await;
    let path = registry.blob(digest);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"size\":", "\"size\": ", 1)).unwrap();
    // By digest, the content does not match; by tag, it is another, unsigned image.
    let store = Store::new(demand(&[&key]));
    assert!(store.pull(&image.at_digest(digest)).await.is_err());
    let error = store.pull(&image).await.unwrap_err();
    assert!(
        matches!(error.category(), Category::Denied | Category::Malformed | Category::Unreachable),
        "{error}"
    );
}

#[tokio::test]
async fn the_cache_serves_without_a_registry() {
    let (mut registry, key, object) = (DockerRegistry::start(), key(), object("cached"));
    let image = registry.image("demo/cached:v1");
    let digest = publish_signed(&image, &object, &key).await;
    let store = Store::new(demand(&[&key]));
    let error = store.load(&image, FetchPolicy::Never).await.unwrap_err();
    assert_eq!(error.category(), Category::NotCached, "{error}");
    store.pull(&image).await.unwrap();
    registry.stop();
    let store = store.restarted(demand(&[&key]));
    for name in [&image, &image.at_digest(digest)] {
        for pull_policy in [FetchPolicy::Never, FetchPolicy::IfNotPresent] {
            let loaded = store.load(name, pull_policy).await.unwrap();
            assert_eq!(&*loaded.bytes, object.bytes());
            assert!(matches!(loaded.verified_by, VerifiedBy::Signers { .. }));
        }
    }
    assert_eq!(store.load(&image, FetchPolicy::Always).await.unwrap_err().category(), Category::Unreachable);
    let store = store.restarted(demand(&[&SigningKey::generate().unwrap()]));
    let error = store.load(&image, FetchPolicy::Never).await.unwrap_err();
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn damaged_cache_content_is_fetched_again_or_refused() {
    let (mut registry, key, object) = (DockerRegistry::start(), key(), object("damaged"));
    let image = registry.image("demo/damaged:v1");
    publish_signed(&image, &object, &key).await;
    let store = Store::new(demand(&[&key]));
    let damage = || {
        for entry in std::fs::read_dir(store.blobs()).unwrap() {
            std::fs::write(entry.unwrap().path(), b"\x7fELF not what was signed").unwrap();
        }
    };
    store.pull(&image).await.unwrap();
    damage();
    assert_eq!(store.load(&image, FetchPolicy::Never).await.unwrap_err().category(), Category::NotCached);
    assert_eq!(&*store.pull(&image).await.unwrap().bytes, object.bytes());
    damage();
    registry.stop();
    assert_eq!(store.pull(&image).await.unwrap_err().category(), Category::Unreachable);
}

#[tokio::test]
async fn a_password_is_asked_for_and_used() {
    let (registry, key, object) = (DockerRegistry::start_with_password(), key(), object("password"));
    let image = registry.image("demo/password:v1");
    let good = Credential::new("user", "pass:word");
    let folder = tempfile::tempdir().unwrap();
    let (layout, _) = layout(folder.path(), "image", &object);
    for bad in [None, Some(Credential::new("user", "other"))] {
        let error = push(&layout, "image", &image, bad.as_ref(), None).await.unwrap_err().to_string();
        assert!(error.contains("refuses access") && !error.contains("other"), "{error}");
        let error = sign(&image, &key, &BTreeMap::new(), bad.as_ref()).await.unwrap_err();
        assert!(matches!(error, SignError::Registry(RegistryError::Unauthorized { .. })), "{error}");
    }
    publish(&image, &object, Some(&good)).await;
    sign(&image, &key, &BTreeMap::new(), Some(&good)).await.unwrap();

    let store = Store::new(demand(&[&key]));
    let request = |credential| ImageRequest {
        image: image.clone(),
        pull_policy: FetchPolicy::Always,
        credential,
        caller: Caller::Other,
    };
    for bad in [None, Some(Credential::new("user", "other"))] {
        let error = store.store.load(&request(bad), None).await.unwrap_err();
        assert_eq!(error.category(), Category::Unauthorized, "{error}");
    }
    let loaded = store.store.load(&request(Some(good)), None).await.unwrap();
    assert_eq!(&*loaded.bytes, object.bytes());
    let error = store.store.load(&request(None), None).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    for folder in ["sha256", "signatures", "tags"] {
        for entry in std::fs::read_dir(store.folder.path().join("images").join(folder)).unwrap() {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!content.windows(9).any(|part| part == b"pass:word"));
        }
    }
}

#[tokio::test]
async fn an_unusable_cache_folder_is_named() {
    let (registry, object) = (DockerRegistry::start(), object("unusable"));
    let image = registry.image("demo/unusable:v1");
    publish(&image, &object, None).await;
    let store = Store::new(unsigned());
    std::fs::write(store.folder.path().join("images"), "a file, where a folder has to be").unwrap();
    let error = store.pull(&image).await.unwrap_err();
    assert_eq!(error.category(), Category::Storage, "{error}");
    assert!(error.to_string().contains(&store.folder.path().display().to_string()), "{error}");
}

#[tokio::test]
async fn missing_image_is_not_found() {
    let (registry, key) = (DockerRegistry::start(), key());
    let image = registry.image("demo/nothing:v1");
    let error = Store::new(unsigned()).pull(&image).await.unwrap_err();
    assert_eq!(error.category(), Category::NotFound, "{error}");
    let error = sign(&image, &key, &BTreeMap::new(), None).await.unwrap_err();
    assert!(matches!(error, SignError::Registry(RegistryError::NotFound(_))), "{error}");
}

#[tokio::test]
async fn an_image_without_bytecode_is_refused() {
    // A host program instead of an object, packed by hand because our builder refuses it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy("/bin/true", folder.path().join("prog.o")).unwrap();
    let hostile = crate::harness::hostile::Hostile::start();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(folder.path().join("prog.o"), "prog.o").unwrap();
    hostile.image_of(&archive.into_inner().unwrap());
    let error = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap_err();
    assert!(matches!(error, ImageError::Bytecode { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_loads_of_one_image_make_one_download() {
    let object = object("flight");
    let hostile = crate::harness::hostile::Hostile::start();
    let folder = tempfile::tempdir().unwrap();
    let (layout, digest) = layout(folder.path(), "image", &object);
    let root = layout.image("image").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&layout.get(&root).unwrap()).unwrap();
    let mut layer = None;
    for descriptor in [&manifest["config"], &manifest["layers"][0]] {
        let descriptor = serde_json::from_value(descriptor.clone()).unwrap();
        layer = Some(hostile.blob("", &layout.get(&descriptor).unwrap()).digest);
    }
    let layer = layer.unwrap();
    assert_eq!(hostile.manifest("latest", &manifest), digest);
    let store = Arc::new(Store::new(unsigned()));
    let loads: Vec<_> = (0..50)
        .map(|_| {
            let (store, image) = (store.clone(), hostile.image("a:latest"));
            tokio::spawn(async move { store.pull(&image).await.unwrap().elf_digest })
        })
        .collect();
    for load in loads {
        assert_eq!(load.await.unwrap(), bpfman_image_format::Digest::of(object.bytes()));
    }
    let requests = hostile.requests();
    assert_eq!(requests.iter().filter(|r| r.contains(&layer.to_string())).count(), 1, "{requests:?}");
}

#[tokio::test]
async fn progress_is_reported_in_bytes_of_total() {
    let (registry, object) = (DockerRegistry::start(), object("progress"));
    let image = registry.image("demo/progress:v1");
    let folder = tempfile::tempdir().unwrap();
    let (layout, _) = layout(folder.path(), "image", &object);
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |done, total| told.lock().unwrap().push((done, total));
    push(&layout, "image", &image, None, Some(&tell)).await.unwrap();
    let pushed = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(pushed.first().unwrap().0, 0);
    assert_eq!(pushed.last().unwrap().0, pushed.last().unwrap().1);

    let request =
        ImageRequest { image, pull_policy: FetchPolicy::Always, credential: None, caller: Caller::Other };
    Store::new(unsigned()).store.load(&request, Some(&tell)).await.unwrap();
    let pulled = told.into_inner().unwrap();
    let (done, total) = *pulled.last().unwrap();
    assert!(done == total && total > 0 && pulled.is_sorted_by_key(|told| told.0 == told.1 && told.1 > 0));
}
