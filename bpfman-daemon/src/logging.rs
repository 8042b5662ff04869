//! Logs go to standard error, where systemd and containers expect them.

use bpfman_proto::printable::OneLineEach;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// The target of the lines that say who changed what.
const AUDIT: &str = "audit";

/// Starts logging.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| anyhow::anyhow!("log filter \"{}\" is not understood: {error}", config.log))?;
    // Who changed what is told unless the filter says otherwise of just that.
    let filter = match config.log.contains(AUDIT) {
        true => filter,
        false => filter.add_directive(format!("{AUDIT}=info").parse()?),
    };
    // Names that others chose are in events, and are not to end a line or to reach a terminal as they are.
    let writer = || OneLineEach(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if config.log_as_json {
        builder.json().init()
    } else {
        builder.with_ansi(false).init()
    }
    Ok(())
}
