use bpfman_runtime::listing::{Listing, ListingChange};
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use serde_json::Value;

pub const SELECTOR: &str = "app.kubernetes.io/managed-by=bpfman-operator,app.kubernetes.io/part-of=bpfman";

pub const KINDS: [(&str, &str, &str); 3] =
    [("", "v1", "ConfigMap"), ("storage.k8s.io", "v1", "CSIDriver"), ("apps", "v1", "DaemonSet")];

#[must_use]
pub fn resource((group, version, kind): (&str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

pub type ObjectKey = (String, String, String);

#[must_use]
pub fn key(object: &Value) -> ObjectKey {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

#[derive(Debug, Default)]
pub struct DeployedObjects(Listing<ObjectKey, Value, { KINDS.len() }>);

impl DeployedObjects {
    pub fn take(&mut self, kind: usize, event: Event<DynamicObject>) {
        let key = |object| value(kind, object).map(|value| key(&value));
        if let ListingChange::Present(object) = self.0.take(kind, event, key) {
            self.written(kind, object);
        }
    }

    pub fn written(&mut self, kind: usize, object: DynamicObject) {
        if let Some(value) = value(kind, object) {
            self.0.put(kind, key(&value), value);
        }
    }

    #[must_use]
    pub fn complete(&self) -> bool {
        self.0.complete()
    }

    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Value> {
        self.0.get(key)
    }

    pub fn owned_by<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a ObjectKey> {
        let owned = move |value: &Value| {
            value["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["uid"] == uid))
        };
        self.0.iter().filter(move |(_, value)| owned(value)).map(|(key, _)| key)
    }
}

#[must_use]
pub fn index(kind: &str) -> usize {
    KINDS.iter().position(|(_, _, name)| *name == kind).unwrap_or_default()
}

/// Adds the kind, which items of lists do not have.
fn value(kind: usize, object: DynamicObject) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    value["kind"] = KINDS[kind].2.into();
    value["metadata"].as_object_mut()?.remove("managedFields");
    Some(value)
}
