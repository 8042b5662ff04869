//! Nodes that are gone: what they answered is deleted for them, since their agents never will.

use kube::api::ApiResource;
use kube::api::{DeleteParams, Patch, Preconditions};
use kube::core::GroupVersionKind;
use serde_json::json;
use tracing::info;

use bpfman_runtime::object::api;

use super::act::{Writer, Written};
use super::projection::STATE_FINALIZERS;
use super::text::Text;
use super::wire::{WireNode, WireState};
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;

/// Deletes the state objects of a node, if the API server itself says that there is no such node: our watch of nodes
/// may lag behind that of states.
pub async fn reap(writer: &Writer, node: &str, objects: Vec<(Scope, Option<String>, Text)>) -> Written {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"));
    let nodes = api(&writer.client, &resource, None);
    let found: kube::Result<Option<WireNode>> = nodes.get_opt(node).await;
    match writer.judge("node", found) {
        Ok(None) => {}
        Ok(Some(_)) => return Written::Done,
        Err(written) => return written,
    }
    info!(node, objects = objects.len(), "the node is gone; what it answered is deleted");
    let mut worst = Written::Done;
    for (scope, namespace, object) in objects {
        let written = release(writer, scope, namespace.as_deref(), &object).await;
        if written != Written::Done {
            worst = written;
        }
    }
    worst
}

/// Takes the agent's finalizer off a state object, leaves those of others, and deletes it.
async fn release(writer: &Writer, scope: Scope, namespace: Option<&str>, object: &str) -> Written {
    let states = api(&writer.client, &scope.states(), namespace);
    let found: kube::Result<WireState> = states.get(object).await;
    let state = match writer.judge("lost-state", found) {
        Ok(state) => state,
        Err(written) => return written,
    };
    let finalizers = state.metadata.finalizers.unwrap_or_default();
    let left: Vec<&String> =
        finalizers.iter().filter(|name| !STATE_FINALIZERS.contains(&name.as_str())).collect();
    if left.len() != finalizers.len() {
        let metadata = json!({ "finalizers": left, "resourceVersion": state.metadata.resource_version });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        if let Err(written) =
            writer.judge("lost-state", states.patch(object, &Manager::Controller.patch(), &patch).await)
        {
            return written;
        }
    }
    let exactly = Preconditions { uid: state.metadata.uid, resource_version: None };
    let parameters = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
    match writer.judge("lost-state", states.delete(object, &parameters).await) {
        Ok(_) => Written::Done,
        // It is not the object any more that was meant.
        Err(Written::Outdated) => Written::Done,
        Err(written) => written,
    }
}
