//! Applications of the fleet.

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::INTERFACE;
use crate::version::Version;

/// Label of the nodes selected by [`on_tenth`].
pub const TENTH: &str = "fleet/tenth";

/// Returns an application with an XDP program on every node's interface, which is part of a chain.
#[must_use]
pub fn guard(name: &str, folder: &Path, version: Version) -> Value {
    application(
        name,
        &version.path(folder),
        &json!({ "name": "guard", "type": "XDP", "xdp": { "links": [
            { "interfaceSelector": { "interfaces": [INTERFACE] }, "priority": 50 }
        ]}}),
    )
}

/// Returns an application with a program on a tracepoint.
#[must_use]
pub fn watch(name: &str, folder: &Path, version: Version) -> Value {
    application(
        name,
        &version.path(folder),
        &json!({ "name": "watch", "type": "TracePoint", "tracepoint": {
            "links": [{ "name": "syscalls/sys_enter_openat" }]
        }}),
    )
}

/// Restricts an application to a tenth of the nodes.
#[must_use]
pub fn on_tenth(mut application: Value) -> Value {
    application["spec"]["nodeSelector"] = json!({ "matchLabels": { TENTH: "yes" } });
    application
}

/// Adds a rollout to an application.
#[must_use]
pub fn in_waves(mut application: Value, rollout: &Value) -> Value {
    application["spec"]["rollout"] = rollout.clone();
    application
}

fn application(name: &str, path: &Path, program: &Value) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication",
        "metadata": { "name": name },
        "spec": { "nodeSelector": {}, "byteCode": { "path": path }, "programs": [program] },
    })
}
