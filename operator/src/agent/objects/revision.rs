//! Revisions that the controller orders, parsed as specs. They never change, so each is read once.

use std::collections::HashMap;
use std::sync::Arc;

use bpfman_application::spec::{ApplicationSpec, SpecError};

use super::cluster::{ApiError, Cluster};
use bpfman_application::scope::ApplicationKey;

const KEPT: usize = 16;

/// Reason for which a revision cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The request to the API server failed.
    #[error("revision {0}: {1}")]
    Api(String, ApiError),
    /// The data is not a valid spec.
    #[error("revision {0}: {1}")]
    NoSpec(String, SpecError),
}

/// Cached revisions of one application.
#[derive(Debug, Default)]
pub struct ReadRevisions(HashMap<String, Arc<ApplicationSpec>>);

impl ReadRevisions {
    /// Returns a revision of an application. Those of cluster applications are in the operator's namespace.
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
