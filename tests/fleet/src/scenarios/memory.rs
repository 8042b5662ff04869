//! What the control plane, the controller and this program need.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::stage::Stage;

/// Looks.
pub async fn run(stage: &mut Stage, since: Duration) -> Result<()> {
    let states = stage.cluster.count_states().await?;
    let own = std::fs::read_to_string("/proc/self/status")?;
    let line = |name: &str| {
        own.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let figures = json!({
        "state_objects": states,
        "controller": stage.controller.as_ref().map(crate::controller::Controller::figures),
        "kube_apiserver_kib": stage.plane.memory("kube-apiserver"),
        "etcd_kib": stage.plane.memory("etcd"),
        "all_nodes": { "resident": line("VmRSS:"), "threads": line("Threads:") },
    });
    stage.report.figures("memory", since, figures);
    Ok(())
}
