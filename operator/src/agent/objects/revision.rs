//! Revisions: what the controller names, as a spec. They never change, so each is asked for once.

use std::collections::HashMap;
use std::sync::Arc;

use bpfman_application::spec::{ApplicationSpec, SpecError};

use super::cluster::{ApiError, Cluster};
use bpfman_application::scope::ApplicationKey;

/// Revisions of one application that are kept; a rollout has three.
const KEPT: usize = 16;

/// Why a revision is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The API server.
    #[error("revision {0}: {1}")]
    Api(String, ApiError),
    /// It is none of ours.
    #[error("revision {0}: {1}")]
    NoSpec(String, SpecError),
}

/// Revisions of one application that were read.
#[derive(Debug, Default)]
pub struct ReadRevisions(HashMap<String, Arc<ApplicationSpec>>);

impl ReadRevisions {
    /// A revision of an application. Those of cluster applications are in the operator's namespace.
    ///
    /// # Errors
    /// [`RevisionError`].
    pub async fn get(
        &mut self,
        cluster: &Cluster,
        key: &ApplicationKey,
        operator_namespace: &str,
        name: &str,
    ) -> Result<Arc<ApplicationSpec>, RevisionError> {
        if let Some(spec) = self.0.get(name) {
            return Ok(Arc::clone(spec));
        }
        let namespace = key.namespace.as_deref().unwrap_or(operator_namespace);
        let read = cluster.revision(namespace, name).await;
        let revision = read.map_err(|error| RevisionError::Api(name.to_owned(), error))?;
        let data = revision.data.map(|data| data.0).unwrap_or_default();
        let spec = ApplicationSpec::read(key.namespace.as_deref(), data)
            .map_err(|error| RevisionError::NoSpec(name.to_owned(), error))?;
        let spec = Arc::new(spec);
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(name.to_owned(), Arc::clone(&spec));
        Ok(spec)
    }
}
