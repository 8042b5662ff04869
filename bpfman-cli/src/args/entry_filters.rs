//! Filters of `bpfman history` and `bpfman events`.

use std::str::FromStr;
use std::time::SystemTime;

use bpfman_model::HookName;
use clap::{Args, ValueEnum};

use crate::user_names::UserNames;

/// Entries that both commands select alike.
#[derive(Args, Debug)]
pub struct EntryFilters {
    /// Only entries about a program or a link (its id), or a hook (xdp:eth0)
    #[arg(value_name = "ID|HOOK")]
    pub about: Option<EntrySubject>,
    /// Only entries since a time: ago (90s, 1h, 2d), or a date (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME")]
    pub since: Option<Since>,
    /// Only entries of these actors: a user by name or id, a unit, a pod, a grant, an owner (user:1000), or a part of the
    /// daemon (start, checks, interfaces, policy, csi, break-glass, radar, journal)
    #[arg(long, value_name = "WHO")]
    pub by: Option<String>,
    /// Only these calls: load, attach, 'put back' or PutBack; several with commas, or by repeating the flag
    #[arg(long, value_name = "CALL", value_delimiter = ',')]
    pub verb: Vec<String>,
    /// Only entries with these results; several with commas, or by repeating the flag
    #[arg(long, value_name = "RESULT", value_delimiter = ',', value_enum)]
    pub result: Vec<WantedResult>,
    /// Only this number of the newest entries, at most 100,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: Option<u32>,
}

/// Result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WantedResult {
    /// It was done.
    Done,
    /// The caller has no permission.
    Denied,
    /// The request is invalid, or not possible now.
    Refused,
    /// Kernel, registry or daemon failed.
    Failed,
}

impl WantedResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Filters as the daemon has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WireFilters {
    /// Program or link; 0 for all.
    pub id: u32,
    /// Hook; empty for all.
    pub hook: String,
    /// Time of the first entry; empty for all.
    pub since: String,
    /// Actor; empty for all.
    pub by: String,
    /// Names of calls.
    pub verbs: Vec<String>,
    /// Names of results.
    pub results: Vec<String>,
}

impl EntryFilters {
    /// Returns the filters as the daemon has them.
    #[must_use]
    pub fn on_the_wire(&self) -> WireFilters {
        let (id, hook) = match &self.about {
            None => (0, String::new()),
            Some(EntrySubject::Id(id)) => (*id, String::new()),
            Some(EntrySubject::Hook(hook)) => (0, hook.clone()),
        };
        let by = self.by.clone().unwrap_or_default();
        WireFilters {
            id,
            hook,
            since: self.since.as_ref().map(|since| since.0.clone()).unwrap_or_default(),
            by: user_id(&by).unwrap_or(by),
            // Accept the words of tables (`put back`) as well as the name in JSON (`PutBack`).
            verbs: self.verb.iter().map(|verb| verb.replace([' ', '-', '_'], "")).collect(),
            results: self.result.iter().map(|result| result.name().to_owned()).collect(),
        }
    }
}

/// Returns the number of a user by name; none for `root`, which is also the name of an owner.
fn user_id(name: &str) -> Option<String> {
    UserNames::of_this_machine().id(name).filter(|uid| *uid != 0).map(|uid| uid.to_string())
}

/// Subject of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntrySubject {
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
pub enum BadFilter {
    /// The text is neither an id nor a hook.
    #[error("{0:?} is neither the id of a program or link nor a hook: write 7, or xdp:eth0")]
    About(String),
    /// The text is no time.
    #[error("{0:?} is no time: write 90s, 1h, 2d, or 2026-01-31T12:00:00Z")]
    Since(String),
}

impl FromStr for EntrySubject {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        match (text.parse::<u32>(), text.parse::<HookName>()) {
            (Ok(id), _) if id > 0 => Ok(Self::Id(id)),
            (_, Ok(hook)) => Ok(Self::Hook(hook.to_string())),
            _ => Err(BadFilter::About(text.to_owned())),
        }
    }
}

impl FromStr for Since {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Self, BadFilter> {
        let bad = || BadFilter::Since(text.to_owned());
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
    fn entry_subject_is_id_or_hook() {
        assert_eq!("7".parse(), Ok(EntrySubject::Id(7)));
        assert_eq!("xdp:eth0".parse(), Ok(EntrySubject::Hook("xdp:eth0".to_owned())));
        let inside = "tc:eth0:ingress@/run/netns/blue";
        assert_eq!(inside.parse(), Ok(EntrySubject::Hook(inside.to_owned())));
        for wrong in ["0", "-1", "eth0", ""] {
            assert_eq!(wrong.parse::<EntrySubject>(), Err(BadFilter::About(wrong.to_owned())));
        }
    }

    #[test]
    fn a_time_is_one_or_an_age() {
        assert_eq!("2026-01-31T12:00:00Z".parse(), Ok(Since("2026-01-31T12:00:00.000000Z".to_owned())));
        let ago = "1h".parse::<Since>().unwrap();
        assert!(ago.0 < humantime::format_rfc3339_micros(SystemTime::now()).to_string());
        assert_eq!("yesterday".parse::<Since>(), Err(BadFilter::Since("yesterday".to_owned())));
    }
}
