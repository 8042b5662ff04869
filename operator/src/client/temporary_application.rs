//! Temporary application for a dry run. It is paused from the beginning: nodes only execute preflight orders for it.

use bpfman_application::application::{ApplicationStatus, BpfApplication, ClusterBpfApplication};
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch};
use serde_json::{Map, Value, json};

use super::applications::FoundApplications;
use super::connect::ClientSession;
use super::error::ClientError;
use super::leftovers;
use super::manifest::ApplicationManifest;
use super::nodes::HOST_LABEL;
use crate::rollout::revision::REHEARSAL;

fn links(spec: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let programs = spec.get_mut("programs").and_then(Value::as_array_mut).into_iter().flatten();
    let blocks = programs.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let links = blocks.filter_map(|block| block.get_mut("links")?.as_array_mut());
    links.flatten().filter_map(Value::as_object_mut)
}

pub struct TemporaryApplication<'a> {
    session: &'a ClientSession,
    number: String,
    made: Option<(Api<DynamicObject>, String)>,
}

impl<'a> TemporaryApplication<'a> {
    pub fn new(session: &'a ClientSession, number: &str) -> Self {
        Self { session, number: number.to_owned(), made: None }
    }

    pub async fn make(
        &mut self,
        manifest: &ApplicationManifest,
        hosts: &[&str],
    ) -> Result<FoundApplications, ClientError> {
        let scope = manifest.scope;
        let namespace = manifest.namespace.clone().unwrap_or_else(|| self.session.namespace.clone());
        let (resource, api) = self.api(scope, &namespace);
        let name = format!("check-{}", self.number);
        let mut spec = manifest.spec.clone();
        let only = json!({ "matchExpressions": [{ "key": HOST_LABEL, "operator": "In", "values": hosts }] });
        if let Some(fields) = spec.as_object_mut() {
            fields.insert("nodeSelector".to_owned(), only);
            // With a rollout, nodes run only ordered revisions, and a paused rollout gives no orders.
            fields.insert("rollout".to_owned(), json!({ "paused": true }));
        }
        // Pods that start meanwhile must not wait for a dry run.
        for link in links(&mut spec) {
            link.remove("onUnavailable");
        }
        let mut metadata = json!({ "name": name, "labels": { REHEARSAL: self.number } });
        if scope == Scope::Namespaced {
            metadata["namespace"] = Value::String(namespace);
        }
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec,
        });
        let refused = |error| {
            ClientError::of(error, &format!("make an application to try {}", manifest.name), &resource.kind)
        };
        // Record it before the request, so that it is removed after an interruption in between.
        self.made = Some((api.clone(), name.clone()));
        let params = Manager::Client.patch().validation_strict();
        let made = api.patch(&name, &params, &Patch::Apply(&object)).await.map_err(refused)?;
        leftovers::sweep(&api, &made.metadata).await;
        Ok(FoundApplications {
            scope,
            meta: made.metadata,
            selector: manifest.selector.clone(),
            rollout: None,
            status: ApplicationStatus::default(),
            spec: made.data.get("spec").cloned().unwrap_or(spec),
        })
    }

    pub async fn end(self) -> Option<String> {
        let (api, name) = self.made?;
        let removed = leftovers::remove(&api, &name).await;
        removed.err().map(|error| format!("application {name}: {error}"))
    }

    fn api(&self, scope: Scope, namespace: &str) -> (ApiResource, Api<DynamicObject>) {
        let client = self.session.client.clone();
        match scope {
            Scope::Cluster => {
                let resource = ApiResource::erase::<ClusterBpfApplication>(&());
                let api = Api::all_with(client, &resource);
                (resource, api)
            }
            Scope::Namespaced => {
                let resource = ApiResource::erase::<BpfApplication>(&());
                let api = Api::namespaced_with(client, namespace, &resource);
                (resource, api)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_attachments_of_a_spec_are_found() {
        let mut spec = json!({ "programs": [
            { "name": "a", "xdp": { "links": [{ "onUnavailable": "closed" }, {}] } }, { "tc": { "links": [{}] } }, {}, 3,
        ] });
        assert_eq!(links(&mut spec).count(), 3);
        assert!(links(&mut spec).any(|link| link.remove("onUnavailable").is_some()));
        assert!(!spec.to_string().contains("onUnavailable"));
        assert_eq!(links(&mut json!({ "programs": "none" })).count(), 0);
    }
}
