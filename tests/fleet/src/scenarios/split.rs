//! Scenario: a tenth of the agents is cut off: their programs stay, and reconnecting causes no storm.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::applications::guard;
use crate::link::Line;
use crate::node::in_tenth;
use crate::stage::Stage;
use crate::version::Version;

const MAX_REQUESTS: f64 = 60.0;

pub async fn run(stage: &mut Stage) -> Result<()> {
    let (nodes, tenth) = (stage.nodes(), stage.count(in_tenth));
    let application = guard("guard", &stage.folder, Version(2));
    let running = stage.fleet.running().await?;
    stage.fleet.line(Line::Refused, |number| in_tenth(number) && number % 2 == 0).await?;
    stage.fleet.line(Line::Silent, |number| in_tenth(number) && number % 2 != 0).await?;
    let before = stage.fleet.totals_of(in_tenth).await?;
    let generation = stage.cluster.apply(&application).await?;
    tokio::time::sleep(stage.split).await;
    let now = stage.fleet.running().await?;
    let kept = (0..nodes).filter(|number| in_tenth(*number)).all(|number| now[number] == running[number]);
    stage.report.check(kept, || "programs of nodes that are cut off did not stay as they were".to_owned());
    let cut = stage.fleet.totals_of(in_tenth).await? - &before;

    let (begun, before) = (Instant::now(), stage.fleet.totals_of(in_tenth).await?);
    stage.fleet.line(Line::Whole, |_| true).await?;
    stage.healthy(&application, generation, nodes).await?;
    let took = begun.elapsed();
    let back = stage.fleet.totals_of(in_tenth).await? - &before;
    let each = (cut.all() + back.all()) as f64 / tenth as f64;
    stage.report.check(each <= MAX_REQUESTS, || format!("{each} requests of each agent that was cut off"));
    // Each node may report a slow load before the result. Writes without a response are repeated.
    let most = 2 * tenth as u64 + cut.writes + back.unanswered();
    stage
        .report
        .check(back.writes <= most, || format!("{} writes of {tenth} nodes after a split", back.writes));
    let mut figures = back.figures(tenth);
    figures["while_cut"] = cut.figures(tenth);
    figures["nodes"] = json!(tenth);
    stage.report.figures("back after a split", took, figures);
    Ok(())
}
