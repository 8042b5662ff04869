//! Positions of programs among netfilter's hooks (Linux 6.4 and later).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Protocol of the packets that a netfilter program receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetfilterFamily {
    /// `NFPROTO_IPV4`.
    Ipv4,
    /// `NFPROTO_IPV6`.
    Ipv6,
}

/// Hook of netfilter (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetfilterHook {
    /// Arriving packets, before routing.
    Prerouting,
    /// Packets for this machine.
    Input,
    /// Packets that are forwarded to another machine.
    Forward,
    /// Packets that this machine makes.
    Output,
    /// Leaving packets.
    Postrouting,
}

/// Netfilter hook, and position among the programs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetfilterPlace {
    /// Protocol of the packets.
    pub family: NetfilterFamily,
    /// Hook of the program.
    pub hook: NetfilterHook,
    /// Priority; lower ones run first, and the rules of `filter` tables have 0. Minimum and maximum are reserved.
    pub priority: i32,
    /// True if fragments are reassembled before the program runs (Linux 6.6 and later). The priority has to be above
    /// -400, at which the kernel reassembles them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defragment: bool,
}

/// `NF_IP_PRI_CONNTRACK_DEFRAG`, the priority at which fragments are reassembled.
const DEFRAGMENTS_AT: i32 = -400;

/// Invalid position of a netfilter program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetfilterPlace {
    /// Unknown protocol.
    #[error("netfilter family \"{0}\" is none of ipv4, ipv6")]
    Family(String),
    /// Unknown hook.
    #[error("netfilter hook \"{0}\" is none of prerouting, input, forward, output, postrouting")]
    Hook(String),
    /// Priority that the kernel reserves.
    #[error("netfilter priority {0} is the kernel's own; the least runs first, and filter tables have 0")]
    Priority(i32),
    /// Priority before the reassembly of fragments.
    #[error(
        "netfilter priority {0} is before fragments are put together, at {DEFRAGMENTS_AT}: it has to be greater for a program \
         that is to see whole packets"
    )]
    BeforeDefragment(i32),
}

impl NetfilterPlace {
    /// Returns the kernel's number of the protocol (`NFPROTO_*`).
    #[must_use]
    pub const fn protocol(&self) -> u32 {
        match self.family {
            NetfilterFamily::Ipv4 => 2,
            NetfilterFamily::Ipv6 => 10,
        }
    }

    /// Refuses a position that no kernel accepts.
    ///
    /// # Errors
    /// The priority is reserved by the kernel, or comes before the reassembly of fragments.
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
    /// Returns the name of the protocol.
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

    /// Returns the name of the hook in nft.
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

    /// Returns the kernel's number of the hook (`enum nf_inet_hooks`).
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
