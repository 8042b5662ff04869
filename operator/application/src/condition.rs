//! Status conditions, including the three that `kstatus` reads.
//!
//! Deployment tools use [`kstatus`](https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus) to see whether an
//! object is ready. It reads `Ready`, `Reconciling` and `Stalled`; an object without them counts as ready.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Type of the condition that is true while the cluster matches the object.
pub const READY: &str = "Ready";
/// Type of the condition that is true while changes are in progress.
pub const RECONCILING: &str = "Reconciling";
/// Type of the condition that is true while progress is blocked.
pub const STALLED: &str = "Stalled";

/// Returns the status before a controller has written one; without it, `kstatus` reports the object as ready.
#[must_use]
pub fn unseen() -> Value {
    json!({ "conditions": [{
        "type": READY,
        "status": "Unknown",
        "reason": "Pending",
        "message": "No controller has looked at it yet.",
        "lastTransitionTime": "1970-01-01T00:00:00Z"
    }] })
}

/// Returns the schema of a list of conditions, one per type, with Kubernetes' rules.
pub fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "What is known of this object, one entry a type.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "message": { "type": "string", "maxLength": 32768 },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "pattern": "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
                }
            }
        }
    })
}

/// State of the cluster compared with an object's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The cluster matches; `kstatus` reports `Current`.
    Ready,
    /// Changes are in progress; `kstatus` reports `InProgress`.
    Reconciling,
    /// Blocked until someone fixes the cause (`Failed` in `kstatus`); the failed step is still retried.
    Stalled,
}

/// Context that all conditions of one object share.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Current conditions: one whose status does not change keeps its transition time.
    pub old: &'a [Condition],
    /// Generation of the object that the conditions describe; 0 means none.
    pub generation: i64,
    /// Transition time of conditions that change.
    pub now: Timestamp,
}

impl Conditions<'_> {
    /// Returns one condition. `reason` is a CamelCase identifier, `message` is for people.
    #[must_use]
    pub fn one(&self, type_: &str, holds: bool, reason: &str, message: String) -> Condition {
        let status = if holds { "True" } else { "False" };
        let same = self.old.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: Some(self.generation).filter(|generation| *generation > 0),
            // The API server stores whole seconds, and later comparisons use the stored value.
            last_transition_time: same.map_or_else(
                || Time(Timestamp::from_second(self.now.as_second()).unwrap_or(self.now)),
                |condition| condition.last_transition_time.clone(),
            ),
        }
    }

    /// Returns the three conditions that `kstatus` reads; it shows the message of the decisive one. No message may be
    /// empty: it would be written as `null`, which the API server rejects.
    #[must_use]
    pub fn readiness(&self, readiness: Readiness, reason: &str, message: &str) -> [Condition; 3] {
        let abnormal = |type_, state, otherwise: &str| match readiness == state {
            true => self.one(type_, true, reason, message.to_owned()),
            false => self.one(type_, false, reason, otherwise.to_owned()),
        };
        [
            self.one(READY, readiness == Readiness::Ready, reason, message.to_owned()),
            abnormal(RECONCILING, Readiness::Reconciling, "Nothing is on its way."),
            abnormal(STALLED, Readiness::Stalled, "Nothing failed."),
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(old: &[Condition], second: i64) -> Conditions<'_> {
        Conditions { old, generation: 3, now: Timestamp::from_millisecond(second * 1_000 + 7).unwrap() }
    }

    fn words(conditions: &[Condition]) -> Vec<String> {
        let word = |one: &Condition| format!("{}={} {}", one.type_, one.status, one.message);
        conditions.iter().map(word).collect()
    }

    #[test]
    fn exactly_one_of_the_three_holds_and_has_the_message() {
        let words_at = |readiness| words(&at(&[], 1).readiness(readiness, "Why", "so"));
        let (still, well) = ("Reconciling=False Nothing is on its way.", "Stalled=False Nothing failed.");
        assert_eq!(words_at(Readiness::Ready), ["Ready=True so", still, well]);
        assert_eq!(words_at(Readiness::Reconciling), ["Ready=False so", "Reconciling=True so", well]);
        assert_eq!(words_at(Readiness::Stalled), ["Ready=False so", still, "Stalled=True so"]);
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let first = at(&[], 1).readiness(Readiness::Reconciling, "Pending", "1 of 2");
        let later = at(&first, 9).readiness(Readiness::Stalled, "Error", "it failed");
        let seconds: Vec<_> = later.iter().map(|one| one.last_transition_time.0.as_millisecond()).collect();
        assert_eq!(seconds, [1_000, 9_000, 9_000], "Ready is false as before; the others changed");
    }
}
