//! What a node has to do about an application: which version it acts on, or why on none.

use std::sync::Arc;

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::node::NodeFailure;
use bpfman_apply::node_reason::NodeReason;
use bpfman_proto::Reason;

use crate::agent::objects::application::{Unreadable, WantedApplication};
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::revision::{ReadRevisions, RevisionError};
use crate::agent::objects::selector;
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

/// What a node has to do about an application.
pub enum NodeRole {
    /// This, in this version.
    Act(Arc<ApplicationSpec>, String),
    /// Nothing yet.
    Wait(&'static str),
    /// Nothing: it is not selected.
    Leave,
    /// Something, but what cannot be found out.
    Unclear(NodeFailure),
}

/// Finds it out.
///
/// # Errors
/// The API server is away, and a revision was never read.
pub async fn role(
    shared: &Shared,
    revisions: &mut ReadRevisions,
    application: &WantedApplication,
    state: Option<&StateObject>,
) -> Result<NodeRole, ApiError> {
    let invalid = |why: &str| NodeRole::Unclear(NodeReason::Daemon(Reason::Invalid).failure(why, ""));
    let labels = shared.cache.known().node.get(&()).cloned().unwrap_or_default().labels;
    let spec = match &application.spec {
        Ok(spec) => spec,
        Err(Unreadable { why, node_selector }) => {
            // What runs here already stays until it is known what is wanted.
            let here = state.is_some();
            let selected = node_selector
                .as_ref()
                .map_or(here, |nodes| selector::matches(nodes, &labels).unwrap_or(here));
            return Ok(if selected { invalid(why) } else { NodeRole::Leave });
        }
    };
    let selected = match selector::matches(&spec.common.node_selector, &labels) {
        Ok(selected) => selected,
        Err(why) => {
            let why = format!("nodeSelector: {why}");
            return Ok(if state.is_some() { invalid(&why) } else { NodeRole::Leave });
        }
    };
    if spec.common.rollout.is_none() {
        let version = application.generation.to_string();
        return Ok(if selected { NodeRole::Act(Arc::new(spec.clone()), version) } else { NodeRole::Leave });
    }
    let Some(name) = state.and_then(|state| state.orders.revision.clone()) else {
        let wait = NodeRole::Wait("waiting for its turn in the rollout");
        return Ok(if selected { wait } else { NodeRole::Leave });
    };
    // What runs is what the controller named, also where the newest spec selects other nodes.
    match revisions.get(&shared.cluster, &application.key, &shared.namespace, &name).await {
        Ok(revision) => {
            let of_revision = selector::matches(&revision.common.node_selector, &labels).unwrap_or(false);
            Ok(if selected || of_revision { NodeRole::Act(revision, name) } else { NodeRole::Leave })
        }
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(error) => Ok(NodeRole::Unclear(NodeReason::Revision.failure(&error.to_string(), ""))),
    }
}
