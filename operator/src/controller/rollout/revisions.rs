//! `ControllerRevision` objects of applications: created before their first use, found by their content.

use std::collections::BTreeSet;

use bpfman_application::orders::REVISION_OF;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::Value;
use tracing::warn;

use crate::controller::projection::TrackedApplication;
use crate::rollout::revision;
use bpfman_application::spec::ApplicationSpec;
use bpfman_runtime::manager::Manager;

#[derive(Clone, Debug, PartialEq)]
pub struct KnownRevisions {
    /// Generation of the application's spec that `target` contains.
    pub generation: i64,
    pub target: String,
    pub data: Value,
    pub names: BTreeSet<String>,
    /// Number of the newest revision.
    pub number: i64,
}

/// Revisions of one application.
pub struct RevisionObjects<'a> {
    api: Api<ControllerRevision>,
    namespace: &'a str,
    application: &'a TrackedApplication,
}

impl<'a> RevisionObjects<'a> {
    /// Creates the access for an application; revisions of cluster applications are in the operator's namespace.
    #[must_use]
    pub fn new(client: &Client, operator_namespace: &'a str, application: &'a TrackedApplication) -> Self {
        let namespace = application.namespace.as_deref().unwrap_or(operator_namespace);
        Self { api: Api::namespaced(client.clone(), namespace), namespace, application }
    }

    /// Finds or creates the revision of the current spec, and deletes old revisions that are not in use.
    pub async fn know(&self, needed: &BTreeSet<String>) -> kube::Result<KnownRevisions> {
        let of_this = ListParams::default().labels(&format!("{REVISION_OF}={}", self.application.id));
        let all = self.api.list(&of_this).await?.items;
        let data = revision::data(&*self.application.spec).unwrap_or_default();
        let equal = all.iter().find(|one| self.says(one, &data)).and_then(|one| one.metadata.name.clone());
        let mut known = KnownRevisions {
            generation: self.application.generation,
            target: equal
                .clone()
                .unwrap_or_else(|| revision::name(&self.application.name, &self.application.id.0, &data)),
            data,
            names: all.iter().filter_map(|one| one.metadata.name.clone()).collect(),
            number: all.iter().map(|one| one.revision).max().unwrap_or(0),
        };
        if equal.is_none() {
            let (name, data) = (known.target.clone(), known.data.clone());
            self.make(&mut known, name, data).await?;
        }
        let mut needed = needed.clone();
        needed.insert(known.target.clone());
        for name in revision::surplus(&all, &needed) {
            match self.api.delete(name, &DeleteParams::default()).await {
                Ok(_) => _ = known.names.remove(name),
                Err(error) => warn!(name, %error, "an old revision stays"),
            }
        }
        Ok(known)
    }

    /// Creates the revision with the image pinned to the digest, unless it exists.
    pub async fn pin(&self, known: &mut KnownRevisions, name: &str, digest: &str) -> kube::Result<()> {
        if known.names.contains(name) {
            return Ok(());
        }
        let mut data = known.data.clone();
        revision::pin(&mut data, digest);
        self.make(known, name.to_owned(), data).await
    }

    async fn make(&self, known: &mut KnownRevisions, name: String, data: Value) -> kube::Result<()> {
        let number = known.number + 1;
        let object = revision::object(&name, self.namespace, &owner(self.application), data, number);
        match self.api.create(&Manager::Controller.post(), &object).await {
            Ok(_) => {}
            // Another controller created it; the name guarantees equal content.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
        known.number = number;
        known.names.insert(name);
        Ok(())
    }

    /// Returns whether a revision has this content. Compares parsed content: new defaults do not count.
    fn says(&self, one: &ControllerRevision, data: &Value) -> bool {
        let named = one.metadata.name.as_deref().is_some_and(|name| revision::source(name) == name);
        let rehearsal =
            one.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(revision::REHEARSAL));
        let Some(old) = one.data.as_ref().map(|data| &data.0).filter(|_| named && !rehearsal) else {
            return false;
        };
        let read = |data: &Value| ApplicationSpec::read(self.application.namespace.as_deref(), data.clone());
        old == data || matches!((read(old), read(data)), (Ok(old), Ok(data)) if old == data)
    }
}

fn owner(application: &TrackedApplication) -> OwnerReference {
    let resource = application.scope.applications();
    OwnerReference {
        api_version: resource.api_version,
        kind: resource.kind,
        name: application.name.clone(),
        uid: application.id.to_string(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
