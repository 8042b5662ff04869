use serde_json::{Value, json};

pub fn everything(name: &str) -> Value {
    let pods = json!({ "matchLabels": { "app": "web" } });
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "ClusterBpfApplication",
        "metadata": { "name": name },
        "spec": {
            "nodeSelector": { "matchLabels": { "tier": "edge" } },
            "byteCode": { "image": {
                "url": "quay.io/acme/everything:v1", "imagePullPolicy": "Always",
                "imagePullSecret": { "name": "pull", "namespace": "bpfman" },
            }},
            "globalData": { "sampling": "AQAAAA==" },
            "rollout": {
                "waves": [1, "50%"], "maxUnavailable": "10%",
                "gates": { "verdicts": [{ "verdict": "drop", "maxPercent": 5 }] },
            },
            "programs": [
                { "name": "count_xdp", "type": "XDP", "xdp": { "links": [{
                    "interfaceSelector": { "interfaces": ["eth0"] }, "priority": 10, "proceedOn": ["Pass", "TX"],
                    "networkNamespaces": { "namespace": "shop", "pods": pods },
                    "order": { "role": "counter", "before": ["firewall"] }, "onUnavailable": "closed",
                }]}},
                { "name": "count_tc", "type": "TC", "tc": { "links": [{
                    "interfaceSelector": { "primaryNodeInterface": true }, "direction": "Egress", "proceedOn": ["OK"],
                }]}},
                { "name": "count_tcx", "type": "TCX", "tcx": { "links": [{
                    "interfaceSelector": { "interfacesDiscoveryConfig": {
                        "interfaceAutoDiscovery": true, "allowedInterfaces": ["/^eth/"], "excludeInterfaces": [],
                    }}, "direction": "Ingress", "priority": 0,
                }]}},
                { "name": "on_unlink", "type": "FEntry", "fentry": { "function": "vfs_unlink", "links": [{ "mode": "Attach" }] } },
                { "name": "after_unlink", "type": "FExit", "fexit": { "function": "vfs_unlink" } },
                { "name": "on_wake", "type": "KProbe", "kprobe": { "links": [{ "function": "try_to_wake_up", "offset": 4 }] } },
                { "name": "after_wake", "type": "KRetProbe", "kretprobe": { "links": [{ "function": "try_to_wake_up" }] } },
                { "name": "on_open", "type": "TracePoint", "tracepoint": { "links": [{ "name": "syscalls/sys_enter_openat" }] } },
                { "name": "on_malloc", "type": "UProbe", "uprobe": { "links": [{
                    "function": "malloc", "target": "libc", "pid": 7,
                    "containers": { "namespace": "shop", "pods": {}, "containerNames": ["main"] },
                }]}},
                { "name": "after_malloc", "type": "URetProbe", "uretprobe": { "links": [{ "target": "/bin/app", "offset": 16 }] } },
            ],
        },
    })
}

pub fn places(name: &str) -> Value {
    let text = include_str!("../../../../operator/application/tests/points.yaml");
    let mut places: Value = serde_norway::from_str(text).unwrap();
    places["metadata"]["name"] = json!(name);
    places
}

pub fn in_namespace(namespace: &str, name: &str) -> Value {
    let pods = json!({ "pods": { "matchLabels": { "app": "web" } } });
    let containers = json!({ "pods": { "matchLabels": { "app": "web" } }, "containerNames": ["main"] });
    let interface = json!({ "interfaces": ["eth0"] });
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "BpfApplication",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "nodeSelector": {},
            "byteCode": { "path": "/opt/ebpf/pods.o" },
            "programs": [
                { "name": "count_xdp", "type": "XDP",
                  "xdp": { "links": [{ "interfaceSelector": interface, "networkNamespaces": pods }] } },
                { "name": "count_tc", "type": "TC",
                  "tc": { "links": [{ "interfaceSelector": interface, "networkNamespaces": pods, "direction": "Ingress" }] } },
                { "name": "count_tcx", "type": "TCX",
                  "tcx": { "links": [{ "interfaceSelector": interface, "networkNamespaces": pods, "direction": "Egress" }] } },
                { "name": "on_malloc", "type": "UProbe",
                  "uprobe": { "links": [{ "function": "malloc", "target": "libc", "containers": containers }] } },
                { "name": "after_malloc", "type": "URetProbe",
                  "uretprobe": { "links": [{ "target": "/bin/app", "containers": containers }] } },
            ],
        },
    })
}

pub fn state(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "bpfman.io/v1alpha1",
        "kind": "ClusterBpfApplicationState",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": node } },
        "status": {
            "updateCount": 1, "node": node, "appLoadStatus": "LoadSuccess",
            "kernel": "6.12.0", "observedRevision": "a1b2",
            "conditions": [{
                "type": "Success", "status": "True", "reason": "Success", "message": "attached",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
            }],
            "programs": [{ "name": "count_xdp", "type": "XDP", "programLinkStatus": "Success", "programId": 4294967295_u32,
                "xdp": { "links": [{
                    "shouldAttach": true, "uuid": "6b0c3a3e-0000-4000-8000-000000000001", "linkId": 3000000000_u32,
                    "linkStatus": "Attached", "interfaceName": "eth0", "priority": 10, "proceedOn": ["Pass"],
                }]},
            }],
        },
    })
}
