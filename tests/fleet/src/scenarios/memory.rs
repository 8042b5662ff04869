//! Memory of the control plane, the controller and the processes of the nodes.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::order::Needs;
use crate::stage::Stage;

pub async fn run(stage: &mut Stage, since: Duration) -> Result<()> {
    let states = stage.cluster.count_states().await?;
    let needs = stage.fleet.needs().await?;
    let sum = |of: fn(&Needs) -> u64| needs.iter().map(of).sum::<u64>();
    let figures = json!({
        "state_objects": states,
        "controller": stage.controller.as_ref().map(crate::controller::Controller::figures),
        "kube_apiserver_kib": stage.plane.memory("kube-apiserver"),
        "etcd_kib": stage.plane.memory("etcd"),
        "all_nodes": {
            "processes": needs.len(), "resident_kib": sum(|one| one.resident_kib),
            "threads": sum(|one| one.threads), "open_files": sum(|one| one.open_files),
        },
    });
    stage.report.figures("memory", since, figures);
    Ok(())
}
