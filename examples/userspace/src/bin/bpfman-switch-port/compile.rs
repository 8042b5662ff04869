use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use bpfman_examples::failure::Failure;
use bpfman_examples::prefix::Prefix;
use bpfman_examples::service::Service;

use crate::rule::{Direction, Mac, Phase, PortName, Rule};

const MAX_PORTS: usize = 256;
const MAX_ADDRESSES: usize = 4096;
const MAX_SERVICES: usize = 32_768;
const MAX_PEERS: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u32);

#[derive(Clone, Debug)]
pub struct Port {
    pub mac: Option<Mac>,
    pub addresses: Vec<IpAddr>,
}

pub type Peer = (PortIndex, Direction, Prefix);

#[derive(Debug)]
pub struct Compiled {
    pub ports: BTreeMap<PortIndex, Port>,
    pub peers: Vec<(Peer, u32)>,
    pub services: Vec<(u32, Service)>,
    pub timeouts: [u32; 3],
}

pub fn compile(rules: &[Rule], find: impl Fn(&PortName) -> Result<PortIndex>) -> Result<Compiled> {
    let mut compiled = Compiled {
        ports: BTreeMap::new(),
        peers: Vec::new(),
        services: Vec::new(),
        timeouts: [60, 7200, 60],
    };
    let mut indices = BTreeMap::new();
    for rule in rules {
        let Rule::Port { name, mac, addresses } = rule else { continue };
        let index = find(name)?;
        if indices.insert(name, index).is_some() {
            return Err(wrong(format!("two rules say what port {name} is")));
        }
        compiled.ports.insert(index, Port { mac: *mac, addresses: addresses.clone() });
    }
    let mut peers: BTreeMap<Peer, Vec<Service>> = BTreeMap::new();
    let mut phases: Vec<Phase> = Vec::new();
    for rule in rules {
        match rule {
            Rule::Port { .. } => {}
            Rule::Timeout { phase, .. } if phases.contains(phase) => {
                return Err(wrong(format!("two rules are about the same timeout as `{rule}`")));
            }
            Rule::Timeout { phase, seconds } => {
                compiled.timeouts[*phase as usize] = *seconds;
                phases.push(*phase);
            }
            Rule::Allow { port, direction, peer, service } => {
                let Some(index) = indices.get(port) else {
                    return Err(wrong(format!(
                        "`{rule}` is about port {port}, and there is no rule `port {port}`"
                    )));
                };
                for prefix in peer.map_or(everybody().to_vec(), |prefix| vec![prefix]) {
                    peers.entry((*index, *direction, prefix)).or_default().push(*service);
                }
            }
        }
    }
    for ((peer, _), number) in peers.iter().zip(1..) {
        let (index, direction, prefix) = *peer;
        compiled.peers.push((*peer, number));
        // A frame matches only the longest prefix, so each prefix includes what wider prefixes allow.
        let around = peers.iter().filter(|((other, way, wider), _)| {
            (*other, *way) == (index, direction) && wider.contains(prefix)
        });
        let mut services: Vec<Service> = around.flat_map(|(_, services)| services).copied().collect();
        services.sort();
        services.dedup();
        compiled.services.extend(services.into_iter().map(|service| (number, service)));
    }
    check("ports", compiled.ports.len(), MAX_PORTS)?;
    let addresses = compiled.ports.values().map(|port| port.addresses.len()).sum();
    check("addresses of ports", addresses, MAX_ADDRESSES)?;
    check("prefixes of rules", compiled.peers.len(), MAX_PEERS)?;
    check("protocols and ports of rules", compiled.services.len(), MAX_SERVICES)?;
    Ok(compiled)
}

fn everybody() -> [Prefix; 2] {
    [Prefix::V4(Ipv4Addr::UNSPECIFIED, 0), Prefix::V6(Ipv6Addr::UNSPECIFIED, 0)]
}

fn wrong(message: String) -> anyhow::Error {
    Failure::invalid(message, "nothing was changed").into()
}

fn check(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most {
        return Err(wrong(format!("there is room for {most} {what}, and not for {count}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(text: &str) -> Result<Compiled> {
        let rules: Vec<Rule> = text.lines().map(|line| line.parse().unwrap()).collect();
        compile(&rules, |name| Ok(PortIndex(name.0.len() as u32)))
    }

    #[test]
    fn longer_prefix_inherits_services_of_its_direction_and_port() {
        let compiled = compiled(
            "port a\nport bb\nallow a out proto icmp\nallow a out to 10.0.0.0/8 proto tcp\n\
             allow a in from 10.0.0.0/8 proto udp\nallow bb out to 10.0.0.0/8",
        )
        .unwrap();
        let of = |port: u32, direction: Direction, prefix: &str| {
            let key = (PortIndex(port), direction, prefix.parse().unwrap());
            let (_, number) = compiled.peers.iter().find(|(peer, _)| *peer == key).unwrap();
            let own = compiled.services.iter().filter(|(other, _)| other == number);
            own.map(|(_, service)| service.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(1, Direction::Out, "10.0.0.0/8"), [" proto icmp", " proto tcp"]);
        assert_eq!(of(1, Direction::Out, "::/0"), [" proto icmp"]);
        assert_eq!(of(1, Direction::In, "10.0.0.0/8"), [" proto udp"]);
        assert_eq!(of(2, Direction::Out, "10.0.0.0/8"), [""]);
    }

    #[test]
    fn contradicting_rules_are_refused_with_reason() {
        for (text, reason) in [
            ("allow a out", "there is no rule `port a`"),
            ("port a\nport a mac 02:00:00:00:00:01", "two rules say what port a is"),
            ("timeout other 3\ntimeout other 4", "the same timeout as `timeout other 4`"),
        ] {
            let error = compiled(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
