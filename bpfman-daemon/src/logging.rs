//! Logging to standard error, where systemd and containers expect it.

use anyhow::{Context as _, bail};
use bpfman_proto::printable::LineEscaper;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Config;

const AUDIT: &str = "audit";

pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = targets(&config.log).with_context(|| format!("log filter \"{}\"", config.log))?;
    let filter = match config.log.contains(AUDIT) {
        true => filter,
        false => filter.with_target(AUDIT, LevelFilter::INFO),
    };
    // Events contain names that users chose: escape line breaks and terminal sequences.
    let writer = || LineEscaper(std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let filtered = tracing_subscriber::registry().with(filter);
    if config.log_as_json {
        filtered.with(lines.json()).init()
    } else {
        filtered.with(lines.with_ansi(false)).init()
    }
    Ok(())
}

fn targets(filter: &str) -> anyhow::Result<Targets> {
    let directives: Vec<&str> =
        filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let is_written = |c: char| c.is_ascii_alphanumeric() || "_:.-=".contains(c);
    // Reject filters by spans or fields: they would be taken for target names that match nothing.
    if let Some(other) = directives.iter().find(|directive| !directive.chars().all(is_written)) {
        bail!(
            "\"{other}\" is not a level, a target or TARGET=LEVEL; an example is \"info,bpfmand_engine=debug\""
        );
    }
    match &directives[..] {
        [] => Ok(Targets::new().with_default(LevelFilter::INFO)),
        directives => Ok(directives.join(",").parse()?),
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::filter::LevelFilter;

    use super::*;

    #[test]
    fn filters_are_levels_and_targets() {
        for (filter, default, engine) in [
            ("warn", LevelFilter::WARN, LevelFilter::WARN),
            (" info, bpfmand_engine=debug ,", LevelFilter::INFO, LevelFilter::DEBUG),
            ("bpfmand_engine=trace", LevelFilter::OFF, LevelFilter::TRACE),
            (",", LevelFilter::INFO, LevelFilter::INFO),
        ] {
            let targets = targets(filter).unwrap();
            let most = |target| {
                let levels = [
                    tracing::Level::TRACE,
                    tracing::Level::DEBUG,
                    tracing::Level::INFO,
                    tracing::Level::WARN,
                ];
                let enabled = levels.into_iter().find(|level| targets.would_enable(target, level));
                enabled.map_or(LevelFilter::OFF, LevelFilter::from_level)
            };
            assert_eq!((most("other"), most("bpfmand_engine::load")), (default, engine), "{filter}");
        }
        for filter in ["info,[span{field=x}]=debug", "a=b=c", "{info}", "bpfmand_engine=loud"] {
            assert!(targets(filter).is_err(), "{filter}");
        }
        let error = targets("info,{x}").unwrap_err().to_string();
        assert!(error.starts_with("\"{x}\" is not a level"), "{error}");
    }
}
