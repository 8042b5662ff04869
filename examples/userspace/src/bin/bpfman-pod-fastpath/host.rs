//! Interfaces, neighbours and routes of this network namespace, read from the kernel. No privileges are needed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context, Error, Result};
use bpfman_examples::failure::Failure;

use crate::netlink::{Answer, ask, attribute, number};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("`{text}` is no MAC address, such as 02:00:00:00:00:01");
        let bytes: Vec<u8> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2))
            .collect::<Option<_>>()
            .with_context(wrong)?;
        Ok(Self(<[u8; 6]>::try_from(bytes).ok().with_context(wrong)?))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[derive(Clone, Debug)]
pub struct Interface {
    pub index: InterfaceIndex,
    pub mac: Mac,
    pub leads_to_peer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoute {
    pub address: IpAddr,
    pub interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Neighbour {
    address: IpAddr,
    interface: InterfaceIndex,
    mac: Mac,
}

pub struct Host {
    interfaces: BTreeMap<String, Interface>,
    neighbours: Vec<Neighbour>,
    routes: Vec<HostRoute>,
}

impl Host {
    pub fn read() -> Result<Self> {
        let list = |kind, header: &[u8]| ask(None, kind, Answer::List, header);
        let links = list(GET_LINK, &[0; LINK_HEADER]).context("cannot ask the kernel for interfaces")?;
        let interfaces: BTreeMap<String, Interface> =
            links.iter().filter_map(|link| interface(link)).collect();
        let neighbours =
            list(GET_NEIGHBOUR, &[0; NEIGHBOUR_HEADER]).context("cannot ask the kernel for neighbours")?;
        let neighbours = neighbours.iter().filter_map(|entry| neighbour(entry)).collect();
        let name = |index: InterfaceIndex| interfaces.iter().find(|(_, one)| one.index == index);
        let mut routes = Vec::new();
        for family in [FAMILY_V4, FAMILY_V6] {
            let mut header = [0; ROUTE_HEADER];
            header[0] = family;
            let told = list(GET_ROUTE, &header).context("cannot ask the kernel for routes")?;
            for (address, index) in told.iter().filter_map(|route| host_route(route)) {
                if let Some((name, _)) = name(index) {
                    routes.push(HostRoute { address, interface: name.clone() });
                }
            }
        }
        routes.sort_by_key(|route| route.address);
        Ok(Self { interfaces, neighbours, routes })
    }

    pub fn interface(&self, name: &str) -> Result<&Interface> {
        let missing = || {
            Failure::not_found(
                format!("there is no interface \"{name}\" in this network namespace"),
                "`ip link` shows all",
            )
        };
        Ok(self.interfaces.get(name).ok_or_else(missing)?)
    }

    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    pub fn name_of(&self, index: InterfaceIndex) -> Option<&str> {
        self.interfaces.iter().find(|(_, one)| one.index == index).map(|(name, _)| name.as_str())
    }

    pub fn mac_of(&self, address: IpAddr, interface: &str) -> Option<Mac> {
        let index = self.interfaces.get(interface)?.index;
        let entry = self.neighbours.iter().find(|one| one.interface == index && one.address == address)?;
        Some(entry.mac)
    }

    pub fn routes_to_peers(&self) -> Vec<HostRoute> {
        let to_peer = |name: &str| self.interfaces.get(name).is_some_and(|one| one.leads_to_peer);
        self.routes.iter().filter(|route| to_peer(&route.interface)).cloned().collect()
    }
}

const GET_LINK: u16 = 18;
const GET_ROUTE: u16 = 26;
const GET_NEIGHBOUR: u16 = 30;
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const LINK_INFO_KIND: u16 = 1;
const LINK_PEER_NAMESPACE: u16 = 37;

fn interface(message: &[u8]) -> Option<(String, Interface)> {
    let index = InterfaceIndex(u32::from_ne_bytes(number(message, 4)?));
    let attributes = message.get(LINK_HEADER..)?;
    let name = text(attribute(attributes, LINK_NAME)?)?;
    let mac = attribute(attributes, LINK_ADDRESS).and_then(mac).unwrap_or(Mac([0; 6]));
    let kind = attribute(attributes, LINK_INFO).and_then(|info| attribute(info, LINK_INFO_KIND));
    let kind = kind.and_then(text).unwrap_or_default();
    // The kernel reports the namespace of an interface's peer if it is another one of this machine.
    let elsewhere = attribute(attributes, LINK_PEER_NAMESPACE).is_some();
    let leads_to_peer = matches!(&*kind, "veth" | "netkit") && elsewhere;
    Some((name, Interface { index, mac, leads_to_peer }))
}

const NEIGHBOUR_ADDRESS: u16 = 1;
const NEIGHBOUR_MAC: u16 = 2;
/// Learned or configured neighbours: all states except `NUD_NOARP`, which multicast has, and none.
const LEARNT: u16 = 0xbf;

fn neighbour(message: &[u8]) -> Option<Neighbour> {
    let interface = InterfaceIndex(u32::from_ne_bytes(number(message, 4)?));
    let state = u16::from_ne_bytes(number(message, 8)?);
    let attributes = message.get(NEIGHBOUR_HEADER..)?;
    let address = address(attribute(attributes, NEIGHBOUR_ADDRESS)?)?;
    let mac = mac(attribute(attributes, NEIGHBOUR_MAC)?)?;
    (state & LEARNT != 0).then_some(Neighbour { address, interface, mac })
}

const ROUTE_TO: u16 = 1;
const ROUTE_INTERFACE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_TABLE: u16 = 15;
const ROUTE_VIA: u16 = 18;
const MAIN_TABLE: u32 = 254;
/// `RTN_UNICAST`: packets are forwarded, not rejected or delivered locally.
const UNICAST: u8 = 1;
/// `RTM_F_CLONED`: a cache entry that the kernel created from a route.
const CLONED: u32 = 0x200;

fn host_route(message: &[u8]) -> Option<(IpAddr, InterfaceIndex)> {
    let [_family, length, _from, _tos, table, _protocol, _scope, kind] = number(message, 0)?;
    let flags = u32::from_ne_bytes(number(message, 8)?);
    let attributes = message.get(ROUTE_HEADER..)?;
    let table = match attribute(attributes, ROUTE_TABLE) {
        Some(bytes) => u32::from_ne_bytes(number(bytes, 0)?),
        None => u32::from(table),
    };
    let is_direct = [ROUTE_GATEWAY, ROUTE_VIA].iter().all(|kind| attribute(attributes, *kind).is_none());
    if table != MAIN_TABLE || kind != UNICAST || flags & CLONED != 0 || !is_direct {
        return None;
    }
    let to = attribute(attributes, ROUTE_TO)?;
    if usize::from(length) != to.len() * 8 {
        return None;
    }
    let interface = u32::from_ne_bytes(number(attribute(attributes, ROUTE_INTERFACE)?, 0)?);
    Some((address(to)?, InterfaceIndex(interface)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(number::<4>(bytes, 0)?)),
        16 => Some(IpAddr::from(number::<16>(bytes, 0)?)),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(bytes).ok().map(Mac)
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::netlink::written;

    #[test]
    fn a_mac_address_prints_as_it_was_written() {
        let text = "02:00:0a:ff:00:01";
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
        for wrong in ["", "02:00", "02:00:0a:ff:00:01:02", "02:00:0a:ff:00:zz", "2:0:a:f:0:1"] {
            assert!(wrong.parse::<Mac>().unwrap_err().to_string().contains("no MAC address"), "{wrong}");
        }
    }

    fn route(length: u8, kind: u8, others: &[Vec<u8>]) -> Vec<u8> {
        let header = vec![FAMILY_V4, length, 0, 0, 254, 3, 253, kind, 0, 0, 0, 0];
        let interface = written(ROUTE_INTERFACE, &7_u32.to_ne_bytes());
        [&[header, interface][..], others].concat().concat()
    }

    #[test]
    fn a_host_route_is_one_address_straight_out_of_an_interface() {
        let to = |address: &[u8]| written(ROUTE_TO, address);
        let pod = to(&[10, 0, 0, 5]);
        let found = |address: &str| Some((address.parse::<IpAddr>().unwrap(), InterfaceIndex(7)));
        assert_eq!(host_route(&route(32, UNICAST, from_ref(&pod))), found("10.0.0.5"));
        let v6 = "fd00::5".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(host_route(&route(128, UNICAST, &[to(&v6)])), found("fd00::5"));
        let gateway = written(ROUTE_GATEWAY, &[10, 0, 0, 1]);
        let via = written(ROUTE_VIA, &[0; 18]);
        let elsewhere = written(ROUTE_TABLE, &1000_u32.to_ne_bytes());
        for (what, refused) in [
            ("by a gateway", route(32, UNICAST, &[pod.clone(), gateway])),
            ("by one of another family", route(32, UNICAST, &[pod.clone(), via])),
            ("of another table", route(32, UNICAST, &[pod.clone(), elsewhere])),
            ("to a network", route(16, UNICAST, &[to(&[10, 1, 0, 0])])),
            ("to anywhere", route(0, UNICAST, &[])),
            ("that refuses", route(32, 7, &[pod])),
        ] {
            assert_eq!(host_route(&refused), None, "one {what}");
        }
        assert_eq!(host_route(&[0; 4]), None, "cut off");
    }

    #[test]
    fn an_interface_and_a_neighbour_are_read_field_by_field() {
        let mut header = vec![0; LINK_HEADER];
        header[4] = 7;
        let mac = [2, 0, 0, 0, 0, 1];
        let link = |kind: &[u8], others: &[Vec<u8>]| {
            let info = written(LINK_INFO, &written(LINK_INFO_KIND, kind));
            let own = [header.clone(), written(LINK_NAME, b"veth1\0"), written(LINK_ADDRESS, &mac), info];
            interface(&[&own[..], others].concat().concat()).unwrap()
        };
        let peer = written(LINK_PEER_NAMESPACE, &[0; 4]);
        let (name, pod) = link(b"veth\0", from_ref(&peer));
        assert_eq!(
            (&*name, pod.index, pod.mac, pod.leads_to_peer),
            ("veth1", InterfaceIndex(7), Mac(mac), true)
        );
        assert!(!link(b"veth\0", &[]).1.leads_to_peer, "both ends are here");
        assert!(!link(b"vlan\0", &[peer]).1.leads_to_peer);

        let entry = |state: u8| {
            let header = vec![FAMILY_V4, 0, 0, 0, 7, 0, 0, 0, state, 0, 0, 1];
            neighbour(
                &[header, written(NEIGHBOUR_ADDRESS, &[10, 0, 0, 5]), written(NEIGHBOUR_MAC, &mac)].concat(),
            )
        };
        let address = "10.0.0.5".parse().unwrap();
        let learnt = Neighbour { address, interface: InterfaceIndex(7), mac: Mac(mac) };
        assert_eq!(entry(2), Some(learnt));
        assert_eq!(entry(0x40), None, "of multicast");
    }
}
