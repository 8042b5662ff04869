use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpfman_application::rollout::PreflightVerdict;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::arguments::CheckOptions;
use super::connect::ClientSession;
use super::dry_run_objects::DryRunSession;
use super::error::ClientError;
use super::manifest::ApplicationManifest;
use super::nodes::KernelGroup;
use super::output::write;
use super::progress::AnswersLine;
use super::table::table;
use super::temporary_application::TemporaryApplication;
use super::{Shown, ShownEnd};

const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetReport {
    application: String,
    kernels: Vec<KernelRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KernelRow {
    kernel: String,
    architecture: String,
    nodes: usize,
    node: String,
    verdict: PreflightVerdict,
    message: String,
}

pub async fn check(session: &ClientSession, options: &CheckOptions) -> Result<Shown, ClientError> {
    let manifest = ApplicationManifest::read(&options.filename)?;
    let groups = session.kernel_groups(&manifest.selector).await?;
    if groups.is_empty() {
        return Err(ClientError::NoNodes(manifest.name));
    }
    let mut rehearsal = DryRunSession::new(session, options.trial.operator_namespace.as_deref()).await;
    let mut guest = TemporaryApplication::new(session, rehearsal.number());
    let mut rows: Vec<KernelRow> = groups.iter().map(|group| row(group, options.trial.timeout)).collect();
    let tried = tokio::select! {
        tried = ask(session, options, (&manifest, &groups), (&mut rehearsal, &mut guest), &mut rows) => tried,
        () = interrupted() => Err(ClientError::Interrupted),
    };
    let mut left = rehearsal.end().await;
    left.extend(guest.end().await);
    if let Err(error) = tried {
        for left in &left {
            eprintln!("left behind: {left}");
        }
        return Err(error);
    }
    let report = FleetReport { application: manifest.name, kernels: rows, left };
    let well = report.kernels.iter().all(|row| row.verdict == PreflightVerdict::Passed);
    Ok(Shown { text: write(options.trial.output, &report, people)?.into(), end: ShownEnd::of(well) })
}

async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        },
        Err(_) => _ = tokio::signal::ctrl_c().await,
    }
}

fn row(group: &KernelGroup, timeout: u64) -> KernelRow {
    KernelRow {
        kernel: group.kernel.clone(),
        architecture: group.architecture.clone(),
        nodes: group.nodes,
        node: group.node.clone(),
        verdict: PreflightVerdict::Pending,
        message: format!(
            "its agent does not answer within {timeout} s: `kubectl bpfman explain {}`",
            group.node
        ),
    }
}

async fn ask(
    session: &ClientSession,
    options: &CheckOptions,
    (manifest, groups): (&ApplicationManifest, &[KernelGroup]),
    (rehearsal, guest): (&mut DryRunSession<'_>, &mut TemporaryApplication<'_>),
    rows: &mut [KernelRow],
) -> Result<(), ClientError> {
    let mut progress = AnswersLine::new("nodes", groups.len());
    progress.show(0);
    let hosts: Vec<&str> = groups.iter().map(|group| group.host.as_str()).collect();
    let application = guest.make(manifest, &hosts).await?;
    let revision = rehearsal.revision(&application).await?;
    let mut waiting: BTreeMap<String, &mut KernelRow> =
        rows.iter_mut().map(|row| (row.node.clone(), row)).collect();
    let mut asked = BTreeSet::new();
    let end = Instant::now() + Duration::from_secs(options.trial.timeout);
    while !waiting.is_empty() && Instant::now() < end {
        for state in session.states_of(&application).await? {
            let node = state.node().to_owned();
            let Some(row) = waiting.get_mut(&node) else { continue };
            if asked.insert(node.clone()) {
                rehearsal.ask(&state, &revision).await?;
            }
            let answer = state.status.as_ref().and_then(|status| status.details.preflight.as_ref());
            if let Some(answer) = answer.filter(|answer| answer.revision == revision) {
                row.verdict = answer.verdict;
                row.message.clone_from(&answer.message);
                waiting.remove(&node);
            }
        }
        progress.show(groups.len().saturating_sub(waiting.len()));
        sleep(LOOK).await;
    }
    Ok(())
}

fn people(report: &FleetReport) -> String {
    let mut rows = report.kernels.clone();
    rows.sort_by_key(|row| row.verdict == PreflightVerdict::Passed);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let verdict = format!("{:?}", row.verdict);
            [row.kernel, row.architecture, row.nodes.to_string(), row.node, verdict, row.message]
        })
        .collect();
    let mut text = table(["KERNEL", "ARCHITECTURE", "NODES", "TRIED ON", "VERDICT", "MESSAGE"], &rows);
    for left in &report.left {
        text.push_str(&format!("left behind: {left}\n"));
    }
    text
}
