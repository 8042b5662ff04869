//! The slots of the protocol counter, as `xdp_counter.bpf.c` numbers them.

use std::fmt;

/// What a slot of the map `protocols` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A protocol over IPv4, by its IANA number.
    Ipv4(u8),
    /// A protocol over IPv6, behind extension headers, by its IANA number.
    Ipv6(u8),
    /// ARP.
    Arp,
    /// Any other Ethernet type.
    Other,
    /// Packets shorter than their headers say.
    Malformed,
}

impl Slot {
    /// The slot of a number, or `None` behind the last one.
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

/// `ipv4/tcp`, `ipv6/89`, `arp`: the protocol's name where it is a common one, else its number.
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
