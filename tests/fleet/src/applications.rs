use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::INTERFACE;
use crate::version::Version;

pub const TENTH: &str = "fleet/tenth";

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

#[must_use]
pub fn on_tenth(mut application: Value) -> Value {
    application["spec"]["nodeSelector"] = json!({ "matchLabels": { TENTH: "yes" } });
    application
}

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
