//! Places of programs among netfilter's hooks (Linux 6.4 and later).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Packets of which protocol a netfilter program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetfilterFamily {
    /// `NFPROTO_IPV4`.
    Ipv4,
    /// `NFPROTO_IPV6`.
    Ipv6,
}

/// At which of netfilter's hooks a program sees them (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetfilterHook {
    /// As they arrive, before it is known where they go.
    Prerouting,
    /// For this machine.
    Input,
    /// Passed on to another one.
    Forward,
    /// Made by this machine.
    Output,
    /// As they leave.
    Postrouting,
}

/// A netfilter hook, and when among the others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetfilterPlace {
    /// Packets of this protocol.
    pub family: NetfilterFamily,
    /// At this hook.
    pub hook: NetfilterHook,
    /// The least runs first; the rules of `filter` tables have 0. The least and the greatest number are the kernel's.
    pub priority: i32,
    /// Fragments are put together before the program sees them (Linux 6.6 and later). Its priority is then above -400,
    /// which is when the kernel does that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defragment: bool,
}

/// `NF_IP_PRI_CONNTRACK_DEFRAG`, at which fragments are put together.
const DEFRAGMENTS_AT: i32 = -400;

/// A place that no netfilter program can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetfilterPlace {
    /// No such protocol.
    #[error("netfilter family \"{0}\" is none of ipv4, ipv6")]
    Family(String),
    /// No such hook.
    #[error("netfilter hook \"{0}\" is none of prerouting, input, forward, output, postrouting")]
    Hook(String),
    /// A priority that the kernel keeps for itself.
    #[error("netfilter priority {0} is the kernel's own; the least runs first, and filter tables have 0")]
    Priority(i32),
    /// Too early for whole packets.
    #[error(
        "netfilter priority {0} is before fragments are put together, at {DEFRAGMENTS_AT}: it has to be greater for a program \
         that is to see whole packets"
    )]
    BeforeDefragment(i32),
}

impl NetfilterPlace {
    /// The kernel's number of the protocol (`NFPROTO_*`).
    #[must_use]
    pub const fn protocol(&self) -> u32 {
        match self.family {
            NetfilterFamily::Ipv4 => 2,
            NetfilterFamily::Ipv6 => 10,
        }
    }

    /// Refuses what no kernel takes.
    ///
    /// # Errors
    /// The priority is the kernel's own, or fragments are put together only later.
    pub const fn check(&self) -> Result<(), BadNetfilterPlace> {
        match self.priority {
            i32::MIN | i32::MAX => Err(BadNetfilterPlace::Priority(self.priority)),
            early if self.defragment && early <= DEFRAGMENTS_AT => {
                Err(BadNetfilterPlace::BeforeDefragment(early))
            }
            _ => Ok(()),
        }
    }
}

impl NetfilterFamily {
    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

impl NetfilterHook {
    const ALL: [Self; 5] = [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// As nft names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    /// The kernel's number of it (`enum nf_inet_hooks`).
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl FromStr for NetfilterFamily {
    type Err = BadNetfilterPlace;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = [Self::Ipv4, Self::Ipv6].into_iter().find(|family| family.name() == name);
        known.ok_or_else(|| BadNetfilterPlace::Family(name.to_owned()))
    }
}

impl FromStr for NetfilterHook {
    type Err = BadNetfilterPlace;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|hook| hook.name() == name);
        known.ok_or_else(|| BadNetfilterPlace::Hook(name.to_owned()))
    }
}

impl fmt::Display for NetfilterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} priority {}", self.family.name(), self.hook.name(), self.priority)?;
        if self.defragment { f.write_str(" defragmented") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_the_kernel_keeps_are_refused() {
        let place = |priority, defragment| NetfilterPlace {
            family: NetfilterFamily::Ipv4,
            hook: NetfilterHook::Input,
            priority,
            defragment,
        };
        assert_eq!(place(0, false).check(), Ok(()));
        assert_eq!(place(-400, false).check(), Ok(()));
        assert_eq!(place(-399, true).check(), Ok(()));
        assert_eq!(place(-400, true).check(), Err(BadNetfilterPlace::BeforeDefragment(-400)));
        for kept in [i32::MIN, i32::MAX] {
            assert_eq!(place(kept, false).check(), Err(BadNetfilterPlace::Priority(kept)));
        }
        assert_eq!(place(-1, true).to_string(), "ipv4 input priority -1 defragmented");
    }

    #[test]
    fn names_are_those_of_nft() {
        let numbers: Vec<_> =
            NetfilterHook::ALL.map(|hook| (hook.name().parse(), hook.number())).into_iter().collect();
        let expected: Vec<_> = NetfilterHook::ALL.into_iter().map(Ok).zip(0..).collect();
        assert_eq!(numbers, expected);
        assert!("ingress".parse::<NetfilterHook>().is_err());
        assert!("inet".parse::<NetfilterFamily>().unwrap_err().to_string().contains("ipv4, ipv6"));
    }
}
