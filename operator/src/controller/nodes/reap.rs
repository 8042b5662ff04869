//! Deletes the state objects of deleted nodes, since their agents are gone.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;
use tracing::info;

use bpfman_runtime::object::api;

use crate::controller::projection::STATE_FINALIZERS;
use crate::controller::projection::text::SharedText;
use crate::controller::projection::wire::WireState;
use crate::controller::write::act::{ApiWriter, WriteOutcome};
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;

/// Deletes a node's state objects, if the API server, ahead of the watch, confirms that the node does not exist.
pub async fn reap(
    writer: &ApiWriter,
    node: &str,
    objects: Vec<(Scope, Option<SharedText>, SharedText)>,
) -> Result<(), WriteOutcome> {
    let nodes: Api<Node> = Api::all(writer.client.clone());
    if writer.record_result("node", nodes.get_metadata_opt(node).await)?.is_some() {
        return Ok(());
    }
    info!(node, objects = objects.len(), "the node is gone; what it answered is deleted");
    let mut worst = Ok(());
    for (scope, namespace, object) in objects {
        let written = release(writer, scope, namespace.as_deref(), &object).await;
        if WriteOutcome::from(written) != WriteOutcome::Done {
            worst = written;
        }
    }
    worst
}

async fn release(
    writer: &ApiWriter,
    scope: Scope,
    namespace: Option<&str>,
    object: &str,
) -> Result<(), WriteOutcome> {
    let states = api(&writer.client, &scope.states(), namespace);
    let found: kube::Result<WireState> = states.get(object).await;
    let state = writer.record_result("lost-state", found)?;
    let finalizers = state.metadata.finalizers.unwrap_or_default();
    let left: Vec<&String> =
        finalizers.iter().filter(|name| !STATE_FINALIZERS.contains(&name.as_str())).collect();
    if left.len() != finalizers.len() {
        let metadata = json!({ "finalizers": left, "resourceVersion": state.metadata.resource_version });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        writer
            .record_result("lost-state", states.patch(object, &Manager::Controller.patch(), &patch).await)?;
    }
    let exactly = Preconditions { uid: state.metadata.uid, resource_version: None };
    let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    match writer.record_result("lost-state", states.delete(object, &parameters).await) {
        // On `Outdated`, the object was replaced by another one.
        Ok(_) | Err(WriteOutcome::Outdated) => Ok(()),
        Err(written) => Err(written),
    }
}
