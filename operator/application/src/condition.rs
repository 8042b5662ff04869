//! Conditions of a status, and the three that `kstatus` reads.
//!
//! `kstatus` is how Flux, `kpt` and other appliers ask whether what they applied is done
//! (<https://pkg.go.dev/sigs.k8s.io/cli-utils/pkg/kstatus>): `Ready`, and, where they hold, `Reconciling` and `Stalled`.
//! Without them every object that exists counts as done.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Type of the condition that holds while the cluster is as the object asks.
pub const READY: &str = "Ready";
/// Type of the condition that holds while the cluster is on the way there.
pub const RECONCILING: &str = "Reconciling";
/// Type of the condition that holds while it does not get there.
pub const STALLED: &str = "Stalled";

/// The status of an object that no controller has seen: without it, `kstatus` takes what was applied a moment ago, or
/// where no controller runs, for done.
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

/// The schema of a list of conditions, one a type, with the rules that Kubernetes has for them.
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

/// Whether the cluster is as an object asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is: `kstatus` says `Current`.
    Ready,
    /// It is on the way there: `InProgress`.
    Reconciling,
    /// It does not get there unless somebody mends something: `Failed`. What failed is tried again all the same.
    Stalled,
}

/// What conditions of one object have in common.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Those that it has: a condition keeps its time while its status stays.
    pub old: &'a [Condition],
    /// The generation of the object that they are about; 0: of none.
    pub generation: i64,
    /// The time of what changes.
    pub now: Timestamp,
}

impl Conditions<'_> {
    /// One condition. `reason` is a word (a letter, then letters and digits), `message` is for people.
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
            // Whole seconds: that is what is stored, and what it is compared with.
            last_transition_time: same.map_or_else(
                || Time(Timestamp::from_second(self.now.as_second()).unwrap_or(self.now)),
                |condition| condition.last_transition_time.clone(),
            ),
        }
    }

    /// What `kstatus` reads. `kstatus` shows the message of the condition that decides, so that one has it. None is
    /// empty: an empty one is written as `null`, which the API server refuses.
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
