use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use crate::harness::hostile::{Answer, Hostile};
use crate::harness::keyless::{ISSUER, SUBJECT};
use crate::harness::world::World;
use crate::harness::{Store, demand, object, policy, unsigned};
use bpfman_image_format::{Digest, SimpleSigningPayload, media, signature_tag};
use bpfman_registry::SigningKey;
use bpfmand_image::{
    Category, FetchPolicy, ImageError, Limits, RegistrySetting, RegistrySettings, VerifiedBy,
};
use serde_json::{Value, json};

fn sign(hostile: &Hostile, digest: Digest, key: &SigningKey) {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let payload = SimpleSigningPayload::new(&hostile.image("a:latest").name(), digest, &BTreeMap::new());
    let payload = serde_json::to_vec(&payload).unwrap();
    let mut layer = hostile.blob(media::SIMPLE_SIGNING, &payload);
    let signature = BASE64_STANDARD.encode(key.sign(&payload).unwrap());
    layer.annotations.insert(media::SIGNATURE_ANNOTATION.to_owned(), signature);
    hostile.manifest(&signature_tag(digest), &json!({ "layers": [layer] }));
}

/// Quay, Artifactory and others report a missing referrers API in different ways.
#[tokio::test]
async fn a_signature_that_suffices_needs_no_other_answer() {
    let (hostile, key) = (Hostile::start(), SigningKey::generate().unwrap());
    let (_, digest) = hostile.image_of(object("referrers").bytes());
    sign(&hostile, digest, &key);
    let referrers = format!("referrers/{digest}");
    for answer in [400, 401, 403, 405, 406, 429, 500, 501, 503].map(Answer::status) {
        hostile.set(&referrers, answer.header("retry-after", "0"));
        Store::new(demand(&[&key])).pull(&hostile.image("a:latest")).await.unwrap();
    }
    hostile.set(&referrers, Answer::ok("{}").stall());
    Store::new(demand(&[&key])).pull(&hostile.image("a:latest")).await.unwrap();
    hostile.set(&referrers, Answer::ok("<html>"));
    Store::new(demand(&[&key])).pull(&hostile.image("a:latest")).await.unwrap();
}

#[tokio::test]
async fn a_bundle_that_suffices_needs_no_signature_tag() {
    let world = World::new("tag_unanswered");
    world.refer(&[world.making().bundle(world.digest)]);
    for status in [400, 403, 500] {
        let tag = format!("manifests/{}", signature_tag(world.digest));
        world.hostile.set(&tag, Answer::status(status).header("retry-after", "0"));
        world
            .hostile
            .set(&format!("referrers/{}", world.digest), Answer::status(status).header("retry-after", "0"));
        let verified = world.load(world.trusting(ISSUER, SUBJECT)).await.unwrap();
        assert!(matches!(verified, VerifiedBy::Signers { .. }), "{status}");
    }
}

#[tokio::test]
async fn unsigned_image_report_names_unanswered_registry_queries() {
    let (hostile, key) = (Hostile::start(), SigningKey::generate().unwrap());
    let (_, digest) = hostile.image_of(object("unanswered").bytes());
    let referrers = format!("referrers/{digest}");
    let load = async || Store::new(demand(&[&key])).pull(&hostile.image("a:latest")).await.unwrap_err();
    // A permanent error: the image is unsigned. A temporary one: unknown.
    for (status, category) in [
        (400, Category::Denied),
        (405, Category::Denied),
        (406, Category::Denied),
        (501, Category::Denied),
        (401, Category::Unauthorized),
        (403, Category::Unauthorized),
        (500, Category::Unreachable),
        (503, Category::Unreachable),
    ] {
        let body = r#"{"errors":[{"code":"UNSUPPORTED","message":"no such thing here"}]}"#;
        let answer = Answer { body: body.into(), ..Answer::status(status) };
        hostile.set(&referrers, answer.header("retry-after", "0"));
        let error = load().await;
        assert_eq!(error.category(), category, "{status}: {error}");
        let text = error.to_string();
        assert!(text.contains("is not signed") && text.contains(&status.to_string()), "{text}");
        assert!(text.contains("no such thing here"), "{text}");
    }
    sign(&hostile, digest, &SigningKey::generate().unwrap());
    let error = load().await;
    assert_eq!(error.category(), Category::Unreachable, "{error}");
    assert!(error.to_string().contains("none of the rule's keys"), "{error}");
    hostile.set(&referrers, Answer::status(406));
    let error = load().await;
    assert!(matches!(error, ImageError::Untrusted { .. }) && error.to_string().contains("406"), "{error}");
}

#[tokio::test]
async fn an_outage_of_signatures_is_a_warning_where_missing_ones_are() {
    let hostile = Hostile::start();
    let (_, digest) = hostile.image_of(object("warned").bytes());
    hostile.set(&format!("referrers/{digest}"), Answer::status(500).header("retry-after", "0"));
    let key = SigningKey::generate().unwrap().public_key().unwrap().to_pem();
    let warn = policy(&format!("mode = \"warn\"\n[[images]]\npattern = \"*\"\nkeys = ['''{key}''']\n"));
    let loaded = Store::new(warn).pull(&hostile.image("a:latest")).await.unwrap();
    assert!(matches!(&loaded.verified_by, VerifiedBy::Warned { reason } if reason.contains("500")));
}

#[tokio::test]
async fn registry_message_is_reported_with_fitting_hint() {
    let hostile = Hostile::start();
    let load = async |status, body: &str| {
        let answer = Answer { body: body.into(), ..Answer::status(status) };
        hostile.set("manifests/latest", answer.header("retry-after", "0"));
        Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap_err()
    };
    let body =
        |code: &str, message: &str| json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    for (status, message, category, advice) in [
        (403, "image is in quarantine", Category::Unauthorized, None),
        (429, "pull rate limit is reached", Category::Unreachable, Some("--registry-auth")),
        (412, "the image is not scanned yet", Category::Unreachable, None),
        (500, "no storage", Category::Unreachable, Some("check that the registry answers")),
    ] {
        let error = load(status, &body("DENIED", message)).await;
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.category(), category, "{error}");
        let hint = error.hint();
        assert_eq!(hint.is_some(), advice.is_some(), "{hint:?}");
        assert!(advice.is_none_or(|advice| hint.unwrap().to_string().contains(advice)));
    }
    for body in ["", "<html>busy</html>"] {
        let error = load(403, body).await;
        assert!(
            error.to_string().contains("403") && error.hint().unwrap().to_string().contains("name"),
            "{error}"
        );
    }
    hostile.set("manifests/latest", Answer { status: 418, ..Answer::ok("{") }.endless());
    let error = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap_err();
    assert!(error.to_string().contains("418"), "{error}");
}

#[tokio::test]
async fn a_registry_that_wants_a_long_pause_is_asked_once() {
    let hostile = Hostile::start();
    hostile.set("manifests/latest", Answer::status(429).header("retry-after", "60"));
    let error = Store::new(unsigned()).pull(&hostile.image("a:latest")).await.unwrap_err();
    assert!(error.to_string().contains("asks to wait for 60 s"), "{error}");
    assert_eq!(hostile.requests().len(), 1);
}

fn mirrored(hostile: &Hostile, mirrors: &[&str], limits: Limits) -> Store {
    let mirrors = mirrors.iter().map(|mirror| (*mirror).to_owned()).collect();
    let setting = RegistrySetting { mirrors, ..RegistrySetting::default() };
    let settings = RegistrySettings::new([(hostile.address().parse().unwrap(), setting)].into(), None);
    let store = Store::with_limits(unsigned(), limits);
    Store { store: store.store.with_settings(settings), folder: store.folder }
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_is_asked_once() {
    let (hostile, object) = (Hostile::start(), object("silent_mirror"));
    hostile.image_of(object.bytes());
    let image = hostile.image("a:latest");
    let limits = Limits { read_timeout: Duration::from_secs(1), ..Limits::default() };
    let silent = Hostile::start();
    silent.set("manifests/latest", Answer::ok("{}").stall());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let store = mirrored(&hostile, &[silent.address(), &closed], limits);
    for _ in 0..3 {
        let loaded = store.load(&image, FetchPolicy::Always).await.unwrap();
        assert_eq!(&*loaded.bytes, object.bytes());
    }
    assert_eq!(
        silent.requests(),
        ["GET /v2/a/manifests/latest"],
        "neither by this load nor by the next ones"
    );
    // A busy or broken mirror is skipped as well; one without the image is not.
    for (status, asked) in [(503, 1), (404, 3)] {
        let mirror = Hostile::start();
        mirror.set("manifests/latest", Answer::status(status).header("retry-after", "0"));
        let store = mirrored(&hostile, &[mirror.address()], limits);
        for _ in 0..3 {
            store.load(&image, FetchPolicy::Always).await.unwrap();
        }
        let tags = mirror.requests().iter().filter(|one| one.contains("latest")).count();
        assert_eq!(tags, asked, "{status}: {:?}", mirror.requests());
    }
}

#[tokio::test]
async fn an_image_is_saved_where_signatures_are_not_answered() {
    let world = World::new("save_unanswered");
    let list =
        json!({ "manifests": [{ "mediaType": media::OCI_MANIFEST, "digest": world.digest, "size": 1 }] });
    for status in [401, 403, 405, 500] {
        for question in [
            format!("manifests/{}", signature_tag(world.digest)),
            format!("manifests/{}", bpfman_image_format::referrers_tag(world.digest)),
        ] {
            world.hostile.set(&question, Answer::status(status).header("retry-after", "0"));
        }
        world.hostile.set(&format!("referrers/{}", world.digest), Answer::ok(list.to_string()));
        let folder = tempfile::tempdir().unwrap();
        let layout = bpfman_image_format::OciLayout::open_or_create(folder.path()).unwrap();
        let saved = bpfman_registry::save(&world.image, &layout, None, None).await.unwrap();
        assert_eq!((saved.digest, saved.signatures), (world.digest, 0));
        assert_eq!(saved.warnings.len(), 2, "{:?}", saved.warnings);
        let told = saved.warnings.iter().all(|warning| warning.contains("signatures may be missing"));
        assert!(told, "{:?}", saved.warnings);
    }
    world.hostile.set("manifests/latest", Answer::status(500).header("retry-after", "0"));
    let folder = tempfile::tempdir().unwrap();
    let layout = bpfman_image_format::OciLayout::open_or_create(folder.path()).unwrap();
    let latest = world.hostile.image("a:latest");
    bpfman_registry::save(&latest, &layout, None, None).await.unwrap_err();
}

#[tokio::test]
async fn image_save_reads_all_pages_of_referrers() {
    let world = World::new("save_pages");
    let place = format!("referrers/{}", world.digest);
    let entry = world.referrer(&world.making().bundle(world.digest), world.digest);
    let list = |entries: &[Value]| Answer::ok(json!({ "manifests": entries }).to_string());
    let next = |address: &str| format!("<{address}>; rel=next");
    let (second, third) = (format!("/v2/a/{place}?page=2"), format!("/v2/a/{place}?page=3"));
    let save = async || {
        let folder = tempfile::tempdir().unwrap();
        let layout = bpfman_image_format::OciLayout::open_or_create(folder.path()).unwrap();
        let saved = bpfman_registry::save(&world.image, &layout, None, None).await.unwrap();
        (saved.signatures, saved.warnings.join("; "))
    };
    world.hostile.set(&place, list(&[]).header("link", &next(&second)));
    world.hostile.set_query(&second, list(&[]).header("link", &next(&third)));
    world.hostile.set_query(&third, list(std::slice::from_ref(&entry)));
    assert_eq!(save().await, (1, String::new()));
    let first = || list(std::slice::from_ref(&entry));
    world.hostile.set(&place, first().header("link", &next(&second)));
    for (answer, told) in [
        (Answer::status(500).header("retry-after", "0"), "failed at the referrers of"),
        (Answer::ok("<html>"), "referrers of"),
        (list(&[]).header("link", &next("/v2/b/x")), "the next page is elsewhere"),
        (list(&[]).header("link", &next(&second)), "they have more than 32 pages"),
        (
            list(&vec![json!({ "mediaType": "x", "digest": Digest::of(b"none"), "size": 1 }); 256]),
            "more than 256",
        ),
    ] {
        world.hostile.set_query(&second, answer);
        let (signatures, warnings) = save().await;
        assert_eq!(signatures, 1, "the first page is kept: {warnings}");
        assert!(
            warnings.contains("signatures may be missing") && warnings.contains(told),
            "{told}: {warnings}"
        );
    }
    world.hostile.set(&place, Answer::status(404));
    assert_eq!(save().await, (0, String::new()), "there are none");
}

#[tokio::test]
async fn registry_message_about_missing_image_is_reported() {
    let hostile = Hostile::start();
    let image = hostile.image("a:latest");
    let mut archived = Answer::status(404);
    archived.body = br#"{"errors":[{"code":"NAME_UNKNOWN","message":"project is archived"}]}"#.to_vec();
    hostile.set("manifests/latest", archived);
    let store = Store::new(unsigned());
    let pulled = store.pull(&image).await.unwrap_err().to_string();
    let fetched = {
        let platform = bpfman_image_format::Platform::host().unwrap();
        bpfman_registry::fetch_object(&image, &Default::default(), platform).await.unwrap_err().to_string()
    };
    for told in [pulled, fetched] {
        assert!(told.contains("project is archived") && told.contains("does not exist"), "{told}");
    }
}
