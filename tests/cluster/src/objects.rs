//! Objects that tests need besides their own.

use bpfman_application::crd;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::discovery::{Scope, pinned_kind};
use serde_json::{Value, json};

use crate::{Cluster, wait};

pub const MANAGER: &str = "bpfman-tests";

impl Cluster {
    pub async fn apply_definitions(&self) {
        if self.has_definitions() {
            return;
        }
        let all = crd::all();
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client().await);
        for definition in &all {
            let name = definition.metadata.name.as_deref().unwrap();
            definitions
                .patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(definition))
                .await
                .unwrap();
        }
        for definition in &all {
            let name = definition.metadata.name.as_deref().unwrap();
            wait::until(&format!("{name} is served"), async || {
                let status = definitions.get(name).await.unwrap().status;
                let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
                conditions
                    .iter()
                    .any(|condition| condition.type_ == "Established" && condition.status == "True")
            })
            .await;
            // The condition `Established` appears shortly before requests are served.
            let gvk = GroupVersionKind::gvk("bpfman.io", "v1alpha1", &definition.spec.names.kind);
            wait::until(&format!("{name} is found"), async || {
                pinned_kind(&self.client().await, &gvk).await.is_ok()
            })
            .await;
        }
        self.keep_definitions();
    }

    pub async fn apply_one(&self, object: Value) -> DynamicObject {
        self.try_apply(object.clone()).await.unwrap_or_else(|error| panic!("{error:?}: {object}"))
    }

    pub async fn try_apply(&self, object: Value) -> kube::Result<DynamicObject> {
        let api = self.api_of(&object).await?;
        let name = object["metadata"]["name"].as_str().expect("it has a name").to_owned();
        api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await
    }

    pub async fn api_of(&self, object: &Value) -> kube::Result<Api<DynamicObject>> {
        let client = self.client().await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let types = TypeMeta { api_version: text(&object["apiVersion"]), kind: text(&object["kind"]) };
        let gvk = GroupVersionKind::try_from(&types).expect("it has a kind");
        let (resource, capabilities) = pinned_kind(&client, &gvk).await?;
        Ok(match (capabilities.scope, object["metadata"]["namespace"].as_str()) {
            (Scope::Namespaced, namespace) => {
                Api::namespaced_with(client, namespace.unwrap_or("default"), &resource)
            }
            (Scope::Cluster, _) => Api::all_with(client, &resource),
        })
    }

    pub async fn namespace(&self, name: &str) {
        self.apply_one(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }))
            .await;
        self.account(name, "default").await;
    }

    pub async fn node(&self, name: &str, labels: &[(&str, &str)]) -> Node {
        let mut all = serde_json::Map::from_iter([("kubernetes.io/hostname".to_owned(), json!(name))]);
        all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        self.apply_one(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": all },
        }))
        .await;
        let nodes: Api<Node> = Api::all(self.client().await);
        let status = json!({ "status": {
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }],
            "addresses": [{ "type": "InternalIP", "address": bpfman_tests::network::FAR_ADDRESS }],
        }});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap()
    }

    pub async fn node_runs(&self, name: &str, kernel: &str, boot: &str) {
        let nodes: Api<Node> = Api::all(self.client().await);
        let status = json!({ "status": { "nodeInfo": {
            "architecture": "amd64", "bootID": boot, "containerRuntimeVersion": "", "kernelVersion": kernel,
            "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "linux",
            "osImage": "", "systemUUID": "",
        } } });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    pub async fn pod(
        &self,
        namespace: &str,
        name: &str,
        node: &str,
        labels: &[(&str, &str)],
        containers: &[(&str, &str)],
    ) -> Pod {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let wanted: Vec<_> =
            containers.iter().map(|(name, _)| json!({ "name": name, "image": "none" })).collect();
        self.apply_one(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "labels": labels },
            "spec": { "nodeName": node, "containers": wanted },
        }))
        .await;
        let running: Vec<_> = containers
            .iter()
            .map(|(name, id)| {
                json!({
                    "name": name, "containerID": id, "image": "none", "imageID": "none", "ready": true,
                    "restartCount": 0, "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
                })
            })
            .collect();
        self.pod_status(namespace, name, running).await
    }

    pub async fn pod_crashed(&self, namespace: &str, name: &str, container: &str) -> Pod {
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let ended = json!({
            "name": container, "image": "none", "imageID": "none", "ready": false, "restartCount": 1, "state": waiting,
        });
        self.pod_status(namespace, name, vec![ended]).await
    }

    async fn pod_status(&self, namespace: &str, name: &str, containers: Vec<Value>) -> Pod {
        let pods: Api<Pod> = Api::namespaced(self.client().await, namespace);
        let status = json!({ "status": { "phase": "Running", "containerStatuses": containers } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap()
    }
}
