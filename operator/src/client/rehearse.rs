use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_application::orders::NodeOrders;
use bpfman_application::rollout::PreflightVerdict;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::applications::{FoundApplications, ShownState};
use super::arguments::RehearseOptions;
use super::connect::ClientSession;
use super::dry_run_objects::{DryRunSession, choose};
use super::error::ClientError;
use super::output::write;
use super::progress::AnswersLine;
use super::table::table;
use super::{Shown, ShownEnd};

const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    kernel: String,
    rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    application: String,
    node: String,
    nodes: usize,
    verdict: PreflightVerdict,
    message: String,
}

pub async fn rehearse(session: &ClientSession, options: &RehearseOptions) -> Result<Shown, ClientError> {
    let kernels = session.kernels().await?;
    if !kernels.values().any(|kernel| *kernel == options.kernel) {
        let mut here: Vec<&str> = kernels.values().map(String::as_str).collect();
        here.sort_unstable();
        here.dedup();
        return Err(ClientError::NoKernel(options.kernel.clone(), here.join(", ")));
    }
    let applications = session.applications(None).await?;
    let mut rehearsal = DryRunSession::new(session, options.trial.operator_namespace.as_deref()).await;
    let tried = tokio::select! {
        tried = try_all(session, options, &kernels, &applications, &mut rehearsal) => tried,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    };
    let left = rehearsal.end().await;
    let report = Report { kernel: options.kernel.clone(), rows: tried?, left };
    let well = report.rows.iter().all(|row| row.verdict == PreflightVerdict::Passed);
    Ok(Shown { text: write(options.trial.output, &report, people)?.into(), end: ShownEnd::of(well) })
}

struct Asked {
    application: usize,
    state: String,
    revision: String,
    row: usize,
}

async fn try_all(
    session: &ClientSession,
    options: &RehearseOptions,
    kernels: &BTreeMap<String, String>,
    applications: &[FoundApplications],
    rehearsal: &mut DryRunSession<'_>,
) -> Result<Vec<Row>, ClientError> {
    let (mut rows, mut asked) = (Vec::new(), Vec::new());
    for (number, application) in applications.iter().enumerate() {
        let mut states = session.states_of(application).await?;
        states.retain(|state| kernels.get(state.node()) == Some(&options.kernel) && is_wanted(state));
        if states.is_empty() {
            continue;
        }
        let revision = rehearsal.revision(application).await?;
        for (state, nodes) in choose(states, options.every_node) {
            let mut row = Row {
                application: application.full_name(),
                node: state.node().to_owned(),
                nodes,
                verdict: PreflightVerdict::Pending,
                message: format!("no answer within {} s: look at its agent", options.trial.timeout),
            };
            if NodeOrders::read(state.meta.annotations.as_ref()).preflight.is_some() {
                row.message = "it tries a revision of a rollout just now: try again later".to_owned();
            } else {
                rehearsal.ask(&state, &revision).await?;
                let (state, revision) = (state.name().to_owned(), revision.clone());
                asked.push(Asked { application: number, state, revision, row: rows.len() });
            }
            rows.push(row);
        }
    }
    wait(session, options, applications, asked, &mut rows).await?;
    Ok(rows)
}

fn is_wanted(state: &ShownState) -> bool {
    use bpfman_application::state::application::AppLoadStatus::NotSelected;
    state.status.as_ref().is_none_or(|status| status.app_load_status != NotSelected)
}

async fn wait(
    session: &ClientSession,
    options: &RehearseOptions,
    applications: &[FoundApplications],
    mut asked: Vec<Asked>,
    rows: &mut [Row],
) -> Result<(), ClientError> {
    let (all, mut progress) = (asked.len(), AnswersLine::new("trials", asked.len()));
    let end = Instant::now() + Duration::from_secs(options.trial.timeout);
    while !asked.is_empty() {
        progress.show(all - asked.len());
        let of_application = asked.first().map(|asked| asked.application);
        let Some(application) = of_application.and_then(|number| applications.get(number)) else { break };
        for state in session.states_of(application).await? {
            let answer = state.status.as_ref().and_then(|status| status.details.preflight.as_ref());
            let Some(answer) = answer else { continue };
            asked.retain(|asked| {
                let done = asked.state == state.name() && asked.revision == answer.revision;
                if let Some(row) = rows.get_mut(asked.row).filter(|_| done) {
                    row.verdict = answer.verdict;
                    row.message.clone_from(&answer.message);
                }
                !done
            });
        }
        if asked.first().map(|asked| asked.application) != of_application {
            continue;
        }
        if Instant::now() >= end {
            break;
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn people(report: &Report) -> String {
    if report.rows.is_empty() {
        return format!("No application is on a node with kernel {}.\n", report.kernel);
    }
    let mut rows = report.rows.clone();
    rows.sort_by_key(|row| row.verdict == PreflightVerdict::Passed);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let verdict = format!("{:?}", row.verdict);
            [row.application, row.nodes.to_string(), row.node, verdict, row.message]
        })
        .collect();
    let mut text = table(["APPLICATION", "NODES", "TRIED ON", "VERDICT", "MESSAGE"], &rows);
    for left in &report.left {
        text.push_str(&format!("left behind: {left}\n"));
    }
    text
}
