//! Scenario: applications on every node. Measures the time until all are healthy, and the cost for the API server.

use anyhow::Result;
use serde_json::json;

use crate::applications::{guard, watch};
use crate::stage::Stage;
use crate::version::Version;

pub async fn run(stage: &mut Stage, applications: usize) -> Result<()> {
    let nodes = stage.nodes();
    let all = [guard("guard", &stage.folder, Version(1)), watch("watch", &stage.folder, Version(1))];
    for application in all.iter().take(applications) {
        let (before, states) = (stage.fleet.totals().await?, stage.cluster.count_states().await?);
        let took = stage.apply(application, nodes).await?;
        let asked = stage.fleet.totals().await? - &before;
        let made = stage.cluster.count_states().await? - states;
        stage.report.check(made == nodes, || format!("{made} state objects were made on {nodes} nodes"));
        // A node creates its state object, reports a slow load, and writes the result; requests that an overloaded
        // server did not answer are repeated.
        let failed: u64 = asked.errors.values().sum();
        let most = 3 * nodes as u64 + failed;
        stage.report.check(asked.writes <= most, || {
            format!("{} writes on {nodes} nodes, of which at most {failed} failed", asked.writes)
        });
        let mut figures = asked.figures(nodes);
        figures["nodes_that_said_in_between_that_they_load"] =
            json!(asked.writes.saturating_sub(2 * nodes as u64 + failed));
        stage.report.figures(&format!("apply to all: {}", application["metadata"]["name"]), took, figures);
    }
    Ok(())
}
