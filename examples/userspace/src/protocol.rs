//! Protocols over IP, and the slots of the protocol counter, as `xdp_counter.bpf.c` numbers them.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use serde::Deserialize;

const KNOWN: [(&str, u8); 9] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
];

/// IANA number of a protocol over IP.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Protocol(pub u8);

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: anyhow::Error| error.to_string())
    }
}

impl Protocol {
    /// Transmission Control Protocol.
    pub const TCP: Self = Self(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Self(17);

    /// Returns whether the header begins with a source and a destination port.
    pub fn has_ports(self) -> bool {
        matches!(self.0, 6 | 17 | 132)
    }
}

impl FromStr for Protocol {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let known = KNOWN.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
        let number = known.or_else(|| text.parse().ok());
        number
            .map(Self)
            .with_context(|| format!("{text:?} is no protocol: tcp, udp, icmp and so on, or 0 to 255"))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&self.0.to_string()),
        }
    }
}

/// Returns the name of a socket's protocol. Some numbers are not IP protocols, such as that of Multipath TCP.
pub fn name_of(socket: u32) -> String {
    u8::try_from(socket).map_or_else(|_| socket.to_string(), |number| Protocol(number).to_string())
}

/// Slot of the map `protocols`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// IANA number of a protocol over IPv4.
    Ipv4(u8),
    /// IANA number of a protocol over IPv6, after extension headers.
    Ipv6(u8),
    /// Address Resolution Protocol.
    Arp,
    /// Any other Ethernet type.
    Other,
    /// Packets that are shorter than their headers claim.
    Malformed,
}

impl Slot {
    /// Returns the slot with an index, or `None` after the last one.
    pub fn from_index(index: u32) -> Option<Self> {
        Some(match index {
            0..=255 => Self::Ipv4(index as u8),
            256..=511 => Self::Ipv6((index - 256) as u8),
            512 => Self::Arp,
            513 => Self::Other,
            514 => Self::Malformed,
            _ => return None,
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, protocol) = match *self {
            Self::Ipv4(protocol) => ("ipv4", protocol),
            Self::Ipv6(protocol) => ("ipv6", protocol),
            Self::Arp => return f.write_str("arp"),
            Self::Other => return f.write_str("other"),
            Self::Malformed => return f.write_str("malformed"),
        };
        match name(protocol) {
            Some(name) => write!(f, "{family}/{name}"),
            None => write!(f, "{family}/{protocol}"),
        }
    }
}

fn name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        2 => "igmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        50 => "esp",
        58 => "icmpv6",
        132 => "sctp",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_go_by_names_and_numbers() {
        for (text, number, shown) in [("tcp", 6, "tcp"), ("6", 6, "tcp"), ("200", 200, "200")] {
            let protocol: Protocol = text.parse().unwrap();
            assert_eq!((protocol, protocol.to_string().as_str()), (Protocol(number), shown));
        }
        assert_eq!((name_of(17), name_of(262)), ("udp".to_owned(), "262".to_owned()));
        for text in ["tpc", "256", "-1", ""] {
            assert!(text.parse::<Protocol>().is_err(), "{text}");
        }
    }

    #[test]
    fn slots_have_the_names_of_what_they_count() {
        let names = [1, 6, 89, 256 + 58, 256 + 200, 512, 513, 514];
        let names = names.map(|index| Slot::from_index(index).unwrap().to_string());
        assert_eq!(
            names,
            ["ipv4/icmp", "ipv4/tcp", "ipv4/89", "ipv6/icmpv6", "ipv6/200", "arp", "other", "malformed"]
        );
        assert_eq!(Slot::from_index(515), None);
    }
}
