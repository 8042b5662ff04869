use bpfman_application::labels::LabelMatcher;
use bpfman_application::orders::{NOT_READY_TAINT, NodeOrders};
use bpfman_application::state::node::{HealthAnswer, NodeFailure, PreflightAnswer};
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;

use super::applications::{FoundApplications, ShownState};
use super::arguments::ExplainOptions;
use super::connect::ClientSession;
use super::error::ClientError;
use super::output::write;
use super::{Shown, ShownEnd};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    node: String,
    kernel: String,
    ready: bool,
    tainted: bool,
    pods: Vec<PodReport>,
    applications: Vec<ApplicationReport>,
}

#[derive(Debug, Serialize)]
struct PodReport {
    name: String,
    condition: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationReport {
    name: String,
    selected: bool,
    answered: bool,
    condition: String,
    wanted: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    programs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<NodeFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preflight: Option<PreflightAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gates: Option<HealthAnswer>,
}

pub async fn explain(session: &ClientSession, options: &ExplainOptions) -> Result<Shown, ClientError> {
    let node = session.node(&options.node).await?;
    let states = session.states_on(&options.node).await?;
    let applications = session.applications(None).await?;
    let pods = session.bpfman_pods(&options.node).await?;
    let status = node.status.as_ref();
    let report = Report {
        node: options.node.clone(),
        kernel: status
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.kernel_version.clone())
            .unwrap_or_default(),
        ready: status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
            .any(|one| one.type_ == "Ready" && one.status == "True"),
        tainted: node
            .spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten())
            .any(|taint| taint.key == NOT_READY_TAINT),
        pods: pods.into_iter().map(|(name, condition)| PodReport { name, condition }).collect(),
        applications: applications
            .iter()
            .filter_map(|application| on_node(application, &states, &node))
            .collect(),
    };
    let well = report.applications.iter().all(|one| one.failure.is_none() && one.condition == "Success");
    Ok(Shown { text: write(options.output, &report, people)?.into(), end: ShownEnd::of(well) })
}

fn on_node(application: &FoundApplications, states: &[ShownState], node: &Node) -> Option<ApplicationReport> {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selector = LabelMatcher::new(application.selector.clone()).unwrap_or_default();
    let selected = selector.matches(|key| labels.get(key).map(String::as_str));
    let state = states.iter().find(|state| state.is_of(application));
    if !selected && state.is_none() {
        return None;
    }
    let details = state
        .and_then(|state| state.status.as_ref())
        .map(|status| status.details.clone())
        .unwrap_or_default();
    let orders = state.map(|state| NodeOrders::read(state.meta.annotations.as_ref())).unwrap_or_default();
    let generation = application.meta.generation.unwrap_or_default();
    let wanted = match (&application.rollout, orders.revision) {
        _ if !selected => "nothing: the node is not selected".to_owned(),
        (None, _) => generation.to_string(),
        (Some(_), Some(revision)) => revision,
        (Some(_), None) => "what it runs: its turn in the rollout has not come".to_owned(),
    };
    Some(ApplicationReport {
        name: application.full_name(),
        selected,
        answered: state.is_some(),
        condition: state.map_or("Unknown", ShownState::condition).to_owned(),
        wanted,
        runs: details.observed_revision,
        digest: details.digest,
        programs: state
            .iter()
            .flat_map(|state| &state.programs)
            .map(|(name, id)| {
                id.map_or_else(|| format!("{name} (not loaded)"), |id| format!("{name} (id {id})"))
            })
            .collect(),
        failure: details.failure,
        preflight: details.preflight,
        gates: details.health,
    })
}

fn people(report: &Report) -> String {
    let ready = if report.ready { "ready" } else { "not ready" };
    let taint = if report.tainted { ", pods are kept away until its programs are back" } else { "" };
    let mut lines = vec![format!("Node {}: kernel {}, {ready}{taint}", report.node, report.kernel)];
    for pod in &report.pods {
        lines.push(format!("  {}: {}", pod.name, pod.condition));
    }
    if report.pods.is_empty() {
        lines.push(
            "  no pod of agent or daemon: `kubectl get daemonsets -A` shows where they should be".to_owned(),
        );
    }
    if report.applications.is_empty() {
        lines.push("\nNo application selects this node.".to_owned());
    }
    for one in &report.applications {
        lines.push(format!("\n{}: {}", one.name, one.condition));
        lines.push(format!("  wanted: {}", one.wanted));
        if !one.answered {
            lines.push("  the node has not heard of it: look at its agent".to_owned());
            continue;
        }
        let digest = one.digest.as_ref().map(|digest| format!(", {digest}")).unwrap_or_default();
        lines.push(format!("  runs: {}{digest}", one.runs.as_deref().unwrap_or("nothing yet")));
        if !one.programs.is_empty() {
            lines.push(format!("  programs: {}", one.programs.join(", ")));
        }
        if let Some(failure) = &one.failure {
            let program =
                if failure.program.is_empty() { String::new() } else { format!(" of {}", failure.program) };
            lines.push(format!("  failed: {}{program}: {}", failure.reason, failure.message));
            if !failure.hint.is_empty() {
                lines.push(format!("  next: {}", failure.hint));
            }
        }
        if let Some(answer) = &one.preflight {
            lines
                .push(format!("  preflight of {}: {:?} {}", answer.revision, answer.verdict, answer.message));
        }
        if let Some(answer) = &one.gates {
            let within = if answer.within { "kept" } else { "broken" };
            lines.push(format!("  gates of {}: {within} {}", answer.revision, answer.message));
        }
    }
    lines.join("\n") + "\n"
}
