use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::reasons::{DropReason, Reasons};

pub const FLOW_BYTES: usize = 44;
pub const RECORD_BYTES: usize = 40;
pub const DROP_BYTES: usize = FLOW_BYTES + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ingress,
    Egress,
    Dropped(DropReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub protocol: u8,
    /// Interface; for drops that of arrival, or 0 if the packets were created on this machine.
    pub interface: u32,
    pub verdict: Verdict,
}

impl Flow {
    pub fn parse(bytes: &[u8], reason: DropReason) -> Option<Self> {
        let (source, rest) = bytes.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (destination_port, rest) = rest.split_first_chunk()?;
        let (&[protocol, direction, _, _], rest) = rest.split_first_chunk()?;
        let address = |octets: &[u8; 16]| Ipv6Addr::from(*octets).to_canonical();
        Some(Self {
            source: (address(source), u16::from_ne_bytes(*source_port)),
            destination: (address(destination), u16::from_ne_bytes(*destination_port)),
            protocol,
            interface: u32::from_ne_bytes(*rest.first_chunk()?),
            verdict: match direction {
                0 => Verdict::Ingress,
                1 => Verdict::Egress,
                2 => Verdict::Dropped(reason),
                _ => return None,
            },
        })
    }

    pub fn parse_drop(bytes: &[u8; DROP_BYTES]) -> Option<Self> {
        let (flow, reason) = bytes.split_at(FLOW_BYTES);
        Self::parse(flow, DropReason(u32::from_ne_bytes(reason.try_into().ok()?)))
    }

    fn protocol_name(&self) -> String {
        let name = match self.protocol {
            1 => "icmp",
            2 => "igmp",
            6 => "tcp",
            17 => "udp",
            47 => "gre",
            50 => "esp",
            58 => "icmpv6",
            132 => "sctp",
            number => return number.to_string(),
        };
        name.to_owned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number of packets. A packet that the kernel merged from several counts as several.
    pub packets: u64,
    pub bytes: u64,
    /// Nanoseconds since boot.
    pub first_seen: u64,
    pub last_seen: u64,
    pub flags: u8,
}

impl Record {
    pub fn parse(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
            u64::from_ne_bytes(word)
        };
        Self {
            packets: word(0),
            bytes: word(1),
            first_seen: word(2),
            last_seen: word(3),
            flags: word(4) as u8,
        }
    }

    fn flag_names(self) -> Vec<&'static str> {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        (0..8).filter(|bit| self.flags & 1 << bit != 0).map(|bit| NAMES[bit]).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub flow: Flow,
    pub record: Record,
}

impl Seen {
    pub fn to_json(self, reasons: &Reasons, clock: Clock) -> Value {
        let Self { flow, record } = self;
        let mut object = json!({
            "source": flow.source.0, "source_port": flow.source.1,
            "destination": flow.destination.0, "destination_port": flow.destination.1,
            "protocol": flow.protocol_name(), "interface": flow.interface,
            "packets": record.packets, "bytes": record.bytes, "flags": record.flag_names(),
            "first_seen": clock.unix_seconds(record.first_seen), "last_seen": clock.unix_seconds(record.last_seen),
        });
        match flow.verdict {
            Verdict::Ingress => object["direction"] = "ingress".into(),
            Verdict::Egress => object["direction"] = "egress".into(),
            Verdict::Dropped(reason) => object["drop_reason"] = reasons.name(reason).into(),
        }
        object["verdict"] =
            if matches!(flow.verdict, Verdict::Dropped(_)) { "dropped" } else { "seen" }.into();
        object
    }

    pub fn line(self, reasons: &Reasons, clock: Clock) -> String {
        let Self { flow, record } = self;
        let verdict = match flow.verdict {
            Verdict::Ingress => "ingress".to_owned(),
            Verdict::Egress => "egress".to_owned(),
            Verdict::Dropped(reason) => format!("dropped: {}", reasons.name(reason)),
        };
        format!(
            "{:<8} {:<28} {:<28} {:>9} {:>12} {:>6} {:<16} {verdict}",
            flow.protocol_name(),
            Endpoint(flow.source).to_string(),
            Endpoint(flow.destination).to_string(),
            record.packets,
            record.bytes,
            clock.seconds_ago(record.last_seen),
            record.flag_names().join("|"),
        )
    }
}

pub fn heading() -> String {
    format!(
        "{:<8} {:<28} {:<28} {:>9} {:>12} {:>6} {:<16} VERDICT",
        "PROTOCOL", "SOURCE", "DESTINATION", "PACKETS", "BYTES", "IDLE/s", "FLAGS"
    )
}

struct Endpoint((IpAddr, u16));

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (address, 0) => write!(f, "{address}"),
            (IpAddr::V4(address), port) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), port) => write!(f, "[{address}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(direction: u8) -> Vec<u8> {
        let source: [u8; 16] = "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap().octets();
        let destination: [u8; 16] = "::ffff:10.0.0.2".parse::<Ipv6Addr>().unwrap().octets();
        let ports = [4000_u16.to_ne_bytes(), 443_u16.to_ne_bytes()].concat();
        [&source[..], &destination, &ports, &[6, direction, 0, 0], &3_u32.to_ne_bytes()].concat()
    }

    #[test]
    fn a_flow_is_read_field_by_field() {
        let parsed = Flow::parse(&flow(1), DropReason(0)).unwrap();
        assert_eq!(parsed.source, ("10.0.0.1".parse().unwrap(), 4000));
        assert_eq!(parsed.destination, ("10.0.0.2".parse().unwrap(), 443));
        assert_eq!((parsed.protocol, parsed.interface, parsed.verdict), (6, 3, Verdict::Egress));
    }

    #[test]
    fn invalid_record_is_no_flow() {
        let whole = flow(0);
        assert!((0..whole.len()).all(|length| Flow::parse(&whole[..length], DropReason(0)).is_none()));
        assert_eq!(Flow::parse(&flow(3), DropReason(0)), None);
    }

    #[test]
    fn a_record_has_the_names_of_its_flags() {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[32..40].copy_from_slice(&0x12_u64.to_ne_bytes());
        let record = Record::parse(&bytes);
        assert_eq!((record.packets, record.flag_names()), (7, vec!["SYN", "ACK"]));
    }
}
