//! Scenario: a preflight stops one version, a wave stops the next, and a third completes after a controller's death.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use serde_json::{Value, json};

use crate::applications::{in_waves, watch};
use crate::cluster::Cluster;
use crate::node::{KERNELS, Node, group};
use crate::stage::Stage;
use crate::version::Version;

const NAME: &str = "waves";
const STABLE: Version = Version(4);
const STOPPED_BY_PREFLIGHT: Version = Version(5);
const STOPPED_BY_WAVE: Version = Version(3);
const GOOD: Version = Version(6);

pub async fn run(stage: &mut Stage) -> Result<()> {
    let seen = Ordered::follow(&stage.cluster);
    let before = stage.fleet.totals().await?;
    let took = stage.apply(&version(stage, STABLE, "Never"), stage.nodes()).await?;
    settled(stage).await?;
    let figures = (stage.fleet.totals().await? - &before).figures(stage.nodes());
    stage.report.figures("rollout, first version", took, figures);
    for version in [STOPPED_BY_PREFLIGHT, STOPPED_BY_WAVE] {
        stage.fleet.refuse(version, |number| group(number) == 2).await?;
    }
    stopped_by_preflight(stage).await?;
    returns(stage, &seen).await?;
    over_a_death(stage, &seen).await?;
    seen.follower.abort();
    Ok(())
}

fn version(stage: &Stage, version: Version, preflight: &str) -> Value {
    let rollout = json!({ "waves": ["10%", "50%"], "preflight": preflight });
    in_waves(watch(NAME, &stage.folder, version), &rollout)
}

async fn stopped_by_preflight(stage: &mut Stage) -> Result<()> {
    let (before, begun) = (stage.fleet.totals().await?, Instant::now());
    stage.cluster.apply(&version(stage, STOPPED_BY_PREFLIGHT, "Always")).await?;
    let status = failed(stage, "Failed", &Value::Null).await?;
    let tried = asked_for(stage, STOPPED_BY_PREFLIGHT).await?;
    stage.report.check(tried.len() <= KERNELS.len(), || format!("a preflight tried on nodes {tried:?}"));
    let ran = running(stage, STOPPED_BY_PREFLIGHT).await?;
    stage.report.check(ran.is_empty(), || format!("a version that a preflight stopped runs on {ran:?}"));
    let mut figures = (stage.fleet.totals().await? - &before).figures(stage.nodes());
    figures["nodes_that_tried"] = json!(tried.len());
    figures["rollout"] = status;
    stage.report.figures("rollout, stopped by its preflight", begun.elapsed(), figures);
    Ok(())
}

/// The version fails in a wave, which is rolled back automatically; no node outside the wave has had it.
async fn returns(stage: &mut Stage, seen: &Ordered) -> Result<()> {
    let (before, begun) = (stage.fleet.totals().await?, Instant::now());
    let first: BTreeSet<String> = seen.revisions();
    let failed_before = stage.cluster.status(NAME).await["rollout"]["failedRevision"].clone();
    stage.cluster.apply(&version(stage, STOPPED_BY_WAVE, "Never")).await?;
    let status = failed(stage, "Idle", &failed_before).await?;
    let cluster = stage.cluster.clone();
    let nodes = stage.nodes();
    stage
        .fleet
        .until("all nodes are healthy again", async || {
            let summary = cluster.status(NAME).await["summary"].clone();
            Ok((summary["healthy"] != nodes).then(|| summary.to_string()))
        })
        .await?;
    let left = running(stage, STOPPED_BY_WAVE).await?;
    stage.report.check(left.is_empty(), || format!("a version that failed still runs on {left:?}"));
    let wave: BTreeSet<String> = seen.of_others_than(&first);
    let had = asked_for(stage, STOPPED_BY_WAVE).await?.into_iter().map(Node::name_of);
    let had: BTreeSet<String> = had.collect();
    let outside: Vec<_> = had.difference(&wave).collect();
    stage.report.check(outside.is_empty(), || format!("nodes outside the wave had its version: {outside:?}"));
    stage.report.check(!had.is_empty(), || "no node had the version, so nothing was shown".to_owned());
    stage.report.check(wave.len() < nodes, || "the wave was everyone".to_owned());
    let mut figures = (stage.fleet.totals().await? - &before).figures(nodes);
    figures["nodes_in_the_wave"] = json!(wave.len());
    figures["nodes_that_had_it"] = json!(had.len());
    figures["rollout"] = status;
    stage.report.figures("rollout, returned by itself", begun.elapsed(), figures);
    Ok(())
}

async fn over_a_death(stage: &mut Stage, seen: &Ordered) -> Result<()> {
    let (before, begun, nodes) = (stage.fleet.totals().await?, Instant::now(), stage.nodes());
    let known = seen.revisions();
    let application = version(stage, GOOD, "Always");
    let generation = stage.cluster.apply(&application).await?;
    stage
        .fleet
        .until("the second wave begins", async || {
            let told = seen.of_others_than(&known).len();
            Ok((told <= nodes / 10 + 1).then(|| format!("{told} nodes were told")))
        })
        .await?;
    stage.controller = None;
    let told = seen.of_others_than(&known).len();
    // While no controller runs, nodes execute the orders that they already have.
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.start_controller()?;
    stage.healthy(&application, generation, nodes).await?;
    let status = settled(stage).await?;
    let loads = stage.fleet.loads(GOOD).await?;
    let loads = loads.into_iter().map(|loads| loads.accepted).enumerate();
    // A node accepts a version twice: in the dry run, and in the load.
    let twice: Vec<(usize, u64)> = loads.filter(|(_, accepted)| *accepted > 2).collect();
    stage.report.check(twice.is_empty(), || format!("loaded more than once: {twice:?}"));
    let mut figures = (stage.fleet.totals().await? - &before).figures(nodes);
    figures["nodes_told_when_the_controller_died"] = json!(told);
    figures["rollout"] = status;
    stage.report.figures("rollout over a controller's death", begun.elapsed(), figures);
    Ok(())
}

async fn failed(stage: &Stage, phase: &str, before: &Value) -> Result<Value> {
    let end = async || {
        let rollout = stage.cluster.status(NAME).await["rollout"].clone();
        let failed = &rollout["failedRevision"];
        let over = rollout["phase"] == phase && failed.is_string() && failed != before;
        Ok((!over).then(|| rollout.to_string()))
    };
    stage.fleet.until("the rollout has failed and is over", end).await?;
    Ok(stage.cluster.status(NAME).await["rollout"].clone())
}

async fn settled(stage: &Stage) -> Result<Value> {
    let end = async || {
        let rollout = stage.cluster.status(NAME).await["rollout"].clone();
        let over = rollout["phase"] == "Idle" && rollout["failedRevision"].is_null();
        Ok((!over).then(|| rollout.to_string()))
    };
    stage.fleet.until("the rollout has reached everyone", end).await?;
    Ok(stage.cluster.status(NAME).await["rollout"].clone())
}

/// Returns the nodes on which a version was ever loaded, including rejected loads.
async fn asked_for(stage: &Stage, version: Version) -> Result<Vec<usize>> {
    let loads = stage.fleet.loads(version).await?.into_iter().enumerate();
    Ok(loads.filter(|(_, loads)| loads.asked > 0).map(|(number, _)| number).collect())
}

async fn running(stage: &Stage, version: Version) -> Result<Vec<usize>> {
    let runs = stage.fleet.runs(version).await?.into_iter().enumerate();
    Ok(runs.filter(|(_, runs)| *runs).map(|(number, _)| number).collect())
}

/// Nodes by the revisions that they were ordered to run, collected from each change of a state object.
struct Ordered {
    told: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    follower: tokio::task::JoinHandle<()>,
}

impl Ordered {
    fn follow(cluster: &Cluster) -> Self {
        let told: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
        let (states, notes) = (cluster.states(), Arc::clone(&told));
        let follower = tokio::spawn(async move {
            let config = watcher::Config::default().labels(&format!("bpfman.io/ownedByProgram={NAME}"));
            let objects = watcher(states, config).default_backoff().applied_objects();
            let noted = objects.try_for_each(async |state| {
                let node = state.labels().get("kubernetes.io/hostname").cloned().unwrap_or_default();
                if let Some(revision) = state.annotations().get("bpfman.io/revision") {
                    let mut told = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    told.entry(revision.clone()).or_default().insert(node);
                }
                Ok(())
            });
            if let Err(error) = noted.await {
                println!("{}", json!({ "orders_are_not_followed_any_more": error.to_string() }));
            }
        });
        Self { told, follower }
    }

    fn revisions(&self) -> BTreeSet<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn of_others_than(&self, known: &BTreeSet<String>) -> BTreeSet<String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter()
            .filter(|(revision, _)| !known.contains(*revision))
            .flat_map(|(_, nodes)| nodes.clone())
            .collect()
    }
}
