//! Fetches by the client from registries that send wrong content.

use bpfman_image_format::{Credential, Descriptor, Platform};
use bpfman_registry::{FetchError, RegistryAccess, RegistryError, fetch_object};
use serde_json::json;

use crate::harness::hostile::{Answer, Hostile};
use crate::harness::object;

async fn refused(hostile: &Hostile) -> RegistryError {
    let fetched = fetch_object(&hostile.image("a:latest"), None, Platform::host().unwrap()).await;
    match fetched.unwrap_err() {
        FetchError::Registry(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn blob_of_another_size_or_content_is_refused() {
    let (hostile, object) = (Hostile::start(), object("client_blob"));
    let (layer, _) = hostile.image_of(object.bytes());
    let path = format!("blobs/{}", layer.digest);
    let last = object.bytes().len() - 1;
    let mut changed = object.bytes().to_vec();
    changed[last] ^= 1;
    for (answer, why) in [
        (Answer::ok(changed), "does not match its digest"),
        (Answer::ok(&object.bytes()[..last]), "does not match its digest"),
        (Answer::ok([object.bytes(), b"more"].concat()), "it sends more than"),
        (Answer::ok(object.bytes()).endless(), "it sends more than"),
        (
            Answer::ok(object.bytes()).header("docker-content-digest", "sha256:00"),
            "does not match its digest",
        ),
    ] {
        hostile.set(&path, answer);
        let error = refused(&hostile).await;
        assert!(matches!(error, RegistryError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    hostile.set(&path, Answer::ok(object.bytes()).breaking_after(last));
    let error = refused(&hostile).await;
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    for size in [layer.size - 1, layer.size + 1] {
        let hostile = Hostile::start();
        let (layer, _) = hostile.image_of(object.bytes());
        hostile.image_with(Descriptor { size, ..layer });
        let error = refused(&hostile).await;
        assert!(matches!(error, RegistryError::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn refused_blob_has_the_registry_message() {
    let (hostile, object) = (Hostile::start(), object("client_words"));
    let (layer, _) = hostile.image_of(object.bytes());
    let body = |code: &str| json!({ "errors": [{ "code": code, "message": "in quarantine" }] }).to_string();
    for (status, body, denied) in [
        (403, body("DENIED"), true),
        (403, "{}".to_owned(), true),
        (429, body("TOOMANYREQUESTS"), false),
        (451, body("SOMETHING"), false),
        (500, body("UNKNOWN"), false),
        (503, String::new(), false),
    ] {
        // oci-client drops the status of a refusal with text if it is 400 to 499.
        let told = if status < 500 && body.contains("code") {
            "in quarantine".to_owned()
        } else {
            status.to_string()
        };
        hostile
            .set(&format!("blobs/{}", layer.digest), Answer { body: body.into(), ..Answer::status(status) });
        let error = refused(&hostile).await;
        assert_eq!(matches!(error, RegistryError::Unauthorized { .. }), denied, "{error}");
        assert!(error.to_string().contains(&told), "{error}");
    }
    for body in ["", &body("BLOB_UNKNOWN")] {
        hostile.set(&format!("blobs/{}", layer.digest), Answer { body: body.into(), ..Answer::status(404) });
        let error = refused(&hostile).await;
        assert!(matches!(error, RegistryError::NotFound(_)), "{error}");
    }
}

#[tokio::test]
async fn addresses_in_a_manifest_are_not_followed() {
    let (hostile, elsewhere) = (Hostile::start(), Hostile::start());
    hostile.image_of_layer_at(&elsewhere, object("client_urls").bytes());
    assert!(matches!(refused(&hostile).await, RegistryError::NotFound(_)));
    assert_eq!(elsewhere.requests(), [""; 0]);
}

#[tokio::test]
async fn token_comes_by_our_own_bounded_request() {
    let (hostile, object) = (Hostile::start(), object("client_token"));
    let access = RegistryAccess::default().with_credential(Some(Credential::new("user", "secret")));
    hostile.image_of(object.bytes());
    let realm = format!("Bearer realm=\"http://{}/token\"", hostile.address());
    hostile.lock_all("Bearer good", &realm);
    let fetch = async || fetch_object(&hostile.image("a:latest"), &access, Platform::host().unwrap()).await;
    for answer in [Answer::ok("{").endless(), Answer::status(500), Answer::ok("[]")] {
        hostile.set_absolute("/token", answer);
        let error = fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Registry(_)) && !error.to_string().contains("secret"), "{error}");
    }
    hostile.set_absolute("/token", Answer::ok(r#"{"token":"good"}"#));
    assert_eq!(fetch().await.unwrap().bytes, object.bytes());
    let tokens = hostile.requests().into_iter().filter(|one| one.contains("/token")).count();
    assert_eq!(tokens, 4, "one for manifests and blobs together: {:?}", hostile.requests());
}
