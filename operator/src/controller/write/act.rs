//! Writes decisions to the API server.

use std::sync::Arc;

use bpfman_runtime::object::api;
use kube::api::Patch;
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::event_subject::reference;
use super::leader::Leadership;
use crate::controller::metrics::ControllerMetrics;
use crate::controller::projection::TrackedApplication;
use crate::controller::projection::wire::WireApplication;
use bpfman_runtime::manager::Manager;
use bpfman_runtime::note::{EventWriter, Note};

/// Context of all writes.
#[derive(Clone)]
pub struct ApiWriter {
    pub client: Client,
    pub events: EventWriter,
    pub metrics: Arc<ControllerMetrics>,
    /// True if this controller is the leader.
    pub leadership: Leadership,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The write succeeded, or the object is gone and nothing is left to do.
    Done,
    /// The object changed meanwhile: decide again.
    Outdated,
    /// The server refused or did not answer: retry later.
    Failed,
}

impl From<Result<(), Self>> for WriteOutcome {
    fn from(written: Result<(), Self>) -> Self {
        written.err().unwrap_or(Self::Done)
    }
}

impl ApiWriter {
    /// Writes finalizers and then the status of an application, if it still has the decided version.
    pub async fn application(
        &self,
        application: &mut TrackedApplication,
        finalizers: Option<Vec<String>>,
        status: Option<Value>,
    ) -> Result<(), WriteOutcome> {
        if let Some(finalizers) = finalizers {
            let version = &application.resource_version;
            let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
            let api = self.applications(application);
            let answer =
                api.patch(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
            *application = self.newest(application, "finalizer", answer)?;
        }
        if let Some(mut patch) = status {
            patch["metadata"] = json!({ "resourceVersion": application.resource_version });
            let api = self.applications(application);
            let answer =
                api.patch_status(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
            *application = self.newest(application, "status", answer)?;
        }
        Ok(())
    }

    fn applications(&self, application: &TrackedApplication) -> Api<WireApplication> {
        api(&self.client, &application.scope.applications(), application.namespace.as_deref())
    }

    fn newest(
        &self,
        application: &TrackedApplication,
        kind: &'static str,
        answer: kube::Result<WireApplication>,
    ) -> Result<TrackedApplication, WriteOutcome> {
        TrackedApplication::new(application.scope, self.record_result(kind, answer)?)
            .ok_or(WriteOutcome::Outdated)
    }

    /// Patches annotations of an application and returns the new version; fails if it was deleted or changed.
    pub async fn annotate(
        &self,
        application: &TrackedApplication,
        patch: &Value,
    ) -> Result<TrackedApplication, WriteOutcome> {
        let api = self.applications(application);
        let answer = api.patch(&application.name, &Manager::Controller.patch(), &Patch::Merge(patch)).await;
        self.newest(application, "command", answer)
    }

    /// Publishes events about an application.
    pub async fn write_events(&self, application: &TrackedApplication, notes: Vec<Note>) {
        let about = reference(application);
        for note in notes {
            self.metrics.wrote("event", "sent");
            self.events.write_event(&about, note).await;
        }
    }

    /// Counts a write, and classifies its error.
    pub fn record_result<T>(&self, kind: &'static str, answer: kube::Result<T>) -> Result<T, WriteOutcome> {
        let (result, error) = match answer {
            Ok(value) => {
                self.metrics.wrote(kind, "ok");
                return Ok(value);
            }
            Err(kube::Error::Api(status)) if status.code == 404 => ("gone", WriteOutcome::Done),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(kind, "changed meanwhile");
                ("conflict", WriteOutcome::Outdated)
            }
            Err(error) => {
                warn!(kind, %error, "a write failed; it is tried again");
                ("error", WriteOutcome::Failed)
            }
        };
        self.metrics.wrote(kind, result);
        Err(error)
    }
}
