//! Determines which version of an application a node runs.

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

/// Action of a node on an application.
pub enum NodeRole {
    /// Run this spec in this version.
    Act(Arc<ApplicationSpec>, String),
    /// Wait, for this reason.
    Wait(&'static str),
    /// Remove it: the node is not selected.
    Leave,
    /// The action cannot be determined.
    Unclear(NodeFailure),
}

/// Determines the action; fails if the API server is away and the revision was never read.
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
            // Running programs stay until the wanted state is known.
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
    // The ordered revision runs even if the newest spec selects other nodes.
    match revisions.get(&shared.cluster, &application.key, &shared.namespace, &name).await {
        Ok(revision) => {
            let of_revision = selector::matches(&revision.common.node_selector, &labels).unwrap_or(false);
            Ok(if selected || of_revision { NodeRole::Act(revision, name) } else { NodeRole::Leave })
        }
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(error) => Ok(NodeRole::Unclear(NodeReason::Revision.failure(&error.to_string(), ""))),
    }
}
