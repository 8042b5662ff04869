//! Writes what was decided to the API server.

use std::sync::Arc;

use bpfman_runtime::object::api;
use kube::api::{ApiResource, DynamicObject, Patch};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::leader::Leadership;
use super::metrics::Metrics;
use super::note::{Note, Teller, reference};
use super::projection::Application;
use super::wire::WireApplication;
use bpfman_application::scope::Scope;
use bpfman_runtime::manager::Manager;

/// What writes need.
#[derive(Clone)]
pub struct Writer {
    /// The API server.
    pub client: Client,
    /// Writes events.
    pub teller: Teller,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whether it is this controller that acts.
    pub leadership: Leadership,
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is done, or the object is gone and nothing is left to do.
    Done,
    /// The object changed meanwhile: decide again.
    Outdated,
    /// The server refused or did not answer: try again later.
    Failed,
}

impl Writer {
    /// Writes finalizers and status of an application, each only on the version that was decided about. Gives back the
    /// newest version.
    pub async fn application(
        &self,
        application: &Application,
        finalizers: Option<Vec<String>>,
        status: Option<Value>,
    ) -> (Option<Application>, Written) {
        let resource = application.scope.applications();
        let api = api(&self.client, &resource, application.namespace.as_deref());
        let mut version = application.resource_version.clone();
        let mut newest = None;
        if let Some(finalizers) = finalizers {
            let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
            let answer =
                api.patch(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
            match self.judge("finalizer", answer) {
                Ok(wire) => newest = self.newest(application.scope, wire, &mut version),
                Err(written) => return (newest, written),
            }
        }
        if let Some(mut patch) = status {
            patch["metadata"] = json!({ "resourceVersion": version });
            let answer =
                api.patch_status(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
            match self.judge("status", answer) {
                Ok(wire) => newest = self.newest(application.scope, wire, &mut version),
                Err(written) => return (newest, written),
            }
        }
        (newest, Written::Done)
    }

    fn newest(&self, scope: Scope, wire: WireApplication, version: &mut String) -> Option<Application> {
        let application = Application::new(scope, wire)?;
        version.clone_from(&application.resource_version);
        Some(application)
    }

    /// Patches annotations of an application. Gives back the new version.
    ///
    /// # Errors
    /// It is gone, or changed meanwhile, or the server refused or did not answer.
    pub async fn annotate(&self, application: &Application, patch: &Value) -> Result<Application, Written> {
        let resource = application.scope.applications();
        let api = api(&self.client, &resource, application.namespace.as_deref());
        let answer = api.patch(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
        let wire: WireApplication = self.judge("command", answer)?;
        Application::new(application.scope, wire).ok_or(Written::Outdated)
    }

    /// Patches annotations or whatever else of one object, whatever its version unless the patch names one.
    pub async fn merge(
        &self,
        kind: &'static str,
        resource: &ApiResource,
        at: (Option<&str>, &str),
        patch: &Value,
    ) -> Written {
        let (namespace, name) = at;
        let api: Api<DynamicObject> = api(&self.client, resource, namespace);
        match self
            .judge(kind, api.patch_metadata(name, &Manager::Controller.patch(), &Patch::Merge(patch)).await)
        {
            Ok(_) => Written::Done,
            Err(written) => written,
        }
    }

    /// Tells people of an application.
    pub async fn tell(&self, application: &Application, notes: Vec<Note>) {
        let about = reference(application);
        for note in notes {
            self.metrics.wrote("event", "sent");
            self.teller.tell(&about, note).await;
        }
    }

    /// Counts a write, and says what its error means.
    pub fn judge<T>(&self, kind: &'static str, answer: kube::Result<T>) -> Result<T, Written> {
        let (result, error) = match answer {
            Ok(value) => {
                self.metrics.wrote(kind, "ok");
                return Ok(value);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => ("gone", Written::Done),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(kind, "changed meanwhile");
                ("conflict", Written::Outdated)
            }
            Err(error) => {
                warn!(kind, %error, "a write failed; it is tried again");
                ("error", Written::Failed)
            }
        };
        self.metrics.wrote(kind, result);
        Err(error)
    }
}
