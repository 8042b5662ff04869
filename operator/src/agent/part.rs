//! What a node has to do about an application: which version it acts on, or why on none.

use std::sync::Arc;

use bpfman_application::spec::Spec;
use bpfman_application::state::node::Failure;

use super::Shared;
use super::api::ApiError;
use super::application::{Application, Unreadable};
use super::revision::RevisionError;
use super::selector;
use super::state::StateObject;

/// What a node has to do about an application.
pub enum Part {
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
pub async fn part(
    shared: &Shared,
    application: &Application,
    state: Option<&StateObject>,
) -> Result<Part, ApiError> {
    let invalid = |message: String| {
        Part::Unclear(Failure { reason: "invalid".to_owned(), message, ..Failure::default() })
    };
    let labels = shared.world.known().node.clone().unwrap_or_default().labels;
    let spec = match &application.spec {
        Ok(spec) => spec,
        Err(Unreadable { why, node_selector }) => {
            // What runs here already stays until it is known what is wanted.
            let here = state.is_some();
            let said = node_selector
                .as_ref()
                .map_or(here, |nodes| selector::matches(nodes, &labels).unwrap_or(here));
            return Ok(if said { invalid(why.clone()) } else { Part::Leave });
        }
    };
    let selected = match selector::matches(&spec.common().node_selector, &labels) {
        Ok(selected) => selected,
        Err(why) => {
            return Ok(if state.is_some() { invalid(format!("nodeSelector: {why}")) } else { Part::Leave });
        }
    };
    if spec.common().rollout.is_none() {
        let version = application.generation.to_string();
        return Ok(if selected { Part::Act(Arc::new(spec.clone()), version) } else { Part::Leave });
    }
    let Some(name) = state.and_then(|state| state.orders.revision.clone()) else {
        return Ok(if selected { Part::Wait("waiting for its turn in the rollout") } else { Part::Leave });
    };
    // What runs is what the controller named, also where the newest spec selects other nodes.
    match shared.revisions.get(&shared.cluster, &application.key, &shared.namespace, &name).await {
        Ok(revision) => {
            let of_revision = selector::matches(&revision.common().node_selector, &labels).unwrap_or(false);
            Ok(if selected || of_revision { Part::Act(revision, name) } else { Part::Leave })
        }
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(error) => Ok(Part::Unclear(Failure {
            reason: "revision".to_owned(),
            message: error.to_string(),
            ..Failure::default()
        })),
    }
}
