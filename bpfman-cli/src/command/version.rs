use std::collections::BTreeMap;

use bpfman_proto::ext::v1 as ext;
use serde::Serialize;

use super::connect;
use crate::args::{Global, LONG_VERSION};
use crate::error::CliError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::block::Block;
use crate::show::json::filled;
use crate::show::json_shape::json_shape;
use crate::show::screen::Screen;

/// Shows the client's version, and the daemon's if one answers; no daemon is no failure.
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

#[derive(Clone, Serialize)]
struct VersionJson {
    client: &'static str,
    daemon: Option<DaemonJson>,
}

json_shape! {
    pub struct DaemonJson(info: &ext::InfoResponse) {
        version: String = info.version.clone(),
        kernel_release: String = info.kernel_release.clone(),
        runtime_dir: String = info.runtime_dir.clone(),
        state_dir: String = info.state_dir.clone(),
        features: BTreeMap<String, bool> = info.features.clone().into_iter().collect(),
        lacking: BTreeMap<String, String> = info.reasons.clone().into_iter().collect(),
        cage: BTreeMap<String, String> =
            info.cage.iter().map(|part| (part.name.clone(), part.state.clone())).collect(),
        journal: Option<JournalJson> = info.journal.as_ref().map(JournalJson::new),
        refused_calls: Vec<RefusedCallsJson> = info.refused_calls.iter().map(RefusedCallsJson::new).collect(),
    }
}

json_shape! {
    pub struct JournalJson(journal: &ext::JournalStatus) {
        first: u64 = journal.first,
        last: u64 = journal.last,
        bytes: u64 = journal.bytes,
        most_bytes: u64 = journal.most_bytes,
        lost: u64 = journal.lost,
        suppressed: u64 = journal.suppressed,
        failure: Option<String> = filled(&journal.failure),
        cut: u64 = journal.cut,
    }
}

json_shape! {
    pub struct RefusedCallsJson(refused: &ext::RefusedCalls) {
        verb: String = refused.verb.clone(),
        reason: String = refused.reason.clone(),
        count: u64 = refused.count,
    }
}

impl JournalJson {
    fn in_words(&self) -> String {
        let Self { first, last, bytes, most_bytes, lost, .. } = self;
        let lost = if *lost > 0 { format!(", {lost} lost") } else { String::new() };
        format!("entries {first} to {last}, {} of {} KiB{lost}", bytes.div_ceil(1024), most_bytes / 1024)
    }
}

impl RefusedCallsJson {
    fn in_words(&self) -> String {
        format!("{} {}: {}", self.verb, self.reason, self.count)
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
        block
            .line("Kernel", &daemon.kernel_release)
            .line("Runtime Directory", &daemon.runtime_dir)
            .line("State Directory", &daemon.state_dir)
            .line("Kernel Features", "bpfman features")
            .lines("Cage", daemon.cage.iter().map(|(name, state)| format!("{name}: {state}")))
            .optional("Journal", daemon.journal.as_ref().map(JournalJson::in_words))
            .lines("Refused Calls", daemon.refused_calls.iter().map(RefusedCallsJson::in_words));
        text + &block.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.client.to_owned()]
    }
}
