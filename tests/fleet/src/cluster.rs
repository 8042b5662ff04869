//! API server, as used by the operator of the fleet.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::agent::NAMESPACE;
use crate::applications::TENTH;
use crate::node::{KERNELS, Node, group, in_tenth};

const AT_A_TIME: usize = 32;

const COLLECTORS: usize = 20;

#[derive(Clone)]
pub struct Cluster(pub Client);

impl Cluster {
    fn core(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.0.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind)))
    }

    fn applications(&self) -> Api<DynamicObject> {
        self.ours("ClusterBpfApplication")
    }

    #[must_use]
    pub fn states(&self) -> Api<DynamicObject> {
        self.ours("ClusterBpfApplicationState")
    }

    fn ours(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("bpfman.io", "v1alpha1", kind);
        Api::all_with(self.0.clone(), &ApiResource::from_gvk(&kind))
    }

    pub async fn make_nodes(&self, count: usize) -> Result<()> {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
        self.core("Namespace").create(&PostParams::default(), &serde_json::from_value(namespace)?).await?;
        let make = |number: usize| async move { self.make_node(number, &Node::name_of(number)).await };
        futures::stream::iter((0..count).map(make)).buffer_unordered(AT_A_TIME).try_collect().await
    }

    pub async fn make_node(&self, number: usize, name: &str) -> Result<()> {
        let nodes = self.core("Node");
        let mut labels = json!({ "kubernetes.io/hostname": name, "fleet/kernel": KERNELS[group(number)].0 });
        if in_tenth(number) {
            labels[TENTH] = json!("yes");
        }
        let node =
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady" }] } });
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(ready)).await?;
        Ok(())
    }

    pub async fn delete_node(&self, name: &str) -> Result<()> {
        self.core("Node").delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn states_of(&self, node: &str) -> Result<usize> {
        let of_it = ListParams::default().labels(&format!("kubernetes.io/hostname={node}"));
        Ok(self.states().list_metadata(&of_it).await?.items.len())
    }

    pub async fn apply(&self, application: &Value) -> Result<i64> {
        let name = application["metadata"]["name"].as_str().context("a name")?;
        let params = PatchParams::apply("fleet").force();
        let applied = self.applications().patch(name, &params, &Patch::Apply(application)).await?;
        applied.metadata.generation.context("a generation")
    }

    pub async fn delete(&self, name: &str) -> Result<()> {
        self.applications().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn collect(&self, name: &str) -> Result<Option<String>> {
        let some = ListParams::default().labels(&format!("bpfman.io/ownedByProgram={name}")).limit(500);
        let left = self.states().list_metadata(&some).await?.items;
        if left.is_empty() {
            return Ok(None);
        }
        let states = &self.states();
        let delete = |name: String| async move {
            match states.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                done => done.map(drop),
            }
        };
        let names = left.iter().filter_map(|state| state.metadata.name.clone());
        futures::stream::iter(names.map(delete)).buffer_unordered(COLLECTORS).try_collect::<()>().await?;
        Ok(Some(format!("{} or more", left.len())))
    }

    pub async fn status(&self, name: &str) -> Value {
        self.applications().get(name).await.map_or(Value::Null, |object| object.data["status"].clone())
    }

    /// Returns the difference to an application that is healthy on `nodes` nodes in this generation, if there is one.
    pub async fn unhealthy(&self, name: &str, generation: i64, nodes: usize) -> Option<String> {
        let status = self.status(name).await;
        let summary = &status["summary"];
        let all = ["wanted", "updated", "healthy"].iter().all(|field| summary[*field] == nodes);
        (!all || status["observedGeneration"] != generation)
            .then(|| format!("{name}: generation {}, {summary}", status["observedGeneration"]))
    }

    pub async fn count_applications(&self) -> Result<usize> {
        Ok(self.applications().list_metadata(&ListParams::default()).await?.items.len())
    }

    pub async fn count_states(&self) -> Result<usize> {
        Ok(self.states().list_metadata(&ListParams::default()).await?.items.len())
    }
}
