//! Scenario: an application of a tenth of the nodes changes, and only these nodes write: that a load is slow,
//! and then the result.

use anyhow::Result;
use serde_json::json;

use crate::applications::{on_tenth, watch};
use crate::node::in_tenth;
use crate::stage::Stage;
use crate::version::Version;

pub async fn run(stage: &mut Stage) -> Result<()> {
    let tenth = stage.count(in_tenth);
    let application = |version| on_tenth(watch("tenth", &stage.folder, version));
    let (first, second) = (application(Version(1)), application(Version(2)));
    let nothing = stage.fleet.writes().await?;
    stage.apply(&first, tenth).await?;
    let before = (stage.fleet.totals().await?, stage.fleet.writes().await?);
    let others = |now: &[u64], then: &[u64]| -> u64 {
        (0..now.len()).filter(|number| !in_tenth(*number)).map(|number| now[number] - then[number]).sum()
    };
    let written = others(&before.1, &nothing);
    stage.report.check(written == 0, || format!("{written} writes of nodes that are not selected"));
    let took = stage.apply(&second, tenth).await?;
    let after = (stage.fleet.totals().await?, stage.fleet.writes().await?);
    let written = others(&after.1, &before.1);
    stage.report.check(written == 0, || format!("{written} writes of nodes that a change does not touch"));
    for number in (0..stage.nodes()).filter(|number| in_tenth(*number)) {
        let writes = after.1[number] - before.1[number];
        let once_or_twice = (1..=2).contains(&writes);
        stage.report.check(once_or_twice, || format!("node {number} wrote {writes} times about one change"));
    }
    let mut figures = (after.0 - &before.0).figures(tenth);
    figures["nodes"] = json!(tenth);
    stage.report.figures("change that a tenth has", took, figures);
    Ok(())
}
