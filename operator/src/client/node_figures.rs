//! Figures of all nodes, from their agents.

use std::time::Duration;

use axum::http::StatusCode;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::applications::list;
use super::ask_pod::{PodSilence, get, node_of, port_of};
use super::connect::ClientSession;
use super::dry_run_objects::operator_namespace;
use super::error::ClientError;
use super::progress::gather;
use crate::figures::{FIGURES, NodeFigures};

const AGENTS: &str = "app.kubernetes.io/name=bpfman-agent";
const PORT: i32 = 8175;
const MAX_CONCURRENT_REQUESTS: usize = 32;
const MAX_TIME: Duration = Duration::from_secs(15);
/// Maximum number of nodes without an answer that are named.
const UNANSWERED: usize = 10;

/// Node, with its figures or the reason why there are none.
pub type FiguresOfNode = (String, Result<NodeFigures, String>);

/// Node without an answer.
#[derive(Debug, Serialize)]
pub struct UnansweredNode {
    pub node: String,
    pub why: String,
}

/// Returns the answers of all nodes, by name. Counts only pods of the operator's namespace: others could carry the
/// agents' label.
pub async fn figures_of_nodes(
    session: &ClientSession,
    namespace: Option<&str>,
) -> Result<Vec<FiguresOfNode>, ClientError> {
    let operator = operator_namespace(session, namespace).await;
    let api: Api<Pod> = Api::namespaced(session.client.clone(), &operator);
    let pods = list(api, ListParams::default().labels(AGENTS), "Pod").await?;
    if pods.is_empty() {
        return Err(ClientError::NoAgents(operator));
    }
    let asked = pods.iter().map(|pod| async move { (node_of(pod), ask(session, pod).await) });
    let asked = futures::stream::iter(asked).buffer_unordered(MAX_CONCURRENT_REQUESTS);
    let mut answers = gather("nodes", pods.len(), asked).await;
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(answers)
}

async fn ask(session: &ClientSession, pod: &Pod) -> Result<NodeFigures, String> {
    let port = port_of(pod, "probes").unwrap_or(PORT);
    let body = get(session, pod, (port, FIGURES), MAX_TIME).await.map_err(|silence| match silence {
        PodSilence::Refused(StatusCode::NOT_FOUND, _) => {
            "its agent reports no figures: it is older than this client".to_owned()
        }
        silence => silence.to_string(),
    })?;
    serde_json::from_slice(&body).map_err(|error| format!("its answer is not understood: {error}"))
}

/// Returns one line for each of the first nodes without an answer.
pub fn unanswered_lines(nodes: &[UnansweredNode]) -> String {
    let lines = nodes.iter().take(UNANSWERED);
    let mut text: String =
        lines.map(|node| format!("node {} did not answer: {}\n", node.node, node.why)).collect();
    let more = nodes.len().saturating_sub(UNANSWERED);
    if more > 0 {
        text.push_str(&format!("and {more} more nodes did not\n"));
    }
    text
}
