//! Environment of the scenarios.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::controller::Controller;
use crate::fleet::Fleet;
use crate::report::Report;

pub struct Stage {
    pub plane: bpfman_cluster_tests::Cluster,
    pub cluster: Cluster,
    pub fleet: Fleet,
    /// Running controller; `None` while it is killed.
    pub controller: Option<Controller>,
    pub folder: PathBuf,
    pub report: Report,
    pub steady: Duration,
    pub split: Duration,
}

impl Stage {
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.fleet.count()
    }

    #[must_use]
    pub fn count(&self, which: impl Fn(usize) -> bool) -> usize {
        (0..self.nodes()).filter(|number| which(*number)).count()
    }

    pub async fn apply(&self, application: &Value, nodes: usize) -> Result<Duration> {
        let begun = Instant::now();
        let generation = self.cluster.apply(application).await?;
        self.healthy(application, generation, nodes).await?;
        Ok(begun.elapsed())
    }

    pub async fn healthy(&self, application: &Value, generation: i64, nodes: usize) -> Result<()> {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("{name} is healthy on {nodes} nodes");
        self.fleet.until(&what, async || Ok(self.cluster.unhealthy(name, generation, nodes).await)).await
    }

    pub fn start_controller(&mut self) -> Result<()> {
        let controller = Controller::start(&self.plane.kubeconfig(), &self.folder)?;
        self.report.follow("controller", controller.process());
        self.controller = Some(controller);
        Ok(())
    }
}
