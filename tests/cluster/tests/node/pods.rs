use serde_json::{Value, json};

pub fn pod(name: &str, image: &str, words: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": name } },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 4711, "runAsGroup": 4711 },
            "containers": [{
                "name": "main", "image": image, "command": words,
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

/// Pod with the map `hits`, mounted by CSI, under the packaged seccomp profile (`RealNode::install_profile`).
pub fn reader(application: &str) -> Value {
    let mut reader = pod("reader", "bpfman.test/reader:1", &["/bin/read_map", "/maps/hits"]);
    // Kubelets pass the pod's fsGroup to a CSI driver since 1.22; without one, the map's pin has the group root.
    reader["spec"]["securityContext"]["runAsGroup"] = json!(0);
    reader["spec"]["securityContext"]["seccompProfile"] =
        json!({ "type": "Localhost", "localhostProfile": "bpfman-map-reader.json" });
    reader["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "maps", "mountPath": "/maps" }]);
    reader["spec"]["volumes"] = json!([{ "name": "maps", "csi": {
        "driver": "csi.bpfman.io", "readOnly": true,
        "volumeAttributes": { "csi.bpfman.io/program": application, "csi.bpfman.io/maps": "hits" },
    }}]);
    reader
}

pub fn receiver(name: &str) -> Value {
    pod(name, "bpfman.test/receiver:1", &["/bin/receive"])
}

pub fn in_pods(program: &str, kind: &str, app: &str) -> Value {
    let mut link = json!({
        "interfaceSelector": { "interfaces": ["eth0"] },
        "networkNamespaces": { "namespace": "default", "pods": { "matchLabels": { "app": app } } },
    });
    if kind != "XDP" {
        link["direction"] = json!("Ingress");
    }
    json!({ "name": program, "type": kind, kind.to_lowercase(): { "links": [link] } })
}

pub fn application(name: &str, object: &str, programs: &Value) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplication", "metadata": { "name": name },
        "spec": {
            "nodeSelector": {}, "byteCode": { "path": object }, "programs": programs,
            "mapExports": [{ "map": "hits", "namespaces": ["default"] }],
        },
    })
}
