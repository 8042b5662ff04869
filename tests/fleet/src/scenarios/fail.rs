//! Scenario: the verifier of a tenth of the nodes rejects a program, and the summary lists the causes.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::applications::watch;
use crate::node::{KERNELS, in_tenth};
use crate::stage::Stage;
use crate::version::Version;

const REFUSED: Version = Version(7);

pub async fn run(stage: &mut Stage) -> Result<()> {
    let (nodes, tenth) = (stage.nodes(), stage.count(in_tenth));
    stage.fleet.refuse(REFUSED, in_tenth).await?;
    let (before, begun) = (stage.fleet.totals().await?, Instant::now());
    stage.cluster.apply(&watch("refused", &stage.folder, REFUSED)).await?;
    let cluster = stage.cluster.clone();
    stage
        .fleet
        .until("the summary names all that fail", async || {
            let summary = cluster.status("refused").await["summary"].clone();
            let all = summary["failed"] == tenth && summary["healthy"] == nodes - tenth;
            Ok((!all).then(|| summary.to_string()))
        })
        .await?;
    let (took, asked) = (begun.elapsed(), stage.fleet.totals().await? - &before);
    let causes = stage.cluster.status("refused").await["summary"]["causes"].clone();
    let listed = causes.as_array().cloned().unwrap_or_default();
    let told: u64 = listed.iter().filter_map(|cause| cause["nodes"].as_u64()).sum();
    stage
        .report
        .check(told == tenth as u64, || format!("causes of {told} nodes are told of {tenth}: {causes}"));
    stage.report.check(listed.len() == KERNELS.len().min(tenth), || format!("one cause a kernel: {causes}"));
    let line = |cause: &serde_json::Value| {
        cause["message"].as_str().is_some_and(|text| text.contains("R2 !read_ok"))
    };
    stage.report.check(listed.iter().all(line), || format!("the verifier's first line is missing: {causes}"));
    let mut figures = asked.figures(nodes);
    figures["causes"] = causes;
    figures["failing"] = json!(tenth);
    stage.report.figures("a tenth refused by the verifier", took, figures);
    // Failed nodes retry, but write nothing while the failure stays the same.
    let before = stage.fleet.totals().await?;
    tokio::time::sleep(stage.steady).await;
    let asked = stage.fleet.totals().await? - &before;
    stage.report.check(asked.writes == 0, || format!("{} writes about what fails as before", asked.writes));
    stage.report.figures("a tenth goes on failing", stage.steady, asked.figures(nodes));
    deleted(stage).await
}

async fn deleted(stage: &mut Stage) -> Result<()> {
    let (before, begun) = (stage.fleet.totals().await?, Instant::now());
    stage.cluster.delete("refused").await?;
    let fleet = &stage.fleet;
    fleet.until("no node has it any more", async || fleet.first_with(REFUSED).await).await?;
    let unloaded = begun.elapsed();
    let cluster = &stage.cluster;
    fleet.until("its state objects are gone", async || cluster.collect("refused").await).await?;
    let mut figures = (fleet.totals().await? - &before).figures(stage.nodes());
    figures["seconds_until_unloaded"] = json!(unloaded.as_secs_f64());
    stage.report.figures("application deleted", begun.elapsed(), figures);
    Ok(())
}
