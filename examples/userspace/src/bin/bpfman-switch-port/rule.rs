use std::fmt;
use std::net::IpAddr;
use std::str::{FromStr, SplitWhitespace};

use anyhow::{Context as _, Result, bail, ensure};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::rule_file::next_word;
use bpfman_examples::service::Service;

pub const GRAMMAR: &str = "`port NAME [mac MAC] [address ADDRESS]…`, `allow NAME out|in [to|from PREFIX] \
                           [proto NAME [dport PORT]]` or `timeout opening|established|other SECONDS`";

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortName(pub String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// Direction from the point of view of the host at the port, in the order of `enum direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Out,
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Opening,
    Established,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    Port { name: PortName, mac: Option<Mac>, addresses: Vec<IpAddr> },
    Allow { port: PortName, direction: Direction, peer: Option<Prefix>, service: Service },
    Timeout { phase: Phase, seconds: u32 },
}

impl Rule {
    pub fn port(&self) -> Option<&PortName> {
        match self {
            Self::Port { name, .. } => Some(name),
            Self::Allow { port, .. } => Some(port),
            Self::Timeout { .. } => None,
        }
    }
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let rule = match words.next() {
            Some("port") => port(&mut words)?,
            Some("allow") => allow(&mut words)?,
            Some("timeout") => timeout(&mut words)?,
            Some(other) => bail!("a rule begins with port, allow or timeout, and not with {other:?}"),
            None => bail!("it is empty"),
        };
        match words.next() {
            None => Ok(rule),
            Some(more) => bail!("{more:?} is too much"),
        }
    }
}

fn port(words: &mut SplitWhitespace<'_>) -> Result<Rule> {
    let name = next_word(words, "port")?.parse()?;
    let (mut mac, mut addresses) = (None, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "mac" => {
                ensure!(mac.is_none(), "mac is there twice");
                mac = Some(next_word(words, "mac")?.parse()?);
            }
            "address" => {
                let text = next_word(words, "address")?;
                addresses.push(text.parse().with_context(|| format!("{text:?} is no address"))?);
            }
            other => bail!("{other:?} is neither mac nor address"),
        }
    }
    Ok(Rule::Port { name, mac, addresses })
}

fn allow(words: &mut SplitWhitespace<'_>) -> Result<Rule> {
    let port = next_word(words, "allow")?.parse()?;
    let direction = match next_word(words, "the port's name")? {
        "out" => Direction::Out,
        "in" => Direction::In,
        other => bail!("behind the port's name is out or in, and not {other:?}"),
    };
    let preposition = preposition(direction);
    let mut ahead = words.clone();
    let peer = match ahead.next() {
        Some(word) if word == preposition => {
            *words = ahead;
            let text = next_word(words, preposition)?;
            Some(text.parse().with_context(|| format!("{text:?} is no prefix"))?)
        }
        _ => None,
    };
    Ok(Rule::Allow { port, direction, peer, service: Service::parse(words)? })
}

fn timeout(words: &mut SplitWhitespace<'_>) -> Result<Rule> {
    let phase = match next_word(words, "timeout")? {
        "opening" => Phase::Opening,
        "established" => Phase::Established,
        "other" => Phase::Other,
        other => bail!("behind timeout is opening, established or other, and not {other:?}"),
    };
    let text = next_word(words, "the phase")?;
    let seconds = text.parse().ok().filter(|seconds| (1..=604_800).contains(seconds));
    let seconds =
        seconds.with_context(|| format!("{text:?} is no number of seconds: 1 to a week of them"))?;
    Ok(Rule::Timeout { phase, seconds })
}

fn preposition(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "to",
        Direction::In => "from",
    }
}

impl FromStr for PortName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        // Same test as the kernel's `dev_valid_name()`.
        let valid =
            (1..16).contains(&text.len()) && ![".", ".."].contains(&text) && !text.contains(['/', ':']);
        ensure!(valid, "{text:?} is no name of an interface");
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for Mac {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|byte| {
                u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2 && !byte.starts_with('+'))
            })
            .collect();
        let bytes = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        let mac =
            bytes.with_context(|| format!("{text:?} is no MAC address: six bytes as 02:00:00:00:00:01"))?;
        ensure!(mac[0] & 1 == 0, "{text:?} is the address of a group, not of one station");
        Ok(Self(mac))
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { name, mac, addresses } => {
                write!(f, "port {name}")?;
                mac.map_or(Ok(()), |mac| write!(f, " mac {mac}"))?;
                addresses.iter().try_for_each(|address| write!(f, " address {address}"))
            }
            Self::Allow { port, direction, peer, service } => {
                write!(f, "allow {port} {}", if *direction == Direction::Out { "out" } else { "in" })?;
                peer.map_or(Ok(()), |peer| write!(f, " {} {peer}", preposition(*direction)))?;
                write!(f, "{service}")
            }
            Self::Timeout { phase, seconds } => {
                let phase = match phase {
                    Phase::Opening => "opening",
                    Phase::Established => "established",
                    Phase::Other => "other",
                };
                write!(f, "timeout {phase} {seconds}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_were_written() {
        for text in [
            "port web",
            "port web mac 02:00:00:00:00:0a address 10.0.0.1 address fd00::1",
            "allow web out",
            "allow web out to 10.0.0.0/8 proto tcp dport 443",
            "allow web in from ::/0 proto icmpv6",
            "allow web in proto udp",
            "timeout established 7200",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_rule_is_refused_with_reason() {
        for (text, reason) in [
            ("drop web", "begins with port, allow or timeout"),
            ("port", "nothing is behind port"),
            ("port a/b", "\"a/b\" is no name of an interface"),
            ("port sixteen-letters-", "is no name of an interface"),
            ("port web mac 02:00", "is no MAC address"),
            ("port web mac 01:00:5e:00:00:01", "is the address of a group"),
            ("port web mac 02:00:00:00:00:01 mac 02:00:00:00:00:01", "mac is there twice"),
            ("port web address 10.0.0.0/8", "\"10.0.0.0/8\" is no address"),
            ("port web ip 10.0.0.1", "\"ip\" is neither mac nor address"),
            ("allow web", "nothing is behind the port's name"),
            ("allow web both", "is out or in, and not \"both\""),
            ("allow web out from 10.0.0.0/8", "\"from\" is neither proto nor dport"),
            ("allow web in from 10.0.0.1/8", "\"10.0.0.1/8\" is no prefix"),
            ("allow web in proto icmp dport 1", "dport needs proto"),
            ("timeout opening 0", "is no number of seconds"),
            ("timeout udp 3", "and not \"udp\""),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error:#}");
        }
    }
}
