//! A simulated node: a daemon, an agent, and the line between agent and API server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bpfman_operator::agent::shared::LEFTOVER_GRACE;
use kube::Config;

use crate::agent::Running;
use crate::daemon::SimDaemon;
use crate::link::{Connector, Link};
use crate::totals::Totals;

/// Releases of the simulated kernels, and their minor version: node number `i` has the one of group `i % 3`.
pub const KERNELS: [(&str, u32); 3] = [("6.1.0-fleet", 1), ("6.12.0-fleet", 12), ("6.18.0-fleet", 18)];

/// How long an agent of a node that got another name keeps programs whose state object is gone.
const SHORT_GRACE: Duration = Duration::from_secs(3);

/// Which of [`KERNELS`] a node has.
#[must_use]
pub const fn group(number: usize) -> usize {
    number % KERNELS.len()
}

/// Whether a node is in the tenth that scenarios pick: of all kernels the same share.
#[must_use]
pub const fn in_tenth(number: usize) -> bool {
    (number / KERNELS.len()).is_multiple_of(10)
}

/// A node.
pub struct Node {
    /// Its number, from 0.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its daemon.
    pub daemon: SimDaemon,
    /// The line to the API server.
    pub link: Link,
    folder: PathBuf,
    leftover_grace: Duration,
    agent: Option<Running>,
    /// Of agents that ended.
    past: Totals,
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name_of(number: usize) -> String {
        format!("node-{number:05}")
    }

    /// Its name after it got another one.
    #[must_use]
    pub fn other_name_of(number: usize) -> String {
        format!("renamed-{number:05}")
    }

    /// Has another name from now on. Its agent ends; the next one does not wait long for somebody to come back for
    /// programs whose state object is gone.
    pub async fn rename(&mut self) {
        self.stop_agent().await;
        self.name = Self::other_name_of(self.number);
        self.leftover_grace = SHORT_GRACE;
    }

    /// Starts the daemon.
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

    /// Starts its agent.
    pub fn start_agent(&mut self, config: &Config, server: SocketAddr) -> Result<(), anyhow::Error> {
        let daemon = self.daemon.connect();
        let line = Connector { address: server, link: self.link.clone() };
        self.agent =
            Some(Running::start(&self.name, &self.folder, daemon, config, line, self.leftover_grace)?);
        Ok(())
    }

    /// Ends its agent.
    pub async fn stop_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            self.past += &agent.stop().await;
        }
    }

    /// Why it is not ready, if it is not.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        self.agent.as_ref().map_or_else(|| Some("no agent runs".to_owned()), Running::not_ready)
    }

    /// How often its agent, since it was started, has looked at an application, and whether it is done.
    #[must_use]
    pub fn looks(&self) -> (u64, bool) {
        self.agent.as_ref().map_or((0, true), Running::looks)
    }

    /// What its agents asked and wrote.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.past.clone();
        if let Some(agent) = &self.agent {
            totals += &agent.totals();
        }
        totals
    }
}
