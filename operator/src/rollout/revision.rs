//! Revisions: specs stored under immutable names.
//!
//! A revision is a `ControllerRevision` with the spec without `rollout`, named `<application>-<10 hex digits
//! of the spec>`. If a digest is pinned, 12 of its digits follow: the tag may later point to other programs.

use std::collections::BTreeSet;

use bpfman_application::orders::REVISION_OF;
use bpfman_model::hexadecimal;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Annotation of a revision: the digest that its image is pinned to.
pub const DIGEST: &str = "bpfman.io/digest";

/// Label of a revision that belongs to a user's dry run and to no rollout.
pub const REHEARSAL: &str = "bpfman.io/rehearsal";

/// Maximum number of unused revisions that are kept.
pub const HISTORY: usize = 10;

const SPEC_DIGITS: usize = 10;

const DIGEST_DIGITS: usize = 12;

/// Maximum length of the application's part: Kubernetes allows 253 characters in all.
const NAME_LIMIT: usize = 220;

const URL: &str = "/byteCode/image/url";

/// Returns the data of a revision: the spec without its rollout settings. `None` if the spec is not a JSON object.
#[must_use]
pub fn data(spec: &impl Serialize) -> Option<Value> {
    let mut data = serde_json::to_value(spec).ok()?;
    data.as_object_mut()?.remove("rollout");
    Some(data)
}

/// Returns the name of a revision. `uid` is the application's: a recreated application has other revisions.
#[must_use]
pub fn name(application: &str, uid: &str, data: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(uid.as_bytes());
    hash.update([0]);
    // Keys of objects are sorted, so that equal data have equal text.
    hash.update(data.to_string().as_bytes());
    format!("{}-{}", shortened(application), hex(&hash.finalize(), SPEC_DIGITS))
}

/// Returns as much of an application's name as fits, without trailing dots and dashes.
#[must_use]
pub fn shortened(application: &str) -> &str {
    application.get(..NAME_LIMIT).unwrap_or(application).trim_end_matches(['.', '-'])
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = hexadecimal(bytes);
    text.truncate(digits);
    text
}

fn digits(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..DIGEST_DIGITS).unwrap_or(hex)
}

/// Returns the name of a revision with its digest pinned.
#[must_use]
pub fn pinned(source: &str, digest: &str) -> String {
    format!("{source}-{}", digits(digest))
}

/// Returns the name without the digest.
#[must_use]
pub fn source(name: &str) -> &str {
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.rsplit_once('-')
        .filter(|(source, last)| {
            is_hex(last, DIGEST_DIGITS)
                && source.rsplit_once('-').is_some_and(|(_, last)| is_hex(last, SPEC_DIGITS))
        })
        .map_or(name, |(source, _)| source)
}

/// Returns whether both names belong to the same spec.
#[must_use]
pub fn same_source(one: &str, other: &str) -> bool {
    source(one) == source(other)
}

/// Returns whether `pinned` is `unpinned` with a digest.
#[must_use]
pub fn is_pinned_form(unpinned: &str, pinned: &str) -> bool {
    pinned != unpinned && source(pinned) == unpinned
}

/// Returns whether a node that has the revision `name` has `wanted`. The name without the digest counts too, unless the
/// node resolved the tag to another digest.
#[must_use]
pub fn covers(name: &str, digest: Option<&str>, wanted: &str) -> bool {
    name == wanted || is_pinned_form(name, wanted) && digest.is_none_or(|digest| pins(wanted, digest))
}

/// Returns whether a revision is pinned to this digest.
#[must_use]
pub fn pins(name: &str, digest: &str) -> bool {
    name.strip_prefix(source(name)) == Some(&format!("-{}", digits(digest)))
}

/// Returns whether the image is named by a tag, or by neither tag nor digest, so that its content can change.
#[must_use]
pub fn is_tagged(data: &Value) -> bool {
    data.pointer(URL).and_then(Value::as_str).is_some_and(|url| !url.contains('@'))
}

/// Replaces the tag of the image by a digest.
pub fn pin(data: &mut Value, digest: &str) {
    if let Some(Value::String(url)) = data.pointer_mut(URL) {
        let bare = url.split_once('@').map_or(url.as_str(), |(bare, _)| bare);
        // A colon behind the last slash begins a tag; before it, a port.
        let after_host = bare.rfind('/').map_or(0, |slash| slash + 1);
        let end =
            bare.get(after_host..).and_then(|last| last.find(':')).map_or(bare.len(), |at| after_host + at);
        *url = format!("{}@{digest}", bare.get(..end).unwrap_or(bare));
    }
}

#[must_use]
pub fn object(
    name: &str,
    namespace: &str,
    owner: &OwnerReference,
    data: Value,
    number: i64,
) -> ControllerRevision {
    let digest = data.pointer(URL).and_then(Value::as_str).and_then(|url| url.split_once('@'));
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([(REVISION_OF.to_owned(), owner.uid.clone())].into()),
            annotations: digest.map(|(_, digest)| [(DIGEST.to_owned(), digest.to_owned())].into()),
            owner_references: Some(vec![owner.clone()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    }
}

/// Returns the revisions to delete: the oldest beyond [`HISTORY`] that are not in use and belong to no dry run.
#[must_use]
pub fn surplus<'a>(all: &'a [ControllerRevision], needed: &BTreeSet<String>) -> Vec<&'a str> {
    let needed = |name: &str| needed.iter().any(|needed| same_source(needed, name));
    let mut free: Vec<(i64, &str)> = all
        .iter()
        .filter(|revision| !revision.metadata.labels.as_ref().is_some_and(|all| all.contains_key(REHEARSAL)))
        .filter_map(|revision| Some((revision.revision, revision.metadata.name.as_deref()?)))
        .filter(|(_, name)| !needed(name))
        .collect();
    free.sort_unstable();
    let surplus = free.len().saturating_sub(HISTORY);
    free.into_iter().take(surplus).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn pinned_url(url: &str) -> String {
        let mut data = json!({ "byteCode": { "image": { "url": url } } });
        pin(&mut data, DIGEST);
        data.pointer(URL).unwrap().as_str().unwrap().to_owned()
    }

    #[test]
    fn an_equal_spec_has_an_equal_name_whatever_its_rollout() {
        let one = data(&json!({ "a": 1, "b": 2, "rollout": { "waves": [1] } })).unwrap();
        let two = data(&json!({ "b": 2, "a": 1 })).unwrap();
        assert_eq!(name("app", "uid", &one), name("app", "uid", &two));
        assert_ne!(name("app", "uid", &one), name("app", "other", &one));
        assert_ne!(name("app", "uid", &one), name("app", "uid", &json!({ "a": 2 })));
    }

    #[test]
    fn a_tag_is_replaced_by_the_digest() {
        assert_eq!(pinned_url("quay.io/a/b:v1"), format!("quay.io/a/b@{DIGEST}"));
        assert_eq!(pinned_url("host:5000/a/b"), format!("host:5000/a/b@{DIGEST}"));
        assert_eq!(pinned_url("host:5000/a/b:v1@sha256:ff"), format!("host:5000/a/b@{DIGEST}"));
        assert!(is_tagged(&json!({ "byteCode": { "image": { "url": "host:5000/a:v1" } } })));
        assert!(!is_tagged(&json!({ "byteCode": { "image": { "url": "host/a@sha256:ff" } } })));
        assert!(!is_tagged(&json!({ "byteCode": { "path": "/a.o" } })));
    }

    #[test]
    fn a_pinned_name_tells_its_source() {
        let plain = name("app-0123456789", "uid", &json!({}));
        let pinned = pinned(&plain, DIGEST);
        assert_eq!(source(&pinned), plain);
        assert_eq!(source(&plain), plain);
        assert!(is_pinned_form(&plain, &pinned) && !is_pinned_form(&plain, &plain));
        assert!(pins(&pinned, DIGEST) && !pins(&pinned, "sha256:ffffffffffffffff") && !pins(&plain, DIGEST));
    }

    #[test]
    fn a_long_name_leaves_room_for_the_digits() {
        let long = "a.".repeat(126) + "a";
        let name = pinned(&name(&long, "uid", &json!({})), DIGEST);
        assert!(name.len() <= 253, "{name}");
    }

    #[test]
    fn history_is_limited_and_keeps_what_is_needed() {
        let owner = OwnerReference { uid: "uid".to_owned(), ..OwnerReference::default() };
        let all: Vec<_> = (0..15)
            .map(|number| object(&format!("app-{number:010}"), "n", &owner, json!({}), number))
            .collect();
        let needed = BTreeSet::from(["app-0000000001".to_owned(), pinned("app-0000000003", DIGEST)]);
        assert_eq!(surplus(&all, &needed), ["app-0000000000", "app-0000000002", "app-0000000004"]);
    }
}
