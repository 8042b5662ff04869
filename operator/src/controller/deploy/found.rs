//! What is on the server of the objects that were deployed.

use std::collections::HashMap;

use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Event;
use serde_json::Value;

/// Label of everything that is deployed; watches ask for it.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=bpfman-operator,app.kubernetes.io/part-of=bpfman";

/// The kinds that are deployed: group, version, kind.
pub const KINDS: [(&str, &str, &str); 3] =
    [("", "v1", "ConfigMap"), ("storage.k8s.io", "v1", "CSIDriver"), ("apps", "v1", "DaemonSet")];

/// How the API server calls a kind.
#[must_use]
pub fn resource((group, version, kind): (&str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Kind, namespace and name.
pub type Key = (String, String, String);

/// The key of an object.
#[must_use]
pub fn key(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// Objects by key.
#[derive(Debug, Default)]
pub struct Found {
    objects: HashMap<Key, (u32, Value)>,
    /// Number of the newest list of each kind, and whether one was complete.
    rounds: [(u32, bool); KINDS.len()],
}

impl Found {
    /// Takes in an event about one of [`KINDS`].
    pub fn take(&mut self, kind: usize, event: Event<DynamicObject>) {
        let (round, complete) = &mut self.rounds[kind];
        match event {
            Event::Init => *round += 1,
            Event::InitDone => {
                *complete = true;
                let (round, name) = (*round, KINDS[kind].2);
                self.objects.retain(|key, (seen, _)| key.0 != name || *seen == round);
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let round = *round;
                if let Some(value) = value(kind, object) {
                    self.objects.insert(key(&value), (round, value));
                }
            }
            Event::Delete(object) => {
                if let Some(value) = value(kind, object) {
                    self.objects.remove(&key(&value));
                }
            }
        }
    }

    /// Takes in an object as a write returned it.
    pub fn written(&mut self, kind: usize, object: DynamicObject) {
        if let Some(value) = value(kind, object) {
            self.objects.insert(key(&value), (self.rounds[kind].0, value));
        }
    }

    /// Whether every kind was listed once.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.rounds.iter().all(|(_, complete)| *complete)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(|(_, value)| value)
    }

    /// Objects that an owner has, by its uid.
    pub fn owned_by<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Key> {
        let owned = move |value: &Value| {
            value["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["uid"] == uid))
        };
        self.objects.iter().filter(move |(_, (_, value))| owned(value)).map(|(key, _)| key)
    }
}

/// The place of a kind among [`KINDS`].
#[must_use]
pub fn index(kind: &str) -> usize {
    KINDS.iter().position(|(_, _, name)| *name == kind).unwrap_or_default()
}

/// An object as a value. Lists leave out what kind their items are.
fn value(kind: usize, object: DynamicObject) -> Option<Value> {
    let mut value = serde_json::to_value(object).ok()?;
    value["kind"] = KINDS[kind].2.into();
    value["metadata"].as_object_mut()?.remove("managedFields");
    Some(value)
}
