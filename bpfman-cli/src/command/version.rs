//! `bpfman version`.

use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::connect;
use crate::args::{Global, LONG_VERSION};
use crate::error::CliError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::block::Block;
use crate::show::json_shape::json_shape;
use crate::show::screen::Screen;

/// Shows the client's version, and the daemon's if one answers: no daemon is no failure here.
pub async fn run(global: &Global) -> Result<(), CliError> {
    let daemon = match info(global).await {
        Ok(info) => Some(DaemonJson::new(&info)),
        Err(CliError::Unreachable { .. } | CliError::SocketDenied { .. }) => None,
        Err(error) => return Err(error),
    };
    show::answer(global, &VersionJson { client: env!("CARGO_PKG_VERSION"), daemon })
}

async fn info(global: &Global) -> Result<ext::InfoResponse, CliError> {
    Ok(connect(global).await?.ext.info(ext::InfoRequest {}).await?.into_inner())
}

/// The answer to `version`.
#[derive(Clone, Serialize)]
struct VersionJson {
    client: &'static str,
    daemon: Option<DaemonJson>,
}

json_shape! {
    /// What the daemon says of itself.
    pub struct DaemonJson(info: &ext::InfoResponse) {
        version: String = info.version.clone(),
        kernel_release: String = info.kernel_release.clone(),
        runtime_dir: String = info.runtime_dir.clone(),
        state_dir: String = info.state_dir.clone(),
        features: BTreeMap<String, bool> = info.features.clone().into_iter().collect(),
        lacking: BTreeMap<String, String> = info.reasons.clone().into_iter().collect(),
        cage: BTreeMap<String, String> =
            info.cage.iter().map(|part| (part.name.clone(), part.state.clone())).collect(),
    }
}

impl CommandOutput for VersionJson {
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
            .lines("Kernel Lacks", lacking)
            .lines("Cage", daemon.cage.iter().map(|(name, state)| format!("{name}: {state}")));
        text + &block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.client.to_owned()]
    }
}
