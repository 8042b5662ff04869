//! `bpfman history`: changes and refusals.

use std::str::FromStr;
use std::time::SystemTime;

use bpfman_model::HookName;
use clap::Args;

/// `bpfman history`.
#[derive(Args, Debug)]
pub struct History {
    /// Only what is about a program or a link (its id), or a hook (xdp:eth0)
    #[arg(value_name = "ID|HOOK")]
    pub about: Option<HistoryAbout>,
    /// Only entries of these actors: a user id, root, a unit, a pod, a grant, an owner (user:1000), or a part of the
    /// daemon (start, checks, interfaces, policy, csi, break-glass, radar, journal)
    #[arg(long, value_name = "WHO")]
    pub by: Option<String>,
    /// Only entries since: a time ago (90s, 1h, 2d), or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Accesses instead of changes: who opened or read maps
    #[arg(long)]
    pub accesses: bool,
    /// Only the newest entries, this many, at most 100,000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
}

/// Subject of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryAbout {
    /// Program or link.
    Id(u32),
    /// Hook, by the daemon's name.
    Hook(String),
}

/// Time, in a form that the daemon parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since(pub String);

/// Error of an invalid subject or time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHistory {
    /// The text is neither an id nor a hook.
    #[error("{0:?} is neither the id of a program or link nor a hook: write 7, or xdp:eth0")]
    About(String),
    /// The text is no time.
    #[error("{0:?} is no time: write 90s, 1h, 2d, or 2026-01-31T12:00:00Z")]
    Since(String),
}

impl FromStr for HistoryAbout {
    type Err = BadHistory;

    fn from_str(text: &str) -> Result<Self, BadHistory> {
        match (text.parse::<u32>(), text.parse::<HookName>()) {
            (Ok(id), _) if id > 0 => Ok(Self::Id(id)),
            (_, Ok(hook)) => Ok(Self::Hook(hook.to_string())),
            _ => Err(BadHistory::About(text.to_owned())),
        }
    }
}

impl FromStr for Since {
    type Err = BadHistory;

    fn from_str(text: &str) -> Result<Self, BadHistory> {
        let bad = || BadHistory::Since(text.to_owned());
        let time = match humantime::parse_duration(text) {
            Ok(ago) => SystemTime::now().checked_sub(ago).ok_or_else(bad)?,
            Err(_) => humantime::parse_rfc3339_weak(text).map_err(|_| bad())?,
        };
        Ok(Self(humantime::format_rfc3339_micros(time).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_about_is_an_id_or_a_hook() {
        assert_eq!("7".parse(), Ok(HistoryAbout::Id(7)));
        assert_eq!("xdp:eth0".parse(), Ok(HistoryAbout::Hook("xdp:eth0".to_owned())));
        let inside = "tc:eth0:ingress@/run/netns/blue";
        assert_eq!(inside.parse(), Ok(HistoryAbout::Hook(inside.to_owned())));
        for wrong in ["0", "-1", "eth0", ""] {
            assert_eq!(wrong.parse::<HistoryAbout>(), Err(BadHistory::About(wrong.to_owned())));
        }
    }

    #[test]
    fn a_time_is_one_or_an_age() {
        assert_eq!("2026-01-31T12:00:00Z".parse(), Ok(Since("2026-01-31T12:00:00.000000Z".to_owned())));
        let ago = "1h".parse::<Since>().unwrap();
        assert!(ago.0 < humantime::format_rfc3339_micros(SystemTime::now()).to_string());
        assert_eq!("yesterday".parse::<Since>(), Err(BadHistory::Since("yesterday".to_owned())));
    }
}
