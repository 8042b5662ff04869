//! Scenario: all agents restart, a tenth at a time. Nothing is loaded or written, and nothing is duplicated.

use std::time::Instant;

use anyhow::Result;

use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<()> {
    let begun = Instant::now();
    let (asked, running) = (stage.fleet.totals().await?, stage.fleet.running().await?);
    let states = stage.cluster.count_states().await?;
    for turn in 0..10 {
        let now = move |number: usize| number % 10 == turn;
        stage.fleet.stop_agents(now).await?;
        stage.fleet.start_agents(now).await?;
    }
    // An agent that has synchronized reconciles every application once.
    let (fleet, applications) = (&stage.fleet, stage.cluster.count_applications().await?);
    fleet
        .until("the agents have looked at all applications", async || fleet.busy(applications as u64).await)
        .await?;
    let asked = stage.fleet.totals().await? - &asked;
    stage.report.check(asked.writes == 0, || format!("{} writes in a rolling restart", asked.writes));
    let now = stage.cluster.count_states().await?;
    stage.report.check(now == states, || format!("{states} state objects before a restart, {now} after"));
    let same = stage.fleet.running().await? == running;
    stage.report.check(same, || "a restart of agents loaded programs anew".to_owned());
    let figures = asked.figures(stage.nodes());
    stage.report.figures("rolling restart of all agents", begun.elapsed(), figures);
    Ok(())
}
