//! All nodes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::Config;

use crate::node::Node;
use crate::totals::Totals;

/// Nodes that are started at the same time.
const AT_A_TIME: usize = 32;

/// All nodes, and where their agents find the API server.
pub struct Fleet {
    /// By number.
    pub nodes: Vec<Node>,
    config: Config,
    server: SocketAddr,
    patience: Duration,
}

impl Fleet {
    /// Starts the daemons of so many nodes.
    pub async fn start(
        count: usize,
        folder: &Path,
        config: Config,
        server: SocketAddr,
        patience: Duration,
    ) -> Result<Self> {
        let folders = (0..count).map(|number| (number, folder.join(Node::name_of(number))));
        let starts = folders.map(|(number, folder)| async move {
            // The daemon's tasks belong to this runtime.
            let runtime = tokio::runtime::Handle::current();
            let start = tokio::task::spawn_blocking(move || {
                let _within = runtime.enter();
                Node::start(number, folder)
            });
            start.await?.with_context(|| format!("the daemon of node {number}"))
        });
        let nodes = futures::stream::iter(starts).buffered(AT_A_TIME).try_collect().await?;
        Ok(Self { nodes, config, server, patience })
    }

    /// Starts the agents of nodes, and waits until they know everything.
    pub async fn start_agents(&mut self, which: impl Fn(usize) -> bool + Copy) -> Result<()> {
        for node in self.nodes.iter_mut().filter(|node| which(node.number)) {
            node.start_agent(&self.config, self.server)?;
        }
        self.until("agents are ready", async |fleet| {
            fleet.nodes.iter().filter(|node| which(node.number)).find_map(Node::not_ready)
        })
        .await
    }

    /// Ends the agents of nodes.
    pub async fn stop_agents(&mut self, which: impl Fn(usize) -> bool) {
        let stops = self.nodes.iter_mut().filter(|node| which(node.number)).map(Node::stop_agent);
        futures::future::join_all(stops).await;
    }

    /// Waits until nothing is missing: `missing` says what is.
    pub async fn until(&self, what: &str, missing: impl AsyncFn(&Self) -> Option<String>) -> Result<()> {
        let end = Instant::now() + self.patience;
        while let Some(missing) = missing(self).await {
            if Instant::now() > end {
                bail!("after {:?} still not true: {what}; {missing}", self.patience);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What all agents asked and wrote.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals_of(|_| true)
    }

    /// What the agents of some nodes asked and wrote.
    #[must_use]
    pub fn totals_of(&self, which: impl Fn(usize) -> bool) -> Totals {
        let mut all = Totals::default();
        self.nodes.iter().filter(|node| which(node.number)).for_each(|node| all += &node.totals());
        all
    }

    /// What each agent wrote, by number.
    #[must_use]
    pub fn writes(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.totals().writes).collect()
    }

    /// The programs that run on each node, by number.
    #[must_use]
    pub fn running(&self) -> Vec<Vec<u32>> {
        self.nodes.iter().map(|node| node.daemon.running()).collect()
    }
}
