//! What the host knows of interfaces, neighbours and routes: as `ip -json` prints it, in this network namespace. That takes no
//! privileges.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use serde_json::Value;

/// The number of an interface in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceIndex(pub u32);

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// `02:00:00:00:00:01`.
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

/// An interface of the host.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its number.
    pub index: InterfaceIndex,
    /// Its own address.
    pub mac: Mac,
    /// Its other end is an interface of another namespace: packets can be redirected there.
    pub leads_to_peer: bool,
}

/// A route of the host to one address, straight out of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRoute {
    /// Of full length.
    pub address: IpAddr,
    /// By its name.
    pub interface: String,
}

/// What `ip` has said.
pub struct Host {
    interfaces: BTreeMap<String, Interface>,
    neighbours: Vec<Value>,
    routes: Vec<Value>,
}

impl Host {
    /// Asks.
    pub fn read() -> Result<Self> {
        let interfaces = ip(&["-details", "link", "show"])?.iter().filter_map(interface).collect();
        let neighbours = ip(&["neighbour", "show"])?;
        let mut routes = ip(&["-4", "route", "show"])?;
        routes.extend(ip(&["-6", "route", "show"])?);
        Ok(Self { interfaces, neighbours, routes })
    }

    /// An interface by its name.
    pub fn interface(&self, name: &str) -> Result<&Interface> {
        let missing = || {
            Failure::not_found(
                format!("there is no interface \"{name}\" in this network namespace"),
                "`ip link` shows all",
            )
        };
        Ok(self.interfaces.get(name).ok_or_else(missing)?)
    }

    /// All of them.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// The name of an interface, if it is still there.
    pub fn name_of(&self, index: InterfaceIndex) -> Option<&str> {
        self.interfaces.iter().find(|(_, one)| one.index == index).map(|(name, _)| name.as_str())
    }

    /// The hardware address that an address has at an interface, where the host has learnt it.
    pub fn mac_of(&self, address: IpAddr, interface: &str) -> Option<Mac> {
        let entry = self.neighbours.iter().find(|one| {
            one["dev"] == interface && one["dst"].as_str().and_then(|dst| dst.parse().ok()) == Some(address)
        })?;
        entry["lladdr"].as_str()?.parse().ok()
    }

    /// Routes to one address that lead to the other end of an interface.
    pub fn routes_to_peers(&self) -> Vec<HostRoute> {
        let to_peer = |name: &str| self.interfaces.get(name).is_some_and(|one| one.leads_to_peer);
        self.routes.iter().filter_map(host_route).filter(|route| to_peer(&route.interface)).collect()
    }
}

fn interface(link: &Value) -> Option<(String, Interface)> {
    let name = link["ifname"].as_str()?.to_owned();
    let index = InterfaceIndex(link["ifindex"].as_u64()?.try_into().ok()?);
    let mac = link["address"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Mac([0; 6]));
    let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or_default();
    // One whose other end is in a namespace of this machine's says so by that namespace's number.
    let elsewhere = link["link_netnsid"].is_number();
    Some((name, Interface { index, mac, leads_to_peer: matches!(kind, "veth" | "netkit") && elsewhere }))
}

fn host_route(route: &Value) -> Option<HostRoute> {
    let prefix: Prefix = route["dst"].as_str()?.parse().ok()?;
    if !route["gateway"].is_null() || !route["type"].is_null() {
        return None;
    }
    let address = match prefix {
        Prefix::V4(address, 32) => address.into(),
        Prefix::V6(address, 128) => address.into(),
        Prefix::V4(..) | Prefix::V6(..) => return None,
    };
    Some(HostRoute { address, interface: route["dev"].as_str()?.to_owned() })
}

fn ip(words: &[&str]) -> Result<Vec<Value>> {
    let ran = Command::new("ip").arg("-json").args(words).output();
    let missing =
        |error| Failure::not_found(format!("cannot run `ip`: {error}"), "it is in the package iproute2");
    let output = ran.map_err(missing)?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    // Nothing at all where there is nothing to tell.
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`ip {}` wrote what is no JSON", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_prints_as_it_was_written() {
        let text = "02:00:0a:ff:00:01";
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
        for wrong in ["", "02:00", "02:00:0a:ff:00:01:02", "02:00:0a:ff:00:zz", "2:0:a:f:0:1"] {
            assert!(wrong.parse::<Mac>().unwrap_err().to_string().contains("no MAC address"), "{wrong}");
        }
    }

    #[test]
    fn a_host_route_is_one_address_straight_out_of_an_interface() {
        let routes = serde_json::json!([
            { "dst": "default", "gateway": "192.0.2.1", "dev": "eth0" },
            { "dst": "10.0.0.5", "dev": "veth1", "scope": "link" },
            { "dst": "10.0.0.6", "gateway": "10.0.0.5", "dev": "veth1" },
            { "dst": "10.1.0.0/16", "dev": "veth2" },
            { "type": "unreachable", "dst": "10.0.0.7", "dev": "lo" },
            { "dst": "fd00::5", "dev": "veth1" },
        ]);
        let found: Vec<_> = routes.as_array().unwrap().iter().filter_map(host_route).collect();
        let route =
            |address: &str| HostRoute { address: address.parse().unwrap(), interface: "veth1".to_owned() };
        assert_eq!(found, [route("10.0.0.5"), route("fd00::5")]);
    }
}
