//! Access control of state objects. The ValidatingAdmissionPolicy in packaging/kubernetes/policies has the same rules.

use bpfman_application::orders::{PREFLIGHT, REVISION, SOAK};
use bpfman_application::state::{NODE_LABEL, OWNED_BY_LABEL};
use bpfman_application::{GROUP, VERSION};
use kube::ResourceExt;
use kube::api::DynamicObject;

use super::identity::CallerIdentity;
use bpfman_application::state::name::{label, state_name};

const ORDERS: [&str; 2] = [REVISION, SOAK];

/// Change of a state object: the old object, unless it is created, and the new one, unless it is deleted.
#[derive(Clone, Copy)]
pub struct StateChange<'a> {
    pub kind: &'a str,
    pub old: Option<&'a DynamicObject>,
    pub new: Option<&'a DynamicObject>,
}

/// Returns why a change is refused, if it is.
#[must_use]
pub fn refused(change: StateChange<'_>, who: &CallerIdentity) -> Option<String> {
    orders(change, who).or_else(|| match who {
        CallerIdentity::Agent { node } => foreign(change, node).or_else(|| identity(change, node)),
        CallerIdentity::Controller | CallerIdentity::Master | CallerIdentity::Other { .. } => None,
    })
}

fn name(change: StateChange<'_>) -> String {
    let object = change.new.or(change.old);
    format!("{} {}", change.kind, object.map(ResourceExt::name_any).unwrap_or_default())
}

/// Refuses orders of anyone but the controller. Users may order preflights, for dry runs; agents may not.
fn orders(change: StateChange<'_>, who: &CallerIdentity) -> Option<String> {
    if matches!(who, CallerIdentity::Controller | CallerIdentity::Master) {
        return None;
    }
    let new = change.new?;
    let get = |object: Option<&DynamicObject>, key: &str| {
        object.and_then(|object| object.annotations().get(key)).cloned()
    };
    let trial = matches!(who, CallerIdentity::Agent { .. }).then_some(PREFLIGHT);
    let key = ORDERS.into_iter().chain(trial).find(|key| get(change.old, key) != get(Some(new), key))?;
    Some(format!(
        "{}: the annotation {key} is an order of the controller, and only its service account writes it; to lead a \
         rollout, annotate the application with bpfman.io/rollout",
        name(change)
    ))
}

fn foreign(change: StateChange<'_>, node: &str) -> Option<String> {
    let own = label(node);
    for object in [change.old, change.new].into_iter().flatten() {
        let of = object.labels().get(NODE_LABEL).map_or("no node", String::as_str);
        if of != own {
            return Some(format!(
                "{}: the agent of node {node} writes only what that node answers, and this has the label \
                 {NODE_LABEL}={of}",
                name(change)
            ));
        }
    }
    let named = change.new.and_then(|new| new.data.pointer("/status/node")).and_then(|node| node.as_str());
    named.filter(|named| *named != node).map(|named| {
        format!("{}: the agent of node {node} cannot answer for \"{named}\" (status.node)", name(change))
    })
}

/// Refuses names, labels and owners that do not match: no node may use the name of another node's object.
fn identity(change: StateChange<'_>, node: &str) -> Option<String> {
    let new = change.new?;
    let Some(old) = change.old else { return made(change, new, node) };
    for key in [NODE_LABEL, OWNED_BY_LABEL] {
        if old.labels().get(key) != new.labels().get(key) {
            return Some(format!("{}: the label {key} says what it is for, and cannot change", name(change)));
        }
    }
    (old.metadata.owner_references != new.metadata.owner_references)
        .then(|| format!("{}: metadata.ownerReferences says what it is for, and cannot change", name(change)))
}

fn made(change: StateChange<'_>, new: &DynamicObject, node: &str) -> Option<String> {
    let application = change.kind.strip_suffix("State").unwrap_or(change.kind);
    let version = format!("{GROUP}/{VERSION}");
    let owner = match new.owner_references() {
        [owner] if owner.kind == application && owner.api_version == version => owner,
        _ => {
            return Some(format!(
                "{}: metadata.ownerReferences has to name one {application}, and nothing else",
                name(change)
            ));
        }
    };
    if new.labels().get(OWNED_BY_LABEL) != Some(&label(&owner.name)) {
        return Some(format!(
            "{}: the label {OWNED_BY_LABEL} has to name its owner, {}",
            name(change),
            owner.name
        ));
    }
    let due = state_name(&owner.name, &owner.uid, node);
    (new.name_any() != due)
        .then(|| format!("{}: what node {node} answers for {} is named {due}", name(change), owner.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    const KIND: &str = "ClusterBpfApplicationState";

    fn agent(node: &str) -> CallerIdentity {
        CallerIdentity::Agent { node: node.to_owned() }
    }

    fn state(node: &str) -> Value {
        json!({
            "metadata": {
                "name": state_name("app", "u1", node),
                "labels": { NODE_LABEL: node, OWNED_BY_LABEL: "app" },
                "ownerReferences": [{
                    "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "name": "app", "uid": "u1",
                }],
            },
            "status": { "node": node },
        })
    }

    fn with(node: &str, path: &str, value: Value) -> Value {
        let mut object = state(node);
        let (parent, field) = path.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value;
        object
    }

    fn judged(old: Option<Value>, new: Option<Value>, who: &CallerIdentity) -> Option<String> {
        let read =
            |value: Option<Value>| value.map(|value| serde_json::from_value::<DynamicObject>(value).unwrap());
        let (old, new) = (read(old), read(new));
        refused(StateChange { kind: KIND, old: old.as_ref(), new: new.as_ref() }, who)
    }

    #[test]
    fn an_agent_makes_changes_and_deletes_what_its_node_answers() {
        assert_eq!(judged(None, Some(state("n1")), &agent("n1")), None);
        let new = with("n1", "/status/appLoadStatus", json!("LoadSuccess"));
        assert_eq!(judged(Some(state("n1")), Some(new), &agent("n1")), None);
        assert_eq!(judged(Some(state("n1")), None, &agent("n1")), None);
    }

    #[test]
    fn an_agent_cannot_touch_what_another_node_answers() {
        for (old, new) in [
            (None, Some(state("n2"))),
            (Some(state("n2")), Some(state("n2"))),
            (Some(state("n2")), None),
            (Some(state("n2")), Some(with("n2", "/metadata/labels", json!({ NODE_LABEL: "n1" })))),
            (Some(with("n2", "/metadata/labels", json!({}))), Some(state("n1"))),
            (None, Some(with("n1", "/metadata/labels", json!({})))),
        ] {
            let named = judged(old.clone(), new.clone(), &agent("n1")).unwrap_or_default();
            assert!(named.contains("only what that node answers"), "{old:?} {new:?}: {named}");
        }
        let named = judged(Some(state("n1")), Some(with("n1", "/status/node", json!("n2"))), &agent("n1"));
        assert!(named.unwrap().contains("cannot answer for \"n2\""));
    }

    #[test]
    fn owner_of_a_state_object_cannot_change() {
        let label = with("n1", "/metadata/labels", json!({ NODE_LABEL: "n1", OWNED_BY_LABEL: "other" }));
        assert!(judged(Some(state("n1")), Some(label), &agent("n1")).unwrap().contains(OWNED_BY_LABEL));
        let owner = with("n1", "/metadata/ownerReferences", json!([]));
        assert!(judged(Some(state("n1")), Some(owner), &agent("n1")).unwrap().contains("ownerReferences"));
    }

    #[test]
    fn a_new_object_has_the_name_of_its_node_and_one_owner() {
        let taken = with("n1", "/metadata/name", json!(state_name("app", "u1", "n2")));
        assert!(judged(None, Some(taken), &agent("n1")).unwrap().contains("is named"));
        let orphan = with("n1", "/metadata/ownerReferences", json!([]));
        assert!(judged(None, Some(orphan), &agent("n1")).unwrap().contains("ClusterBpfApplication"));
        let other = with("n1", "/metadata/labels", json!({ NODE_LABEL: "n1", OWNED_BY_LABEL: "x" }));
        assert!(judged(None, Some(other), &agent("n1")).unwrap().contains("has to name its owner"));
    }

    #[test]
    fn only_the_controller_gives_orders() {
        let ordered = |key: &str| with("n1", "/metadata/annotations", json!({ key: "r2" }));
        let other = CallerIdentity::Other { name: "system:serviceaccount:ci:deployer".to_owned() };
        for (key, who) in [
            (REVISION, &agent("n1")),
            (SOAK, &agent("n1")),
            (PREFLIGHT, &agent("n1")),
            (REVISION, &other),
            (SOAK, &other),
        ] {
            let named = judged(Some(state("n1")), Some(ordered(key)), who).unwrap_or_default();
            assert!(named.contains(key) && named.contains("bpfman.io/rollout"), "{named}");
            assert!(judged(Some(ordered(key)), Some(state("n1")), who).is_some(), "taken away");
            assert!(judged(None, Some(ordered(key)), who).is_some(), "from the beginning");
            assert_eq!(judged(Some(ordered(key)), Some(ordered(key)), who), None, "left as it is");
            for who in [CallerIdentity::Controller, CallerIdentity::Master] {
                assert_eq!(judged(Some(state("n1")), Some(ordered(key)), &who), None);
            }
        }
    }

    #[test]
    fn user_with_write_permission_may_request_preflight() {
        let asked = with("n1", "/metadata/annotations", json!({ PREFLIGHT: "r2" }));
        let user = CallerIdentity::Other { name: "alice".to_owned() };
        assert_eq!(judged(Some(state("n1")), Some(asked.clone()), &user), None);
        assert_eq!(judged(Some(asked.clone()), Some(state("n1")), &user), None, "taken away");
        let both = with("n1", "/metadata/annotations", json!({ PREFLIGHT: "r2", REVISION: "r2" }));
        assert!(judged(Some(asked), Some(both), &user).unwrap().contains(REVISION));
    }

    #[test]
    fn others_with_the_right_write_what_any_node_answers() {
        let other = CallerIdentity::Other { name: "alice".to_owned() };
        assert_eq!(judged(Some(state("n2")), None, &other), None);
        assert_eq!(judged(Some(state("n2")), Some(with("n2", "/metadata/labels", json!({}))), &other), None);
    }
}
