//! Requests of the agent to the API server, apart from watches.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_application::{GROUP, VERSION, state};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

use super::application::WantedApplication;
use super::state::{StateObject, Status};
use crate::agent::metrics::AgentMetrics;
use bpfman_application::scope::{ApplicationKey, Scope};
use bpfman_application::state::name::{label, state_name};
use bpfman_runtime::connect::innermost;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::object;
use bpfman_runtime::patch::difference;

/// Failure of a request to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("it is gone")]
    NotFound,
    #[error("somebody else wrote it: {0}")]
    Conflict(String),
    #[error("the API server refused it ({code}): {message}")]
    Refused { code: u16, message: String },
    #[error("the API server does not answer: {0}")]
    Away(String),
    #[error("the API server answered what this agent cannot read: {0}")]
    Unreadable(String),
}

impl ApiError {
    /// Returns a short name for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "api-gone",
            Self::Conflict(_) => "api-conflict",
            Self::Refused { .. } => "api-refused",
            Self::Away(_) => "api-away",
            Self::Unreadable(_) => "api-unreadable",
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::NotFound,
                409 => Self::Conflict(status.message),
                429 | 500..=599 => Self::Away(status.message),
                code => Self::Refused { code, message: status.message },
            },
            kube::Error::SerdeError(error) => Self::Unreadable(error.to_string()),
            error => Self::Away(innermost(&error).to_string()),
        }
    }
}

/// API server, as one node's agent uses it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    node: String,
    metrics: Arc<AgentMetrics>,
}

impl Cluster {
    #[must_use]
    pub fn new(client: Client, node: &str, metrics: Arc<AgentMetrics>) -> Self {
        Self { client, node: node.to_owned(), metrics }
    }

    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the applications of a scope, in all namespaces.
    #[must_use]
    pub fn applications(&self, scope: Scope) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &scope.applications())
    }

    /// Returns the state objects of a scope, in all namespaces.
    #[must_use]
    pub fn states(&self, scope: Scope) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &scope.states())
    }

    fn states_beside(&self, key: &ApplicationKey) -> Api<DynamicObject> {
        object::api(&self.client, &key.scope.states(), key.namespace.as_deref())
    }

    /// Reads an application from the database. `None` if it does not exist.
    pub async fn application(&self, key: &ApplicationKey) -> Result<Option<WantedApplication>, ApiError> {
        let api: Api<DynamicObject> =
            object::api(&self.client, &key.scope.applications(), key.namespace.as_deref());
        let object = api.get_opt(&key.name).await?;
        Ok(object.and_then(|object| WantedApplication::read(key.scope, object)))
    }

    /// Creates the state object of an application on this node, or returns the existing one.
    pub async fn make_state(&self, application: &WantedApplication) -> Result<StateObject, ApiError> {
        let key = &application.key;
        let name = state_name(&key.name, &application.uid, &self.node);
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": key.scope.state_kind(),
            "metadata": {
                "name": name,
                "namespace": key.namespace,
                "labels": {
                    state::OWNED_BY_LABEL: label(&key.name),
                    state::NODE_LABEL: label(&self.node),
                },
                "finalizers": [key.scope.finalizer()],
                "ownerReferences": [{
                    "apiVersion": format!("{GROUP}/{VERSION}"),
                    "kind": key.scope.application_kind(),
                    "name": key.name,
                    "uid": application.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
        }))
        .map_err(|error| ApiError::Unreadable(error.to_string()))?;
        let api = self.states_beside(key);
        let params = Manager::Agent.post();
        self.metrics.writes.add(1);
        match api.create(&params, &object).await.map_err(ApiError::from) {
            Err(ApiError::Conflict(_)) => self.state(key, &name).await,
            made => read(key, made?),
        }
    }

    /// Reads a state object from the database.
    pub async fn state(&self, key: &ApplicationKey, name: &str) -> Result<StateObject, ApiError> {
        read(key, self.states_beside(key).get(name).await?)
    }

    /// Replaces the last read status, sending only the difference; after [`ApiError::Conflict`], read the object again.
    pub async fn write_status(
        &self,
        state: &StateObject,
        mut status: Status,
    ) -> Result<StateObject, ApiError> {
        let count = state.status.as_ref().map_or(0, |before| before.node.update_count);
        status.node.update_count = count.saturating_add(1);
        let value = |status: Option<&Status>| {
            let mut value = serde_json::to_value(status).unwrap_or_default();
            // Serialization omits an empty list, but it must be written.
            if let Some(status) = value.as_object_mut() {
                status.entry("programs").or_insert_with(|| json!([]));
            }
            value
        };
        let change = difference(&value(state.status.as_ref()), &value(Some(&status)));
        let patch = json!({
            "metadata": { "resourceVersion": state.resource_version },
            "status": change.unwrap_or_default(),
        });
        self.metrics.writes.add(1);
        let api = self.states_beside(&state.application);
        read(&state.application, api.patch_status(&state.name, &params(), &Patch::Merge(patch)).await?)
    }

    /// Sets the finalizers of a state object, with the errors of [`Self::write_status`].
    pub async fn write_finalizers(
        &self,
        state: &StateObject,
        finalizers: &[String],
    ) -> Result<StateObject, ApiError> {
        let patch = json!({
            "metadata": { "resourceVersion": state.resource_version, "finalizers": finalizers },
        });
        self.metrics.writes.add(1);
        let api = self.states_beside(&state.application);
        read(&state.application, api.patch(&state.name, &params(), &Patch::Merge(patch)).await?)
    }

    /// Lists the uids of all state objects of this node from the database.
    pub async fn state_uids(&self) -> Result<BTreeSet<String>, ApiError> {
        let of_this_node = format!("{}={}", state::NODE_LABEL, label(&self.node));
        let params = ListParams::default().labels(&of_this_node);
        let mut uids = BTreeSet::new();
        for scope in Scope::ALL {
            let list = self.states(scope).list_metadata(&params).await?;
            uids.extend(list.items.into_iter().filter_map(|object| object.metadata.uid));
        }
        Ok(uids)
    }

    pub async fn delete_state(&self, state: &StateObject) -> Result<(), ApiError> {
        let only_this = Preconditions { uid: Some(state.uid.clone()), resource_version: None };
        let params = DeleteParams::background().preconditions(only_this);
        self.metrics.writes.add(1);
        self.states_beside(&state.application).delete(&state.name, &params).await?;
        Ok(())
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, ApiError> {
        Ok(Api::namespaced(self.client.clone(), namespace).get(name).await?)
    }

    pub async fn revision(&self, namespace: &str, name: &str) -> Result<ControllerRevision, ApiError> {
        Ok(Api::namespaced(self.client.clone(), namespace).get(name).await?)
    }
}

fn params() -> PatchParams {
    Manager::Agent.patch()
}

fn read(key: &ApplicationKey, object: DynamicObject) -> Result<StateObject, ApiError> {
    StateObject::read(key.scope, object)
        .ok_or_else(|| ApiError::Unreadable(format!("a {} without name or uid", key.scope.state_kind())))
}
