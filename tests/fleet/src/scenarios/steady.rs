//! Scenario: nothing changes, so nothing is written, and there are few requests.

use anyhow::Result;
use serde_json::json;

use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<()> {
    let (nodes, window) = (stage.nodes(), stage.steady);
    let (before, mark) = (stage.fleet.totals().await?, stage.plane.mark());
    tokio::time::sleep(window).await;
    let asked = stage.fleet.totals().await? - &before;
    stage
        .report
        .check(asked.writes == 0, || format!("{} writes of agents though nothing changed", asked.writes));
    let all = stage.plane.requests_since(mark);
    let ours = |user_agent: &str| user_agent.starts_with("kube");
    // The API server uses a user agent of kube-apiserver for itself; all other clients are agents and the controller.
    let written = all.iter().filter(|request| request.writes() && !ours(&request.agent)).count();
    stage.report.check(written == 0, || format!("{written} writes though nothing changed"));
    let minutes = window.as_secs_f64() / 60.0;
    let besides = asked.besides_watches() as f64 / nodes as f64 / minutes;
    stage.report.check(besides <= 1.0, || format!("{besides} requests per node and minute besides watches"));
    let mut figures = asked.figures(nodes);
    figures["requests_per_second"] = json!(asked.all() as f64 / window.as_secs_f64());
    figures["requests_per_node_and_minute_besides_watches"] = json!(besides);
    stage.report.figures("steady", window, figures);
    Ok(())
}
