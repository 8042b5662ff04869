//! `status`: shows the controller's summaries: one request for thousands of nodes. Node states are read on request.

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::{PreflightVerdict, RolloutStatus};
use bpfman_application::summary::Summary;
use serde::Serialize;

use super::applications::{FoundApplications, ShownState};
use super::arguments::StatusOptions;
use super::connect::ClientSession;
use super::error::ClientError;
use super::follow::follow;
use super::output::write;
use super::table::table;
use super::{Shown, ShownEnd};
use bpfman_application::scope::Scope;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusReport {
    pub kind: &'static str,
    pub name: String,
    pub condition: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatusReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeStatusReport {
    node: String,
    kernel: String,
    condition: String,
    wanted: String,
    runs: String,
    message: String,
}

pub async fn status(session: &ClientSession, options: &StatusOptions) -> Result<Shown, ClientError> {
    let Some(name) = &options.application else {
        let namespace = (!options.all_namespaces).then_some(session.namespace.as_str());
        let applications = session.applications(namespace).await?;
        let reports: Vec<StatusReport> = applications.iter().map(|one| report(one, Vec::new())).collect();
        let well = reports.iter().all(StatusReport::is_well);
        return Ok(Shown {
            text: write(options.output, &reports, |reports| list(reports))?.into(),
            end: ShownEnd::of(well),
        });
    };
    if options.follow {
        return follow(session, name, options).await;
    }
    let application = session.application(name).await?;
    let states = if options.all { session.states_of(&application).await? } else { Vec::new() };
    let report = report(&application, states.iter().map(node).collect());
    let well = report.is_well();
    Ok(Shown { text: write(options.output, &report, one)?.into(), end: ShownEnd::of(well) })
}

impl StatusReport {
    fn is_well(&self) -> bool {
        self.condition == "Success" && self.rollout.as_ref().is_none_or(|one| one.failed_revision.is_none())
    }
}

pub(super) fn report(application: &FoundApplications, nodes: Vec<NodeStatusReport>) -> StatusReport {
    let condition = application.status.verdict().map(|(_, condition)| condition);
    StatusReport {
        kind: match application.scope {
            Scope::Cluster => "cluster",
            Scope::Namespaced => "namespaced",
        },
        name: application.full_name(),
        condition: condition.map_or("Unknown", |one| one.type_.as_str()).to_owned(),
        message: condition
            .map_or("no controller has looked at it yet", |one| one.message.as_str())
            .to_owned(),
        summary: application.status.summary.clone(),
        rollout: application.status.rollout.clone(),
        nodes,
    }
}

fn node(state: &ShownState) -> NodeStatusReport {
    let details = state.status.as_ref().map(|status| status.details.clone()).unwrap_or_default();
    let orders = NodeOrders::read(state.meta.annotations.as_ref());
    NodeStatusReport {
        node: state.node().to_owned(),
        kernel: details.kernel.unwrap_or_default(),
        condition: state.condition().to_owned(),
        wanted: orders.revision.unwrap_or_default(),
        runs: details.observed_revision.unwrap_or_default(),
        message: details
            .failure
            .map(|failure| match failure.hint.as_str() {
                "" => failure.message,
                hint => format!("{} ({hint})", failure.message),
            })
            .unwrap_or_default(),
    }
}

fn list(reports: &[StatusReport]) -> String {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            let summary = report.summary.clone().unwrap_or_default();
            let ready = if summary.ready.is_empty() { "-".to_owned() } else { summary.ready };
            [
                report.kind.to_owned(),
                report.name.clone(),
                report.condition.clone(),
                ready,
                summary.updated.to_string(),
                summary.failed.to_string(),
                report.rollout.as_ref().map(phase).unwrap_or_default(),
                report.message.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "There is no application.\n".to_owned();
    }
    table(["SCOPE", "NAME", "STATUS", "READY", "UPDATED", "FAILED", "ROLLOUT", "MESSAGE"], &rows)
}

fn phase(rollout: &RolloutStatus) -> String {
    match rollout.target_revision {
        Some(_) => format!("{:?} {}/{}", rollout.phase, rollout.wave, rollout.waves),
        None => format!("{:?}", rollout.phase),
    }
}

fn one(report: &StatusReport) -> String {
    let mut text = format!("{} application {}: {}\n", report.kind, report.name, report.condition);
    text.push_str(&format!("  {}\n", report.message));
    if let Some(summary) = &report.summary {
        text.push_str(&format!(
            "  {} nodes wanted, {} updated, {} healthy, {} failed\n",
            summary.wanted, summary.updated, summary.healthy, summary.failed
        ));
    }
    if let Some(rollout) = &report.rollout {
        text.push_str(&of_rollout(rollout));
    }
    let causes = report.summary.iter().flat_map(|summary| &summary.causes);
    let causes: Vec<_> = causes
        .map(|one| {
            let nodes = one.nodes.to_string();
            [nodes, one.reason.clone(), one.kernel.clone(), one.example.clone(), one.message.clone()]
        })
        .collect();
    section(&mut text, table(["NODES", "CAUSE", "KERNEL", "FOR EXAMPLE", "MESSAGE"], &causes));
    let nodes: Vec<_> = report
        .nodes
        .iter()
        .map(|one| {
            [&one.node, &one.kernel, &one.condition, &one.wanted, &one.runs, &one.message].map(Clone::clone)
        })
        .collect();
    section(&mut text, table(["NODE", "KERNEL", "STATUS", "WANTED", "RUNS", "MESSAGE"], &nodes));
    text
}

fn of_rollout(rollout: &RolloutStatus) -> String {
    let mut text = format!("\nRollout: {}\n  {}\n", phase(rollout), rollout.message);
    for (name, revision) in [
        ("going out", &rollout.target_revision),
        ("stable", &rollout.stable_revision),
        ("failed", &rollout.failed_revision),
    ] {
        if let Some(revision) = revision {
            text.push_str(&format!("  {name}: {revision}\n"));
        }
    }
    let mut groups: Vec<_> = rollout.preflight.iter().collect();
    groups.sort_by_key(|group| (group.verdict != PreflightVerdict::Failed, -group.nodes));
    let groups: Vec<_> = groups
        .iter()
        .map(|one| {
            let verdict = format!("{:?}", one.verdict);
            [
                one.kernel.clone(),
                one.composition.clone(),
                one.nodes.to_string(),
                one.node.clone(),
                verdict,
                one.message.clone(),
            ]
        })
        .collect();
    section(&mut text, table(["KERNEL", "CHAINS", "NODES", "TRIED ON", "PREFLIGHT", "MESSAGE"], &groups));
    text
}

fn section(text: &mut String, part: String) {
    if !part.is_empty() {
        text.push('\n');
        text.push_str(&part);
    }
}
