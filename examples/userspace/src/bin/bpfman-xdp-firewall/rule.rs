use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::protocol::Protocol;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Drop,
    Allow,
}

/// Order of `enum direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    pub prefix: Option<(Direction, Prefix)>,
    pub protocol: Option<Protocol>,
    pub port: Option<NonZeroU16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    pub action: Action,
    pub matches: Match,
}

impl Rule {
    pub fn drop_from(prefix: Prefix) -> Self {
        let matches = Match { prefix: Some((Direction::Source, prefix)), ..Match::default() };
        Self { action: Action::Drop, matches }
    }

    pub fn blocked_source(&self) -> Option<Prefix> {
        let (_, prefix) = self.matches.prefix?;
        (*self == Self::drop_from(prefix)).then_some(prefix)
    }

    pub fn to_bytes(self, counter: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        let Match { prefix, protocol, port } = self.matches;
        bytes[0] = u8::from(self.action == Action::Allow);
        if let Some((direction, prefix)) = prefix {
            let (family, length) = match prefix {
                Prefix::V4(address, length) => {
                    bytes[8..12].copy_from_slice(&address.octets());
                    (4, length)
                }
                Prefix::V6(address, length) => {
                    bytes[8..24].copy_from_slice(&address.octets());
                    (6, length)
                }
            };
            bytes[1] = family;
            bytes[2] = u8::from(direction == Direction::Destination);
            bytes[3] = length as u8;
        }
        if let Some(protocol) = protocol {
            bytes[4..6].copy_from_slice(&[1, protocol.0]);
        }
        bytes[6..8].copy_from_slice(&port.map_or(0, NonZeroU16::get).to_ne_bytes());
        bytes[24..28].copy_from_slice(&counter.to_ne_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; 32]) -> Option<(Self, u32)> {
        let address = bytes[8..24].first_chunk::<16>()?;
        let length = u32::from(bytes[3]);
        let prefix = match bytes[1] {
            0 => None,
            4 => Some(Prefix::V4((*address.first_chunk::<4>()?).into(), length)),
            6 => Some(Prefix::V6((*address).into(), length)),
            _ => return None,
        };
        let direction = if bytes[2] == 0 { Direction::Source } else { Direction::Destination };
        let matches = Match {
            prefix: prefix.map(|prefix| (direction, prefix)),
            protocol: (bytes[4] == 1).then_some(Protocol(bytes[5])),
            port: NonZeroU16::new(u16::from_ne_bytes([bytes[6], bytes[7]])),
        };
        let action = if bytes[0] == 0 { Action::Drop } else { Action::Allow };
        Some((Self { action, matches }, u32::from_ne_bytes(*bytes[24..28].first_chunk()?)))
    }
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let action = match words.next() {
            Some("drop") => Action::Drop,
            Some("allow") => Action::Allow,
            Some(other) => bail!("a rule begins with drop or allow, and not with {other:?}"),
            None => bail!("it is empty"),
        };
        let mut matches = Match::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("nothing is behind {word}"));
            match word {
                "src" | "dst" => {
                    let text = value()?;
                    let prefix = text.parse().with_context(|| format!("{text:?} is no prefix"))?;
                    let direction = if word == "src" { Direction::Source } else { Direction::Destination };
                    ensure!(matches.prefix.is_none(), "a rule has one prefix, either src or dst");
                    matches.prefix = Some((direction, prefix));
                }
                "proto" => {
                    ensure!(matches.protocol.is_none(), "proto is there twice");
                    matches.protocol = Some(value()?.parse()?);
                }
                "dport" => {
                    ensure!(matches.port.is_none(), "dport is there twice");
                    let text = value()?;
                    let port = text.parse();
                    matches.port =
                        Some(port.map_err(|_| anyhow::anyhow!("{text:?} is no port: 1 to 65535"))?);
                }
                other => bail!("{other:?} is none of src, dst, proto and dport"),
            }
        }
        let has_ports = matches.protocol.is_some_and(Protocol::has_ports);
        ensure!(matches.port.is_none() || has_ports, "dport needs proto tcp, udp or sctp");
        Ok(Self { action, matches })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.action == Action::Drop { "drop" } else { "allow" })?;
        let Match { prefix, protocol, port } = self.matches;
        if let Some((direction, prefix)) = prefix {
            write!(f, " {} {prefix}", if direction == Direction::Source { "src" } else { "dst" })?;
        }
        if let Some(protocol) = protocol {
            write!(f, " proto {protocol}")?;
        }
        port.map_or(Ok(()), |port| write!(f, " dport {port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_were_written_and_come_back_from_the_maps() {
        for text in [
            "drop",
            "allow proto icmp",
            "drop src 192.0.2.0/24 proto tcp dport 22",
            "allow dst 2001:db8::/32 proto 200",
            "drop src ::1/128 proto sctp dport 65535",
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            assert_eq!(Rule::from_bytes(&rule.to_bytes(77)), Some((rule, 77)));
        }
    }

    #[test]
    fn invalid_rule_is_refused_with_reason() {
        for (text, reason) in [
            ("reject", "begins with drop or allow"),
            ("drop sorce 10.0.0.0/8", "\"sorce\" is none of src, dst, proto and dport"),
            ("drop src", "nothing is behind src"),
            ("drop src 10.0.0.1/8", "\"10.0.0.1/8\" is no prefix"),
            ("drop src 10.0.0.0/8 dst 10.0.0.0/8", "one prefix"),
            ("drop proto tpc", "\"tpc\" is no protocol"),
            ("drop proto tcp proto udp", "proto is there twice"),
            ("drop dport 22", "dport needs proto"),
            ("drop proto icmp dport 22", "dport needs proto"),
            ("drop proto tcp dport 0", "\"0\" is no port"),
            ("drop proto tcp dport 1-9", "\"1-9\" is no port"),
            ("drop \x1b[2J", "\"\\u{1b}[2J\" is none of"),
        ] {
            let error = text.parse::<Rule>().unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error:#}");
        }
    }
}
