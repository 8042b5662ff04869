//! Logs go to standard error, where systemd and containers expect them.

use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// Starts logging.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| anyhow::anyhow!("log filter \"{}\" is not understood: {error}", config.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.log_as_json {
        builder.json().init()
    } else {
        builder.with_ansi(false).init()
    }
    Ok(())
}
