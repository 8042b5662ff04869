//! `bpfman version`.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::connect;
use crate::args::{Global, LONG_VERSION};
use crate::error::CliError;
use crate::show;
use crate::show::Answer;
use crate::show::block::Block;
use crate::show::screen::Screen;

/// Shows the client's version, and the daemon's if one answers: no daemon is no failure here.
pub async fn run(global: &Global) -> Result<(), CliError> {
    let daemon = match info(global).await {
        Ok(info) => Some(DaemonRecord::from(info)),
        Err(CliError::Unreachable { .. } | CliError::SocketDenied { .. }) => None,
        Err(error) => return Err(error),
    };
    show::answer(global, &VersionRecord { client: env!("CARGO_PKG_VERSION"), daemon })
}

async fn info(global: &Global) -> Result<ext::InfoResponse, CliError> {
    Ok(connect(global).await?.ext.info(ext::InfoRequest {}).await?.into_inner())
}

/// The answer to `version`.
#[derive(Clone, Serialize)]
struct VersionRecord {
    client: &'static str,
    daemon: Option<DaemonRecord>,
}

/// What the daemon says of itself.
#[derive(Clone, Serialize)]
struct DaemonRecord {
    version: String,
    kernel_release: String,
    runtime_dir: String,
    state_dir: String,
    features: BTreeMap<String, bool>,
    lacking: BTreeMap<String, String>,
}

impl From<ext::InfoResponse> for DaemonRecord {
    fn from(info: ext::InfoResponse) -> Self {
        Self {
            version: info.version,
            kernel_release: info.kernel_release,
            runtime_dir: info.runtime_dir,
            state_dir: info.state_dir,
            features: info.features.into_iter().collect(),
            lacking: info.reasons.into_iter().collect(),
        }
    }
}

impl Answer for VersionRecord {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, screen: Screen) -> String {
        let mut text = format!("bpfman {LONG_VERSION}\n");
        let Some(daemon) = &self.daemon else {
            return text + "bpfmand: not reachable\n";
        };
        text.push_str(&format!("bpfmand {}\n\n", daemon.version));
        let mut block = Block::new("Daemon");
        let (there, lacking): (Vec<_>, Vec<_>) = daemon.features.iter().partition(|(_, there)| **there);
        let lacking = lacking.into_iter().map(|(name, _)| match daemon.lacking.get(name) {
            Some(reason) => format!("{name} ({reason})"),
            None => name.clone(),
        });
        block
            .line("Kernel", &daemon.kernel_release)
            .line("Runtime Directory", &daemon.runtime_dir)
            .line("State Directory", &daemon.state_dir)
            .lines("Kernel Has", there.into_iter().map(|(name, _)| name.clone()))
            .lines("Kernel Lacks", lacking);
        text + &block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.client.to_owned()]
    }
}
