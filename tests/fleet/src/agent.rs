//! Agent of a simulated node: the agent's real code, with one Kubernetes client per node.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bpfman_apply::daemon::Daemon;
use bpfman_operator::agent::metrics::AgentMetrics;
use bpfman_operator::agent::objects::cluster::Cluster;
use bpfman_operator::agent::{Agent, Shared, client_of_agent};
use bpfman_runtime::connect::{self, Pings};
use kube::Config;
use tokio::task::JoinHandle;

use crate::link::Connector;
use crate::totals::Totals;

pub const NAMESPACE: &str = "bpfman";

const WORKERS: usize = 4;

pub struct Running {
    agent: Agent,
    metrics: Arc<AgentMetrics>,
    work: JoinHandle<()>,
}

impl Running {
    pub fn start(
        node: &str,
        folder: &Path,
        daemon: Daemon,
        config: &Config,
        line: Connector,
        leftover_grace: Duration,
    ) -> Result<Self, anyhow::Error> {
        let metrics = Arc::new(AgentMetrics::default());
        let client = connect::client_over(config, line, Pings::AGENT)?;
        let client = client_of_agent(client, &metrics);
        let cluster = Cluster::new(client, node, Arc::clone(&metrics));
        let mut shared = Shared::new(node, NAMESPACE, true, cluster, daemon, Arc::clone(&metrics));
        shared.leftover_grace = leftover_grace;
        let agent = Agent::new(shared);
        // The daemon's binary creates the lock file for its agent; the simulated daemon does not.
        let (works, socket) = (agent.clone(), folder.join("socket"));
        std::fs::File::create(bpfman_proto::agent_lock(&socket))?;
        let work = tokio::spawn(async move { works.work(&socket, WORKERS).await });
        Ok(Self { agent, metrics, work })
    }

    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.agent.shared().not_ready()
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::of(&self.metrics)
    }

    #[must_use]
    pub fn looks(&self) -> (u64, bool) {
        (self.metrics.reconciles.get(), self.agent.shared().queue.idle())
    }

    pub async fn stop(self) -> Totals {
        self.work.abort();
        let _aborted = self.work.await;
        Totals::of(&self.metrics)
    }
}
