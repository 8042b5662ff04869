use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use bpfman_model::{AddressedInterface, IfIndex, InterfaceFacts};

use super::netlink::{DUMP, Message, NetlinkError, Request, attribute, talk_by, u32_at};
use super::{interfaces, netlink, netns};
use crate::KernelError;

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

pub fn list(path: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
    netns::enter(path, || {
        let looked = || -> io::Result<Vec<AddressedInterface>> {
            let socket = netlink::socket()?;
            let interfaces = interfaces::list_by(&socket)?;
            let mut addresses = addresses_by(&socket)?;
            let mut of = |ifindex| addresses.remove(&ifindex).unwrap_or_default().into_iter().collect();
            let with = |facts: InterfaceFacts| AddressedInterface { addresses: of(facts.ifindex), facts };
            Ok(interfaces.into_iter().map(with).collect())
        };
        looked().map_err(|source| interfaces::failed(path, source))
    })
}

fn addresses_by(socket: &OwnedFd) -> io::Result<BTreeMap<IfIndex, BTreeSet<IpAddr>>> {
    let request = Request::new(RTM_GETADDR, DUMP, &[0; IFADDRMSG]).finish();
    let mut found: BTreeMap<IfIndex, BTreeSet<IpAddr>> = BTreeMap::new();
    for (ifindex, address) in
        talk_by(socket, &request).map_err(NetlinkError::in_words)?.iter().filter_map(address)
    {
        found.entry(ifindex).or_default().insert(address);
    }
    Ok(found)
}

/// On IPv4 point-to-point links, `IFA_ADDRESS` is the peer; every IPv4 address has `IFA_LOCAL`.
pub(super) fn address((kind, body): &Message) -> Option<(IfIndex, IpAddr)> {
    if *kind != RTM_NEWADDR {
        return None;
    }
    let attributes = body.get(IFADDRMSG..)?;
    let bytes = attribute(attributes, IFA_LOCAL).or_else(|| attribute(attributes, IFA_ADDRESS))?;
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some((IfIndex(u32_at(body, 4)?), address))
}
