use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use aya::maps::{HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::source::MapSource;

/// Key of the rule for all other ports: no connection uses port 0.
const REST: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    Deny = 0,
    Allow = 1,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports {
    All,
    One(u16),
}

impl FromStr for Ports {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(0) | Err(_)) => bail!("`{text}` is neither a port, 1 to 65535, nor `all`"),
            (_, Ok(port)) => Ok(Self::One(port)),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(port) => write!(f, "{port}"),
        }
    }
}

pub struct Rules {
    map: HashMap<MapData, u32, u32>,
}

impl Rules {
    pub fn open(maps: &MapSource, access: MapAccess) -> Result<Self> {
        Ok(Self { map: maps.open("ports", access)? })
    }

    pub fn read(&self) -> Result<Vec<(Ports, Verdict)>> {
        let mut rules = vec![(Ports::All, self.rest()?)];
        for entry in self.map.iter() {
            let (key, verdict) = entry.context("cannot read the rules")?;
            if let Some(port) = u16::try_from(key).ok().filter(|_| key != REST) {
                rules.push((Ports::One(port), verdict_of(verdict)));
            }
        }
        rules.sort_by_key(|(ports, _)| *ports);
        Ok(rules)
    }

    pub fn set(&mut self, ports: Ports, verdict: Verdict) -> Result<()> {
        match ports {
            Ports::All => {
                self.insert(REST, verdict)?;
                for (port, _) in self.read()? {
                    if let Ports::One(port) = port {
                        self.remove(port)?;
                    }
                }
                Ok(())
            }
            Ports::One(port) if verdict == self.rest()? => self.remove(port),
            Ports::One(port) => self.insert(port.into(), verdict),
        }
    }

    /// Replaces all rules, each port's directly. Without a rule for all ports, other ports are allowed.
    pub fn replace(&mut self, rules: &BTreeMap<Ports, Verdict>) -> Result<()> {
        let rest = rules.get(&Ports::All).copied().unwrap_or(Verdict::Allow);
        let old: Vec<Ports> = self.read()?.into_iter().map(|(ports, _)| ports).collect();
        let of = |ports| rules.get(&ports).copied().unwrap_or(rest);
        let named = old.iter().chain(rules.keys()).filter_map(|ports| match ports {
            Ports::One(port) => Some(*port),
            Ports::All => None,
        });
        let named: Vec<u16> = named.collect();
        // First write a rule for each named port, so that it has its new verdict while the rule for all others changes.
        named.iter().try_for_each(|port| self.insert((*port).into(), of(Ports::One(*port))))?;
        self.insert(REST, rest)?;
        named.iter().filter(|port| of(Ports::One(**port)) == rest).try_for_each(|port| self.remove(*port))
    }

    fn rest(&self) -> Result<Verdict> {
        match self.map.get(&REST, 0) {
            Ok(verdict) => Ok(verdict_of(verdict)),
            Err(MapError::KeyNotFound) => Ok(Verdict::Allow),
            Err(error) => Err(error).context("cannot read the rules"),
        }
    }

    fn insert(&mut self, key: u32, verdict: Verdict) -> Result<()> {
        self.map.insert(key, verdict as u32, 0).context("cannot write the rule")
    }

    fn remove(&mut self, port: u16) -> Result<()> {
        match self.map.remove(&port.into()) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(error).context("cannot remove the rule"),
        }
    }
}

const fn verdict_of(raw: u32) -> Verdict {
    if raw == Verdict::Deny as u32 { Verdict::Deny } else { Verdict::Allow }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_that_connections_have() {
        assert_eq!("8080".parse::<Ports>().unwrap(), Ports::One(8080));
        assert_eq!("all".parse::<Ports>().unwrap(), Ports::All);
        for wrong in ["0", "65536", "http", "", "-1", "80-90"] {
            assert!(wrong.parse::<Ports>().unwrap_err().to_string().contains("1 to 65535"), "{wrong}");
        }
    }
}
