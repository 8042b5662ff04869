//! Conditions of a status.

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
