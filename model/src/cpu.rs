//! Limits of the CPU time of programs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Share of the time of one CPU, in millionths: 1,000,000 is one CPU all the time; several CPUs can add up to more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuShare(pub u64);

/// Invalid share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no share of a CPU: expected a percentage of one CPU above 0, such as \"5%\" or \"0.5%\"")]
pub struct BadCpuShare(pub String);

impl CpuShare {
    const PERCENT: u64 = 10_000;

    /// Returns CPU time that was used within a window as a share of one CPU.
    #[must_use]
    pub fn of(nanoseconds: u64, window: Duration) -> Self {
        let share = u128::from(nanoseconds) * 1_000_000 / window.as_nanos().max(1);
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// Percentage, with as many decimals as it needs.
impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::PERCENT, self.0 % Self::PERCENT);
        let decimals = format!("{part:04}");
        let decimals = decimals.trim_end_matches('0');
        if decimals.is_empty() { write!(f, "{whole}%") } else { write!(f, "{whole}.{decimals}%") }
    }
}

impl FromStr for CpuShare {
    type Err = BadCpuShare;

    fn from_str(text: &str) -> Result<Self, BadCpuShare> {
        let bad = || BadCpuShare(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || whole.len() > 6 || decimals.len() > 4 {
            return Err(bad());
        }
        let digits = |digits: &str| digits.parse::<u64>().map_err(|_| bad());
        let share = digits(whole)? * Self::PERCENT + digits(&format!("{decimals:0<4}"))?;
        if share == 0 { Err(bad()) } else { Ok(Self(share)) }
    }
}

/// Action for a program that exceeds its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuAction {
    /// Report of the excess.
    #[default]
    Warn,
    /// Detachment of the program's links.
    Detach,
    /// Rollback to the version before the last replacement; without one, detachment.
    Previous,
}

/// Unknown action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is nothing that happens over a CPU limit: expected warn, detach or previous")]
pub struct BadCpuAction(pub String);

impl CpuAction {
    /// Returns the name of the action in policies and commands.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Detach => "detach",
            Self::Previous => "previous",
        }
    }
}

impl FromStr for CpuAction {
    type Err = BadCpuAction;

    fn from_str(text: &str) -> Result<Self, BadCpuAction> {
        let all = [Self::Warn, Self::Detach, Self::Previous];
        all.into_iter().find(|action| action.name() == text).ok_or_else(|| BadCpuAction(text.to_owned()))
    }
}

/// Limit of CPU time, and the action for an excess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLimit {
    /// Maximum share.
    pub share: CpuShare,
    /// Action for an excess.
    #[serde(default)]
    pub action: CpuAction,
}

/// Excess of a CPU limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuExcess {
    /// Share that the program used.
    pub used: CpuShare,
    /// Share that all programs of its owner used together, if the limit is the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_used: Option<CpuShare>,
    /// Limit that was exceeded.
    pub limit: CpuLimit,
    /// Time over which the use was measured, in milliseconds.
    pub window_ms: u64,
    /// Action that was executed.
    #[serde(default)]
    pub done: CpuAction,
    /// True if `used` is time that breakpoints cost the probed processes, not run time of the program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_traps: bool,
}

/// Text such as "it took 31% of a CPU over 10 s; its limit is 5%".
impl fmt::Display for CpuExcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, owner_used, limit, window_ms, of_traps, .. } = self;
        let window = Duration::from_millis(*window_ms);
        match owner_used {
            Some(all) if *of_traps => write!(
                f,
                "its breakpoints took {used} of a CPU from processes over {window:?}, and those of all probes of its owner {all}; \
                 limits.probe_share is {}",
                limit.share
            ),
            None => write!(f, "it took {used} of a CPU over {window:?}; its limit is {}", limit.share),
            Some(all) => write!(
                f,
                "it took {used} of a CPU over {window:?}, the most of its owner's programs, which took {all}; their limit \
                 is {}",
                limit.share
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_of_one_cpu() {
        for (text, share) in
            [("5%", 50_000), ("0.5%", 5_000), ("100%", 1_000_000), ("0.0001%", 1), ("250.25%", 2_502_500)]
        {
            assert_eq!(text.parse(), Ok(CpuShare(share)));
            assert_eq!(CpuShare(share).to_string(), text);
        }
        for text in
            ["", "%", "5", "0%", "0.0%", "-5%", "5 %", "5,5%", ".5%", "5.%", "1e3%", "99999999%", "0.00001%"]
        {
            assert_eq!(text.parse::<CpuShare>(), Err(BadCpuShare(text.to_owned())));
        }
    }

    #[test]
    fn a_share_of_a_window_counts_all_cpus() {
        let window = Duration::from_secs(10);
        assert_eq!(CpuShare::of(500_000_000, window).to_string(), "5%");
        assert_eq!(CpuShare::of(20_000_000_000, window).to_string(), "200%");
        assert_eq!(CpuShare::of(u64::MAX, Duration::ZERO), CpuShare(u64::MAX));
    }

    #[test]
    fn an_excess_says_both_figures() {
        let limit = CpuLimit { share: CpuShare(50_000), action: CpuAction::Detach };
        let own = CpuExcess {
            used: CpuShare(310_000),
            owner_used: None,
            limit,
            window_ms: 10_000,
            done: CpuAction::Detach,
            of_traps: false,
        };
        assert_eq!(own.to_string(), "it took 31% of a CPU over 10s; its limit is 5%");
        let shared = CpuExcess { owner_used: Some(CpuShare(400_000)), ..own };
        assert!(shared.to_string().ends_with("which took 40%; their limit is 5%"), "{shared}");
        let traps = CpuExcess { of_traps: true, ..shared };
        assert!(traps.to_string().starts_with("its breakpoints took 31% of a CPU from processes"), "{traps}");
    }
}
