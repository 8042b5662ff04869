//! What scenarios act on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::controller::Controller;
use crate::fleet::Fleet;
use crate::report::Report;

/// Everything.
pub struct Stage {
    /// The control plane.
    pub plane: bpfman_cluster_tests::Cluster,
    /// The API server.
    pub cluster: Cluster,
    /// The nodes.
    pub fleet: Fleet,
    /// The controller; absent while it is away.
    pub controller: Option<Controller>,
    /// Object files, logs.
    pub folder: PathBuf,
    /// What came out.
    pub report: Report,
    /// How long a steady fleet is watched.
    pub steady: Duration,
    /// How long a line stays cut.
    pub split: Duration,
}

impl Stage {
    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.fleet.count()
    }

    /// How many nodes are some.
    #[must_use]
    pub fn count(&self, which: impl Fn(usize) -> bool) -> usize {
        (0..self.nodes()).filter(|number| which(*number)).count()
    }

    /// Applies an application, and waits until it is healthy on so many nodes. Answers how long that took.
    pub async fn apply(&self, application: &Value, nodes: usize) -> Result<Duration> {
        let begun = Instant::now();
        let generation = self.cluster.apply(application).await?;
        self.healthy(application, generation, nodes).await?;
        Ok(begun.elapsed())
    }

    /// Waits until an application is healthy on so many nodes.
    pub async fn healthy(&self, application: &Value, generation: i64, nodes: usize) -> Result<()> {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("{name} is healthy on {nodes} nodes");
        self.fleet.until(&what, async || Ok(self.cluster.unhealthy(name, generation, nodes).await)).await
    }

    /// Starts the controller, again if it was killed.
    pub fn start_controller(&mut self) -> Result<()> {
        let controller = Controller::start(&self.plane.kubeconfig(), &self.folder)?;
        self.report.follow("controller", controller.process());
        self.controller = Some(controller);
        Ok(())
    }
}
