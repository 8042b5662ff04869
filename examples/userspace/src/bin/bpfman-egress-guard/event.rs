//! Records of `egress_guard.bpf.c` in its ring buffer, parsed by hand: the bytes are untrusted.

use std::net::{IpAddr, Ipv6Addr};
use std::num::{NonZeroU32, NonZeroU64};

use bpfman_examples::protocol::Protocol;
use serde_json::{Value, json};

const REASONS: [&str; 5] = ["destination", "port", "name", "query", "header"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Inode of the cgroup's directory. `None` if no socket sent the packet.
    pub group: Option<NonZeroU64>,
    pub interface: Option<NonZeroU32>,
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub protocol: Protocol,
    pub reason: &'static str,
    pub dropped: bool,
    pub bytes: u32,
    pub name: String,
}

impl Refused {
    pub fn parse(record: &[u8]) -> Option<Self> {
        let (group, rest) = record.split_first_chunk()?;
        let (source, rest) = rest.split_first_chunk::<16>()?;
        let (destination, rest) = rest.split_first_chunk::<16>()?;
        let (source_port, rest) = rest.split_first_chunk()?;
        let (destination_port, rest) = rest.split_first_chunk()?;
        let ([protocol, reason, dropped, _version], rest) = rest.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let (interface, rest) = rest.split_first_chunk()?;
        let reversed = rest.split(|byte| *byte == 0).next()?;
        let address = |bytes: [u8; 16]| Ipv6Addr::from(bytes).to_canonical();
        Some(Self {
            group: NonZeroU64::new(u64::from_ne_bytes(*group)),
            interface: NonZeroU32::new(u32::from_ne_bytes(*interface)),
            source: (address(*source), u16::from_ne_bytes(*source_port)),
            destination: (address(*destination), u16::from_ne_bytes(*destination_port)),
            protocol: Protocol(*protocol),
            reason: REASONS.get(usize::from(*reason))?,
            dropped: *dropped != 0,
            bytes: u32::from_ne_bytes(*bytes),
            name: reversed.iter().rev().map(|byte| char::from(*byte)).collect(),
        })
    }

    pub fn to_json(&self) -> Value {
        let mut event = json!({
            "source": self.source.0, "destination": self.destination.0, "protocol": self.protocol.to_string(),
            "reason": self.reason, "dropped": self.dropped, "bytes": self.bytes,
        });
        if let Some(group) = self.group {
            event["cgroup"] = group.get().into();
        }
        if let Some(interface) = self.interface {
            event["interface"] = interface.get().into();
        }
        if self.protocol.has_ports() {
            event["source_port"] = self.source.1.into();
            event["destination_port"] = self.destination.1.into();
        }
        if !self.name.is_empty() {
            event["name"] = self.name.as_str().into();
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let address = |text: &str| match text.parse().unwrap() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut record = 77_u64.to_ne_bytes().to_vec();
        record.extend(address("10.0.0.1"));
        record.extend(address("fd00::53"));
        record.extend([4000_u16, 53].map(u16::to_ne_bytes).as_flattened());
        record.extend([17, 2, 1, 4]);
        record.extend([60_u32, 0].map(u32::to_ne_bytes).as_flattened());
        record.extend(b"moc.live\0old");
        record
    }

    #[test]
    fn a_record_is_read_field_by_field() {
        let event = Refused::parse(&record()).unwrap().to_json();
        let expected = json!({
            "cgroup": 77, "source": "10.0.0.1", "source_port": 4000, "destination": "fd00::53", "destination_port": 53,
            "protocol": "udp", "reason": "name", "dropped": true, "bytes": 60, "name": "evil.com",
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn a_packet_at_an_interface_may_have_no_control_group() {
        let mut record = record();
        record[..8].fill(0);
        record[52..56].copy_from_slice(&3_u32.to_ne_bytes());
        let event = Refused::parse(&record).unwrap().to_json();
        assert_eq!((&event["interface"], event.get("cgroup")), (&json!(3), None));
    }

    #[test]
    fn a_short_record_is_none() {
        let record = record();
        assert!((0..56).all(|length| Refused::parse(&record[..length]).is_none()));
    }
}
