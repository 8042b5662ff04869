//! `bpfman radar`: eBPF activity of third parties.

use std::path::PathBuf;

use bpfman_client::EventQuery;
use bpfman_proto::ext::v1 as ext;
use clap::{Args, Subcommand};

use super::entry_filters::Since;

/// `bpfman radar`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Radar {
    /// Switches the radar on or off.
    #[command(subcommand)]
    pub switch: Option<RadarSwitch>,
    /// Objects to show.
    #[command(flatten)]
    pub show: ShowRadar,
}

/// Objects to show.
#[derive(Args, Debug)]
pub struct ShowRadar {
    /// Show third-party activity as it happens, also after a restart of the daemon, until Ctrl-C. Without this flag,
    /// show what third parties have loaded now
    #[arg(short, long, visible_short_alias = 'w', visible_alias = "watch")]
    pub follow: bool,
    /// Also show requests to the daemon and its own actions
    #[arg(long, requires = "follow")]
    pub ours: bool,
    /// Begin after the journal entry with this number; 0: with the oldest entry that is kept
    #[arg(long, value_name = "NUMBER", requires = "follow")]
    pub after: Option<u64>,
    /// Begin at a time: ago (90s, 1h, 2d), or a date (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", requires = "follow")]
    pub since: Option<Since>,
}

/// Commands that switch the radar on or off.
#[derive(Debug, Subcommand)]
pub enum RadarSwitch {
    /// Load the radar's programs. They stay loaded, also over restarts of the daemon, until `bpfman radar stop`.
    Start(StartRadar),
    /// Unload the radar's programs.
    Stop,
}

/// `bpfman radar start`.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct StartRadar {
    /// Image with the radar's programs, signed as the policy requires
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Object file with the radar's programs, on the daemon's machine
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl ShowRadar {
    /// Returns the daemon's query for `--follow`.
    #[must_use]
    pub fn query(&self) -> EventQuery {
        EventQuery::of(ext::FollowEventsRequest {
            after: self.after,
            since: self.since.as_ref().map(|since| since.0.clone()).unwrap_or_default(),
            by: if self.ours { String::new() } else { "radar".to_owned() },
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn radar(line: &str) -> Radar {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Radar(radar) => radar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn follow_requests_third_party_or_all_events() {
        let request = ext::FollowEventsRequest { by: "radar".to_owned(), ..Default::default() };
        assert_eq!(radar("bpfman radar --follow").show.query(), EventQuery::of(request));
        let all = ext::FollowEventsRequest { after: Some(7), ..Default::default() };
        assert_eq!(radar("bpfman radar -w --ours --after 7").show.query(), EventQuery::of(all));
        let started = radar("bpfman radar start --file /x.o").switch;
        assert!(matches!(started, Some(RadarSwitch::Start(StartRadar { file: Some(_), image: None }))));
        for wrong in ["--ours", "start", "start --file /x --image y", "stop -f", "--after 7"] {
            let line = format!("bpfman radar {wrong}");
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
