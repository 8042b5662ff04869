use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::authority::Authority;
use crate::harness::docker_registry::DockerRegistry;
use crate::harness::hostile::{Answer, Hostile};
use crate::harness::{Store, layout, object, publish, unsigned};
use bpfman_image_format::{AuthFile, Descriptor, media};
use bpfmand_image::{
    Authorities, Caller, Category, FetchPolicy, ImageError, ImageRequest, RegistrySetting, RegistrySettings,
    VerifiedImage,
};
use serde_json::json;

const PASSWORD: &str = "dXNlcjpwYXNzOndvcmQ="; // user:pass:word

async fn load(
    settings: RegistrySettings,
    image: &bpfman_image_format::ImageReference,
) -> Result<VerifiedImage, ImageError> {
    let store = Store::new(unsigned());
    let store = Store { store: store.store.with_settings(settings), folder: store.folder };
    let request = ImageRequest {
        image: image.clone(),
        pull_policy: FetchPolicy::Always,
        credential: None,
        caller: Caller::Machine,
    };
    let loaded = store.store.load(&request, None).await;
    assert_eq!(store.left_over(), 0);
    loaded
}

fn settings(registry: &str, setting: RegistrySetting, auth: Option<&str>) -> RegistrySettings {
    let auth = auth.map(|text| AuthFile::parse(text).unwrap());
    RegistrySettings::new(BTreeMap::from([(registry.parse().unwrap(), setting)]), auth)
}

#[tokio::test]
async fn registry_with_tls_and_password_is_reached_as_configured() {
    let (authority, object) = (Authority::new("registries"), object("tls"));
    let registry = DockerRegistry::start_with_tls(&authority);
    let image = registry.image("demo/tls:v1");
    let folder = tempfile::tempdir().unwrap();
    let (layout, digest) = layout(folder.path(), "ours", &object);
    let certificates = folder.path().join("certs");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::write(certificates.join("ca.crt"), authority.pem()).unwrap();
    let status = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-creds", "user:pass:word", "--dest-cert-dir"])
        .arg(&certificates)
        .arg(format!("oci:{}:ours", layout.path().display()))
        .arg(format!("docker://{image}"))
        .status()
        .expect("skopeo is installed");
    assert!(status.success());

    let trusted = || Authorities::from_pem(authority.pem().as_bytes()).unwrap();
    let with_ca = || RegistrySetting { authorities: Some(trusted()), ..RegistrySetting::default() };
    let auth = format!(r#"{{"auths":{{"{}":{{"auth":"{PASSWORD}"}}}}}}"#, registry.address());
    let loaded = load(settings(registry.address(), with_ca(), Some(&auth)), &image).await.unwrap();
    assert_eq!((&*loaded.bytes, loaded.digest), (object.bytes(), digest));
    let error = load(settings(registry.address(), with_ca(), None), &image).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    let other = Authorities::from_pem(Authority::new("registries").pem().as_bytes()).unwrap();
    let other = RegistrySetting { authorities: Some(other), ..RegistrySetting::default() };
    let error = load(settings(registry.address(), other, Some(&auth)), &image).await.unwrap_err();
    assert!(matches!(&error, ImageError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().to_string().contains("ca_file"), "{error}");
    let error = load(RegistrySettings::default(), &image).await.unwrap_err();
    assert!(!error.to_string().contains("pass:word") && !error.to_string().contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn a_credential_helper_is_asked_for_the_password() {
    let registry = DockerRegistry::start_with_password();
    let image = registry.image("demo/helper:v1");
    let credential = bpfman_image_format::Credential::new("user", "pass:word");
    publish(&image, &object("helper"), Some(&credential)).await;
    let folder = tempfile::tempdir().unwrap();
    let helper = |name: &str, text: &str| {
        let path = folder.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        make_executable(&path);
    };
    helper(
        "good",
        &format!(
            r#"read server; [ "$1 $server" = "get {}" ] && echo '{{"ServerURL":"x","Username":"user","Secret":"pass:word"}}'"#,
            registry.address()
        ),
    );
    helper("none", "echo credentials not found in native keychain; exit 1");
    helper("broken", "echo pass:word; exit 3");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = |name: &str| {
        let file = format!(r#"{{"credHelpers":{{"{}":"{name}"}}}}"#, registry.address());
        with_path(&path, &file, &image)
    };
    let found = run("good").unwrap().unwrap();
    assert_eq!((found.user(), found.password()), ("user", "pass:word"));
    assert!(run("none").unwrap().is_none());
    let error = run("broken").unwrap_err().to_string();
    assert!(error.contains("docker-credential-broken") && !error.contains("pass:word"), "{error}");
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn with_path(
    path: &str,
    file: &str,
    image: &bpfman_image_format::ImageReference,
) -> Result<Option<bpfman_image_format::Credential>, bpfman_image_format::AuthFileError> {
    AuthFile::parse(file).unwrap().with_search_path(path).find(image)
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_registry_when_it_fails() {
    let (mirror, origin, object) = (Hostile::start(), Hostile::start(), object("mirror"));
    let image = origin.image("a:latest");
    let setting =
        || RegistrySetting { mirrors: vec![mirror.address().to_owned()], ..RegistrySetting::default() };
    let from = || settings(origin.address(), setting(), None);
    let (_, digest) = origin.image_of(object.bytes());
    assert_eq!(load(from(), &image).await.unwrap().digest, digest);
    assert!(mirror.requests().iter().any(|request| request.contains("/v2/a/manifests/latest")));
    mirror.image_of(object.bytes());
    let before = origin.requests().len();
    assert_eq!(load(from(), &image).await.unwrap().digest, digest);
    assert_eq!(origin.requests().len(), before);
    let layer = Descriptor::of(media::OCI_LAYER_GZIP, object.bytes());
    mirror.set(&format!("blobs/{}", layer.digest), Answer::ok(b"lies".as_slice()));
    assert_eq!(&*load(from(), &image).await.unwrap().bytes, object.bytes());
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_others_are_not() {
    let (hostile, object) = (Hostile::start(), object("retry"));
    let (layer, _) = hostile.image_of(object.bytes());
    let image = hostile.image("a:latest");
    let blob = format!("blobs/{}", layer.digest);
    let asked = |what: &str| hostile.requests().iter().filter(|request| request.contains(what)).count();
    for status in [429, 500, 503] {
        let busy = Answer::status(status).header("retry-after", "0");
        hostile.set(&blob, Answer::ok(object.bytes()).after(2, busy));
        let before = asked(&blob);
        load(RegistrySettings::default(), &image).await.unwrap();
        assert_eq!(asked(&blob) - before, 3, "{status}");
    }
    hostile.set(&blob, Answer::status(503).header("retry-after", "0"));
    let before = asked(&blob);
    let error = load(RegistrySettings::default(), &image).await.unwrap_err();
    assert!(matches!(&error, ImageError::RegistryRefused { .. }), "{error}");
    assert_eq!(error.category(), Category::Unreachable);
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(asked(&blob) - before, 3);
    for status in [400, 403, 404, 410] {
        hostile.set(&blob, Answer::status(status));
        let before = asked(&blob);
        load(RegistrySettings::default(), &image).await.unwrap_err();
        assert_eq!(asked(&blob) - before, 1, "{status}");
    }
}

#[tokio::test]
async fn broken_transfer_resumes() {
    let (hostile, object) = (Hostile::start(), object("resume"));
    let (layer, _) = hostile.image_of(object.bytes());
    let image = hostile.image("a:latest");
    let blob = format!("blobs/{}", layer.digest);
    let whole = || Answer::ok(object.bytes());
    let ranges = || -> Vec<String> {
        hostile.requests().into_iter().filter(|request| request.contains(&blob)).collect()
    };
    hostile.set(&blob, whole().with_ranges().after(1, whole().breaking_after(100)));
    assert_eq!(&*load(RegistrySettings::default(), &image).await.unwrap().bytes, object.bytes());
    assert!(ranges().last().unwrap().ends_with("range: 100"), "{:?}", ranges());
    hostile.set(&blob, whole().after(1, whole().breaking_after(100)));
    assert_eq!(&*load(RegistrySettings::default(), &image).await.unwrap().bytes, object.bytes());
    let mut changed = object.bytes().to_vec();
    *changed.last_mut().unwrap() ^= 1;
    hostile.set(&blob, Answer::ok(changed).with_ranges().after(1, whole().breaking_after(100)));
    let error = load(RegistrySettings::default(), &image).await.unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    hostile.set(&blob, whole().breaking_after(100));
    let error = load(RegistrySettings::default(), &image).await.unwrap_err();
    assert_eq!(error.category(), Category::Unreachable, "{error}");
}

#[tokio::test]
async fn a_token_service_is_bounded_and_spoken_to_with_tls() {
    let (hostile, realm) = (Hostile::start(), Hostile::start());
    hostile.image_of(object("token").bytes());
    let image = hostile.image("a:latest");
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.address());
    let other = || RegistrySetting {
        other_hosts: [realm.address().parse().unwrap()].into(),
        ..RegistrySetting::default()
    };
    let settings = || settings(hostile.address(), other(), None);
    hostile.lock_all("Bearer opaque", &challenge);
    realm.set_absolute("/token", Answer::ok(r#"{"access_token":"opaque"}"#));
    load(settings(), &image).await.unwrap();
    realm.set_absolute("/token", Answer::ok("{").endless());
    let error = load(settings(), &image).await.unwrap_err();
    assert_eq!(error.category(), Category::Unauthorized, "{error}");
    for answer in ["", "[]", "{}", r#"{"token":3}"#, "{\"token\":\"a\\nb\"}"] {
        realm.set_absolute("/token", Answer::ok(answer));
        let error = load(settings(), &image).await.unwrap_err();
        assert_eq!(error.category(), Category::Unauthorized, "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_plain_artifact_whose_layer_is_an_object_is_loaded() {
    let (hostile, object) = (Hostile::start(), object("artifact"));
    let empty = hostile.blob("application/vnd.oci.empty.v1+json", b"{}");
    for media_type in ["application/vnd.example.ebpf.object", "application/octet-stream"] {
        let layer = hostile.blob(media_type, object.bytes());
        hostile.manifest(
            "latest",
            &json!({
                "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": empty, "layers": [layer],
                "artifactType": "application/vnd.example.ebpf",
            }),
        );
        let loaded = load(RegistrySettings::default(), &hostile.image("a:latest")).await.unwrap();
        assert_eq!(&*loaded.bytes, object.bytes());
        assert!(loaded.labels.programs.is_empty());
    }
}

#[tokio::test]
async fn images_of_other_tools_are_loaded_by_their_documented_types() {
    let (hostile, object) = (Hostile::start(), object("other_tools"));
    for (config, kind) in [
        ("application/vnd.gadget.config.v1+yaml", "application/vnd.gadget.ebpf.program.v1+binary"),
        ("application/ebpf.oci.image.config.v1+json", "application/ebpf.oci.image.program.v1+binary"),
    ] {
        let config = hostile.blob(config, b"name: a gadget");
        let other = hostile.blob("application/vnd.gadget.wasm.program.v1+binary", b"\0asm");
        let layer = hostile.blob(kind, object.bytes());
        let layers = json!([other, layer]);
        hostile.manifest("latest", &json!({ "schemaVersion": 2, "config": config, "layers": layers }));
        let loaded = load(RegistrySettings::default(), &hostile.image("a:latest")).await.unwrap();
        assert_eq!(&*loaded.bytes, object.bytes());
    }
}
