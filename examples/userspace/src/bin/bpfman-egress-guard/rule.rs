use std::fmt;
use std::net::IpAddr;
use std::str::{FromStr, SplitWhitespace};

use anyhow::{Context as _, Result, bail, ensure};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::rule_file::next_word;
use bpfman_examples::service::Service;

use crate::pattern::Pattern;

pub const GRAMMAR: &str = "`allow dst PREFIX|name NAME [proto NAME [dport PORT]]`, `ask NAME`, `resolver ADDRESS` or `ttl LEAST MOST`";

/// Minimum and maximum time in seconds for which a learned address is valid, whatever its TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub least: u32,
    pub most: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { least: 5, most: 3600 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    Prefix(Prefix),
    Name(Pattern),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    Resolver(IpAddr),
    Ttl(Bounds),
    Ask(Pattern),
    Allow(Destination, Service),
}

impl Rule {
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Ask(pattern) | Self::Allow(Destination::Name(pattern), _) => Some(pattern),
            Self::Resolver(_) | Self::Ttl(_) | Self::Allow(Destination::Prefix(_), _) => None,
        }
    }
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let rule = match words.next() {
            Some("resolver") => Self::Resolver(resolver(next_word(&mut words, "resolver")?)?),
            Some("ttl") => {
                Self::Ttl(bounds(next_word(&mut words, "ttl")?, next_word(&mut words, "ttl LEAST")?)?)
            }
            Some("ask") => Self::Ask(next_word(&mut words, "ask")?.parse()?),
            Some("allow") => Self::Allow(destination(&mut words)?, Service::parse(&mut words)?),
            Some(other) => bail!("a rule begins with allow, ask, resolver or ttl, and not with {other:?}"),
            None => bail!("it is empty"),
        };
        match words.next() {
            None => Ok(rule),
            Some(more) => bail!("{more:?} is too much"),
        }
    }
}

fn resolver(text: &str) -> Result<IpAddr> {
    text.parse().with_context(|| format!("{text:?} is no address"))
}

fn bounds(least: &str, most: &str) -> Result<Bounds> {
    let second = |text: &str| text.parse().with_context(|| format!("{text:?} is no number of seconds"));
    let bounds = Bounds { least: second(least)?, most: second(most)? };
    ensure!(bounds.least <= bounds.most, "{least} seconds are more than {most}");
    // Expiry is stored in 32 bits as seconds since boot; a week is far from their limit.
    ensure!(bounds.most <= 604_800, "{most} seconds are more than a week");
    Ok(bounds)
}

fn destination(words: &mut SplitWhitespace<'_>) -> Result<Destination> {
    match next_word(words, "allow")? {
        "dst" => {
            let text = next_word(words, "dst")?;
            Ok(Destination::Prefix(text.parse().with_context(|| format!("{text:?} is no prefix"))?))
        }
        "name" => Ok(Destination::Name(next_word(words, "name")?.parse()?)),
        other => bail!("behind allow is dst or name, and not {other:?}"),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolver(address) => write!(f, "resolver {address}"),
            Self::Ttl(Bounds { least, most }) => write!(f, "ttl {least} {most}"),
            Self::Ask(pattern) => write!(f, "ask {pattern}"),
            Self::Allow(Destination::Prefix(prefix), service) => write!(f, "allow dst {prefix}{service}"),
            Self::Allow(Destination::Name(pattern), service) => write!(f, "allow name {pattern}{service}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_were_written() {
        for text in [
            "resolver 10.0.0.53",
            "resolver ::1",
            "ttl 0 60",
            "ask *",
            "ask *.cluster.local",
            "allow dst 192.0.2.0/24",
            "allow dst ::/0 proto icmpv6",
            "allow name example.com proto tcp dport 443",
            "allow name *.example.com proto 200",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_rule_is_refused_with_reason() {
        for (text, reason) in [
            ("deny dst ::1", "begins with allow, ask, resolver or ttl"),
            ("allow", "nothing is behind allow"),
            ("allow 10.0.0.0/8", "behind allow is dst or name"),
            ("allow dst 10.0.0.1/8", "\"10.0.0.1/8\" is no prefix"),
            ("allow dst example.com", "\"example.com\" is no prefix"),
            ("allow name *x.com", "has a star that is no label"),
            ("allow name x.com proto tpc", "\"tpc\" is no protocol"),
            ("allow name x.com dport 443", "dport needs proto"),
            ("allow name x.com proto icmp dport 443", "dport needs proto"),
            ("allow name x.com proto tcp dport 0", "\"0\" is no port"),
            ("allow name x.com proto tcp dport 1 dport 2", "\"dport\" is too much"),
            ("resolver localhost", "\"localhost\" is no address"),
            ("ttl 9", "nothing is behind ttl LEAST"),
            ("ttl 9 8", "9 seconds are more than 8"),
            ("ttl 9 604801", "more than a week"),
            ("ask a.b c", "\"c\" is too much"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error:#}");
        }
    }
}
