//! Logs go to standard error, where systemd and containers expect them.

use bpfman_proto::printable::OneLineEach;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Config;

/// The target of the lines that say who changed what.
const AUDIT: &str = "audit";

/// Starts logging.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter: Targets = config
        .log
        .parse()
        .map_err(|error| anyhow::anyhow!("log filter \"{}\" is not understood: {error}", config.log))?;
    // Who changed what is told unless the filter says otherwise of just that.
    let filter = match config.log.contains(AUDIT) {
        true => filter,
        false => filter.with_target(AUDIT, LevelFilter::INFO),
    };
    // Names that others chose are in events, and are not to end a line or to reach a terminal as they are.
    let writer = || OneLineEach(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let filtered = tracing_subscriber::registry().with(filter);
    if config.log_as_json {
        filtered.with(lines.json()).init()
    } else {
        filtered.with(lines.with_ansi(false)).init()
    }
    Ok(())
}
