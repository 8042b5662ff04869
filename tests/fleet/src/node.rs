//! Simulated node: a daemon, an agent, and the line between agent and API server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bpfman_operator::agent::shared::LEFTOVER_GRACE;
use kube::Config;

use crate::agent::Running;
use crate::daemon::SimDaemon;
use crate::link::{Connector, Link};
use crate::totals::Totals;

pub const KERNELS: [(&str, u32); 3] = [("6.1.0-fleet", 1), ("6.12.0-fleet", 12), ("6.18.0-fleet", 18)];

/// Time for which the agent of a renamed node keeps programs that have no state object any more.
const SHORT_GRACE: Duration = Duration::from_secs(3);

#[must_use]
pub const fn group(number: usize) -> usize {
    number % KERNELS.len()
}

#[must_use]
pub const fn in_tenth(number: usize) -> bool {
    (number / KERNELS.len()).is_multiple_of(10)
}

pub struct Node {
    pub number: usize,
    pub name: String,
    pub daemon: SimDaemon,
    pub link: Link,
    folder: PathBuf,
    leftover_grace: Duration,
    agent: Option<Running>,
    past: Totals,
}

impl Node {
    #[must_use]
    pub fn name_of(number: usize) -> String {
        format!("node-{number:05}")
    }

    #[must_use]
    pub fn other_name_of(number: usize) -> String {
        format!("renamed-{number:05}")
    }

    /// Renames the node: its next agent soon removes programs that have no state object under the new name.
    pub async fn rename(&mut self) {
        self.stop_agent().await;
        self.name = Self::other_name_of(self.number);
        self.leftover_grace = SHORT_GRACE;
    }

    pub fn start(number: usize, folder: PathBuf) -> Result<Self, anyhow::Error> {
        std::fs::create_dir_all(&folder)?;
        let (release, minor) = KERNELS[group(number)];
        Ok(Self {
            number,
            name: Self::name_of(number),
            daemon: SimDaemon::start(&folder, release, minor)?,
            link: Link::default(),
            folder,
            leftover_grace: LEFTOVER_GRACE,
            agent: None,
            past: Totals::default(),
        })
    }

    pub fn start_agent(&mut self, config: &Config, server: SocketAddr) -> Result<(), anyhow::Error> {
        let daemon = self.daemon.connect();
        let line = Connector { address: server, link: self.link.clone() };
        self.agent =
            Some(Running::start(&self.name, &self.folder, daemon, config, line, self.leftover_grace)?);
        Ok(())
    }

    pub async fn stop_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            self.past += &agent.stop().await;
        }
    }

    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.agent.as_ref().map_or_else(|| Some("no agent runs".to_owned()), Running::not_ready)
    }

    #[must_use]
    pub fn looks(&self) -> (u64, bool) {
        self.agent.as_ref().map_or((0, true), Running::looks)
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.past.clone();
        if let Some(agent) = &self.agent {
            totals += &agent.totals();
        }
        totals
    }
}
