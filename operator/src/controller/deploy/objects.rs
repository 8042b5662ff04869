use bpfman_application::config::{Config, ConfigSpec};
use bpfman_application::{GROUP, VERSION};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::images::DeployImages;
use super::manifest::{CONFIG_MAP, labels, namespace};
use super::{agent, daemon};

/// Annotation with the hash of the applied object: a comparison with the found one misses removed fields.
const MADE_FROM: &str = "bpfman.io/made-from";

/// Returns all objects in the order in which they are applied, without those that `overrides` excludes.
#[must_use]
pub fn objects(config: &Config, images: &DeployImages) -> Vec<Value> {
    let spec = &config.spec;
    let mut objects = vec![
        config_map(spec),
        csi_driver(),
        daemon::daemon_set(spec, images),
        agent::daemon_set(spec, images),
    ];
    objects.retain(|object| !is_unmanaged(spec, object));
    for object in &mut objects {
        let digest = Sha256::digest(object.to_string());
        let start = bpfman_model::hexadecimal(&digest[..8]);
        object["metadata"]["annotations"] = json!({ MADE_FROM: start });
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "Config",
            "name": config.metadata.name,
            "uid": config.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true
        }]);
    }
    objects
}

fn is_unmanaged(spec: &ConfigSpec, object: &Value) -> bool {
    spec.overrides.iter().filter(|entry| entry.unmanaged).any(|entry| {
        object["apiVersion"] == entry.api_version
            && object["kind"] == entry.kind
            && object["metadata"]["name"] == entry.name
            // An object without a namespace matches whatever the entry's namespace is, since that field is required.
            && object["metadata"]["namespace"].as_str().is_none_or(|namespace| namespace == entry.namespace)
    })
}

fn config_map(spec: &ConfigSpec) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": CONFIG_MAP, "namespace": namespace(spec), "labels": labels("bpfman-config") },
        "data": {
            "bpfman.toml": spec.configuration,
            "bpfman.log.level": spec.daemon.log_level.as_deref().unwrap_or_default(),
            "bpfman.agent.log.level": spec.agent.log_level.as_deref().unwrap_or_default()
        }
    })
}

/// Omits fields added after Kubernetes 1.20: a server that does not know a field refuses the object.
fn csi_driver() -> Value {
    let mut labels = labels("bpfman-csi");
    // Without this label, OpenShift allows volumes of the driver only in privileged namespaces.
    labels["security.openshift.io/csi-ephemeral-volume-profile"] = json!("restricted");
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": { "name": "csi.bpfman.io", "labels": labels },
        "spec": {
            "attachRequired": false,
            "podInfoOnMount": true,
            "storageCapacity": false,
            "volumeLifecycleModes": ["Ephemeral"],
            "fsGroupPolicy": "ReadWriteOnceWithFSType"
        }
    })
}

#[cfg(test)]
mod tests;
