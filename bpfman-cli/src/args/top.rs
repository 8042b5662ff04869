//! `bpfman top`: live resource usage of programs, chains, maps and owners.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// `bpfman top`.
#[derive(Args, Debug)]
pub struct ShowTop {
    /// Print one measurement and end: two readings, one interval apart
    #[arg(long)]
    pub once: bool,
    /// Time between readings: 100ms to 60s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// View to begin with; also the view of tables. JSON and YAML contain all views
    #[arg(long, value_name = "VIEW", value_enum, default_value_t)]
    pub view: TopView,
    /// Also show programs that other tools loaded
    #[arg(long)]
    pub others: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TopView {
    /// Programs by CPU time.
    #[default]
    Programs,
    /// Chains, with the times and verdicts of their members.
    Chains,
    /// Maps by memory.
    Maps,
    /// Owners by CPU time of their programs.
    Owners,
}

/// Parses the daemon's interval between readings.
pub fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    match humantime::parse_duration(text) {
        Ok(interval) if range.contains(&interval) => Ok(interval),
        Ok(_) => Err("it has to be within 100ms and 60s".to_owned()),
        Err(_) => Err("write a number and ms or s: 500ms, 2s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn parse(line: &str) -> Result<ShowTop, String> {
        match Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command) {
            Ok(CliCommand::Top(top)) => Ok(top),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn top_reads_once_a_second_by_default() {
        let top = parse("bpfman top").unwrap();
        assert_eq!((top.once, top.interval, top.view), (false, Duration::from_secs(1), TopView::Programs));
        let top = parse("bpfman top --once --interval 250ms --view maps --others").unwrap();
        assert_eq!((top.once, top.interval, top.view), (true, Duration::from_millis(250), TopView::Maps));
        assert!(top.others);
    }

    #[test]
    fn intervals_that_the_daemon_refuses_are_refused_at_once() {
        for (wrong, why) in [("99ms", "100ms and 60s"), ("61s", "100ms and 60s"), ("fast", "500ms, 2s")] {
            assert!(parse(&format!("bpfman top --interval {wrong}")).unwrap_err().contains(why), "{wrong}");
        }
        assert!(parse("bpfman top --view nothing").is_err());
    }
}
