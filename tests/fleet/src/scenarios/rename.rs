//! Scenario: a node is renamed. Its object is deleted, and the same machine returns under another name.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::node::Node;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage) -> Result<()> {
    let begun = Instant::now();
    let number = stage.nodes() - 1;
    let (old, new) = (Node::name_of(number), Node::other_name_of(number));
    let (fleet, cluster) = (&stage.fleet, &stage.cluster);
    let before = (fleet.loaded(number).await?, cluster.states_of(&old).await?);
    cluster.delete_node(&old).await?;
    fleet
        .until("what it answered is gone", async || {
            let left = cluster.states_of(&old).await?;
            Ok((left > 0).then(|| format!("{left} state objects of {old}")))
        })
        .await?;
    let gone = begun.elapsed();
    let stayed = fleet.loaded(number).await?;
    let (which, total) = (|one: usize| one == number, fleet.totals().await?);
    fleet.rename(which).await?;
    cluster.make_node(number, &new).await?;
    fleet.start_agents(which).await?;
    fleet
        .until("it has what it had, and once", async || {
            let now = (fleet.loaded(number).await?, cluster.states_of(&new).await?);
            let kept = now.0.iter().any(|program| before.0.contains(program));
            let same = now.0.len() == before.0.len() && now.1 == before.1;
            Ok((kept || !same).then(|| format!("before {before:?}, now {now:?}")))
        })
        .await?;
    let asked = fleet.totals().await? - &total;
    stage.report.check(stayed == before.0, || format!("without its object, {before:?} became {stayed:?}"));
    stage.report.check(!before.0.is_empty(), || "nothing was loaded, so nothing was shown".to_owned());
    let mut figures = asked.figures(1);
    figures["seconds_until_the_old_state_objects_were_gone"] = json!(gone.as_secs_f64());
    stage.report.figures("a node gets another name", begun.elapsed(), figures);
    Ok(())
}
