//! Revisions: what the controller names, as a spec. They never change, so each is asked for once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_application::spec::Spec;

use super::api::{ApiError, Cluster};
use super::application::parse;
use bpfman_application::scope::{ApplicationKey, Scope};

/// Revisions that are kept; more than this many applications have no use for.
const KEPT: usize = 256;

/// Why a revision is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The API server.
    #[error("revision {0}: {1}")]
    Api(String, ApiError),
    /// It is none of ours.
    #[error("revision {0}: {1}")]
    NoSpec(String, String),
}

/// Revisions that were read.
#[derive(Debug, Default)]
pub struct Revisions(Mutex<HashMap<(String, String), Arc<Spec>>>);

impl Revisions {
    /// A revision of an application. Those of cluster applications are in the operator's namespace.
    ///
    /// # Errors
    /// [`RevisionError`].
    pub async fn get(
        &self,
        cluster: &Cluster,
        key: &ApplicationKey,
        operator_namespace: &str,
        name: &str,
    ) -> Result<Arc<Spec>, RevisionError> {
        let namespace = match (key.scope, &key.namespace) {
            (Scope::Namespaced, Some(namespace)) => namespace,
            _ => operator_namespace,
        };
        let place = (namespace.to_owned(), name.to_owned());
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        if let Some(spec) = known {
            return Ok(spec);
        }
        let read = cluster.revision(namespace, name).await;
        let revision = read.map_err(|error| RevisionError::Api(name.to_owned(), error))?;
        let data = revision.data.map(|data| data.0).unwrap_or_default();
        let spec = parse(key.scope, data).map_err(|why| RevisionError::NoSpec(name.to_owned(), why))?;
        let spec = Arc::new(spec);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(place, Arc::clone(&spec));
        Ok(spec)
    }
}
