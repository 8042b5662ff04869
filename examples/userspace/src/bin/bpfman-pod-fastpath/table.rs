use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::count::Count;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;

use crate::host::{InterfaceIndex, Mac};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Added = 0,
    /// Written by `sync`, which also removes the entry when the host has no route to the address any more.
    Synced = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub interface: InterfaceIndex,
    pub origin: Origin,
    pub macs: Option<(Mac, Mac)>,
    pub sent: Count,
}

type RawAddress = [u8; 16];
type RawPrefix = [u8; 20];
type RawPod = [u8; 40];
type RawNetwork = [u8; 24];

const FAMILY_V4: u32 = 2;
const FAMILY_V6: u32 = 10;
const FAMILY_BITS: u32 = u32::BITS;
const MAPPED_BITS: u32 = 96;

pub struct Table {
    pods: HashMap<MapData, RawAddress, RawPod>,
    networks: LpmTrie<MapData, RawPrefix, RawNetwork>,
}

impl Table {
    pub fn open(maps: &MapSource, access: MapAccess) -> Result<Self> {
        Ok(Self { pods: maps.open("pods", access)?, networks: maps.open("networks", access)? })
    }

    pub fn read(&self) -> Result<Vec<(Prefix, Target)>> {
        let mut found = Vec::new();
        for entry in self.pods.iter() {
            let (address, pod) = entry.context("cannot read the pods")?;
            found.push((whole(Ipv6Addr::from(address).to_canonical()), read_pod(&pod)));
        }
        for entry in self.networks.iter() {
            let (key, network) = entry.context("cannot read the networks")?;
            found.push((network_of(key.data(), key.prefix_len()), read_network(&network)));
        }
        found.sort_by_key(|(prefix, _)| *prefix);
        Ok(found)
    }

    pub fn set(&mut self, prefix: Prefix, target: Target) -> Result<()> {
        let address = raw_address(prefix);
        let failed = || format!("cannot add {prefix}");
        if let Some((pod, host)) = target.macs {
            let sent = self.pods.get(&address, 0).map_or(target.sent, |old| read_pod(&old).sent);
            let mut value = RawPod::default_of(target.interface, target.origin);
            value[8..14].copy_from_slice(&pod.0);
            value[14..20].copy_from_slice(&host.0);
            write_count(&mut value[24..], sent);
            return self.pods.insert(address, value, 0).with_context(failed);
        }
        let (bytes, length) = raw_network(prefix);
        let mut value = RawNetwork::default_of(target.interface, target.origin);
        write_count(&mut value[8..], target.sent);
        self.networks.insert(&Key::new(length, bytes), value, 0).with_context(failed)
    }

    pub fn remove(&mut self, prefix: Prefix) -> Result<bool> {
        let removed = if matches!(prefix, Prefix::V4(_, 32) | Prefix::V6(_, 128)) {
            self.pods.remove(&raw_address(prefix))
        } else {
            let (bytes, length) = raw_network(prefix);
            self.networks.remove(&Key::new(length, bytes))
        };
        match removed {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            // For tries, aya has no separate error for a missing key.
            Err(MapError::SyscallError(call)) if call.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| format!("cannot remove {prefix}")),
        }
    }
}

trait Begun {
    fn default_of(interface: InterfaceIndex, origin: Origin) -> Self;
}

impl<const LENGTH: usize> Begun for [u8; LENGTH] {
    fn default_of(interface: InterfaceIndex, origin: Origin) -> Self {
        let mut value = [0; LENGTH];
        value[..4].copy_from_slice(&interface.0.to_ne_bytes());
        value[4..8].copy_from_slice(&(origin as u32).to_ne_bytes());
        value
    }
}

pub const fn whole(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(address) => Prefix::V4(address, 32),
        IpAddr::V6(address) => Prefix::V6(address, 128),
    }
}

const fn raw_address(prefix: Prefix) -> RawAddress {
    match prefix {
        Prefix::V4(address, _) => address.to_ipv6_mapped().octets(),
        Prefix::V6(address, _) => address.octets(),
    }
}

fn raw_network(prefix: Prefix) -> (RawPrefix, u32) {
    let (family, length) = match prefix {
        Prefix::V4(_, length) => (FAMILY_V4, MAPPED_BITS + length),
        Prefix::V6(_, length) => (FAMILY_V6, length),
    };
    let mut bytes = RawPrefix::default();
    bytes[..4].copy_from_slice(&family.to_ne_bytes());
    bytes[4..].copy_from_slice(&raw_address(prefix));
    (bytes, FAMILY_BITS + length)
}

fn network_of([a, b, c, d, address @ ..]: RawPrefix, length: u32) -> Prefix {
    let (address, length) = (Ipv6Addr::from(address), length.saturating_sub(FAMILY_BITS));
    match address.to_ipv4_mapped() {
        Some(address) if u32::from_ne_bytes([a, b, c, d]) == FAMILY_V4 => {
            Prefix::V4(address, length.saturating_sub(MAPPED_BITS))
        }
        _ => Prefix::V6(address, length),
    }
}

fn read_pod(value: &RawPod) -> Target {
    let mac = |at: usize| {
        let mut bytes = [0; 6];
        bytes.copy_from_slice(&value[at..at + 6]);
        Mac(bytes)
    };
    let (interface, origin) = begin(value);
    Target { interface, origin, macs: Some((mac(8), mac(14))), sent: read_count(&value[24..]) }
}

fn read_network(value: &RawNetwork) -> Target {
    let (interface, origin) = begin(value);
    Target { interface, origin, macs: None, sent: read_count(&value[8..]) }
}

fn begin(value: &[u8]) -> (InterfaceIndex, Origin) {
    let word = |at: usize| u32::from_ne_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
    let origin = if word(4) == Origin::Synced as u32 { Origin::Synced } else { Origin::Added };
    (InterfaceIndex(word(0)), origin)
}

fn read_count(bytes: &[u8]) -> Count {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    Count { packets: word(0), bytes: word(8) }
}

fn write_count(bytes: &mut [u8], count: Count) {
    bytes[..8].copy_from_slice(&count.packets.to_ne_bytes());
    bytes[8..16].copy_from_slice(&count.bytes.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_both_families_come_back_as_they_went_in() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/64", "::/0", "::ffff:0:0/96"] {
            let prefix: Prefix = text.parse().unwrap();
            let (bytes, length) = raw_network(prefix);
            assert_eq!(network_of(bytes, length), prefix, "{text}");
        }
        for text in ["10.0.0.5/32", "fd00::5/128"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(whole(Ipv6Addr::from(raw_address(prefix)).to_canonical()), prefix, "{text}");
        }
    }

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let count = Count { packets: 7, bytes: 700 };
        let mut value = RawPod::default_of(InterfaceIndex(9), Origin::Synced);
        value[8..14].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        write_count(&mut value[24..], count);
        let pod = read_pod(&value);
        assert_eq!((pod.interface, pod.origin, pod.sent), (InterfaceIndex(9), Origin::Synced, count));
        assert_eq!(pod.macs, Some((Mac([2, 0, 0, 0, 0, 1]), Mac([0; 6]))));
    }
}
