//! What a node has to do about an application: which version it acts on, or why on none.

use std::sync::Arc;

use bpfman_application::spec::Spec;
use bpfman_application::state::node::Failure;

use crate::agent::objects::application::{Application, Unreadable};
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::revision::{RevisionError, Revisions};
use crate::agent::objects::selector;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

/// What a node has to do about an application.
pub enum Role {
    /// This, in this version.
    Act(Arc<Spec>, String),
    /// Nothing yet.
    Wait(&'static str),
    /// Nothing: it is not selected.
    Leave,
    /// Something, but what cannot be found out.
    Unclear(Failure),
}

/// Finds it out.
///
/// # Errors
/// The API server is away, and a revision was never read.
pub async fn role(
    shared: &Shared,
    revisions: &mut Revisions,
    application: &Application,
    state: Option<&StateObject>,
) -> Result<Role, ApiError> {
    let invalid = |message: String| {
        Role::Unclear(Failure { reason: "invalid".to_owned(), message, ..Failure::default() })
    };
    let labels = shared.cache.known().node.clone().unwrap_or_default().labels;
    let spec = match &application.spec {
        Ok(spec) => spec,
        Err(Unreadable { why, node_selector }) => {
            // What runs here already stays until it is known what is wanted.
            let here = state.is_some();
            let said = node_selector
                .as_ref()
                .map_or(here, |nodes| selector::matches(nodes, &labels).unwrap_or(here));
            return Ok(if said { invalid(why.clone()) } else { Role::Leave });
        }
    };
    let selected = match selector::matches(&spec.common().node_selector, &labels) {
        Ok(selected) => selected,
        Err(why) => {
            return Ok(if state.is_some() { invalid(format!("nodeSelector: {why}")) } else { Role::Leave });
        }
    };
    if spec.common().rollout.is_none() {
        let version = application.generation.to_string();
        return Ok(if selected { Role::Act(Arc::new(spec.clone()), version) } else { Role::Leave });
    }
    let Some(name) = state.and_then(|state| state.orders.revision.clone()) else {
        return Ok(if selected { Role::Wait("waiting for its turn in the rollout") } else { Role::Leave });
    };
    // What runs is what the controller named, also where the newest spec selects other nodes.
    match revisions.get(&shared.cluster, &application.key, &shared.namespace, &name).await {
        Ok(revision) => {
            let of_revision = selector::matches(&revision.common().node_selector, &labels).unwrap_or(false);
            Ok(if selected || of_revision { Role::Act(revision, name) } else { Role::Leave })
        }
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(error) => Ok(Role::Unclear(Failure {
            reason: "revision".to_owned(),
            message: error.to_string(),
            ..Failure::default()
        })),
    }
}
