use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuHashMap, PerCpuValues};
use aya::util::nr_cpus;
use bpfman_client::MapAccess;
use bpfman_examples::address::to_words;
use bpfman_examples::failure::Failure;
use bpfman_examples::generation::{self, RuleTexts, clear_table, clear_trie};
use bpfman_examples::prefix::Prefix;
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::compile::{Compiled, Port, PortIndex, compile};
use crate::rule::{Direction, PortName, Rule};

pub const MAX_RULES: usize = 4096;
const PLACES: u32 = 65_536;
const CHECK_MAC: u16 = 1;
const CHECK_ADDRESS: u16 = 2;
const BITS_BEFORE_ADDRESS: u32 = 96;
const MAPPED_BITS: u32 = 96;

pub type RawCounts = [u64; 12];

pub fn rules_in_force(maps: &MapSource) -> Result<Vec<(Rule, PortIndex)>> {
    let generation = generation_of(&maps.open("active", MapAccess::Read)?)?;
    read_rules(&RuleTexts::new(maps.open("rules", MapAccess::Read)?), generation)
}

pub fn port_names(maps: &MapSource) -> Result<BTreeMap<PortIndex, PortName>> {
    let rules = rules_in_force(maps)?;
    Ok(rules.into_iter().filter_map(|(rule, index)| Some((index, rule.port()?.clone()))).collect())
}

pub fn generation_of(active: &Array<MapData, u64>) -> Result<u32> {
    Ok(active.get(&0, 0).context("cannot read which rules are active")? as u32)
}

fn read_rules(texts: &RuleTexts, generation: u32) -> Result<Vec<(Rule, PortIndex)>> {
    let rules = texts.read(generation)?.into_iter();
    rules
        .map(|(index, text)| Ok((text.parse().context("the map holds no rule")?, PortIndex(index))))
        .collect()
}

fn find_port(name: &PortName) -> Result<PortIndex> {
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None).context("cannot ask for interfaces")?;
    match name_to_index(any, &name.0) {
        Ok(index) => Ok(PortIndex(index)),
        Err(rustix::io::Errno::NODEV) => Err(Failure::not_found(
            format!("there is no interface {name} in this network namespace"),
            "nothing was changed; where the bridge is in another one: nsenter --net=FILE bpfman-switch-port …",
        )
        .into()),
        Err(error) => Err(error).with_context(|| format!("cannot find interface {name}")),
    }
}

pub struct Switch {
    active: Array<MapData, u64>,
    ports: HashMap<MapData, [u32; 2], [u32; 4]>,
    addresses: HashMap<MapData, [u32; 6], u32>,
    peers: LpmTrie<MapData, [u32; 7], u32>,
    services: HashMap<MapData, [u32; 3], u32>,
    timeouts: Array<MapData, [u32; 3]>,
    stats: PerCpuHashMap<MapData, u32, RawCounts>,
    texts: RuleTexts,
    turn: Turn,
}

impl Switch {
    pub fn open(maps: &MapSource) -> Result<Self> {
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            ports: maps.open("ports", MapAccess::Write)?,
            addresses: maps.open("addresses", MapAccess::Write)?,
            peers: maps.open("peers", MapAccess::Write)?,
            services: maps.open("services", MapAccess::Write)?,
            timeouts: maps.open("timeouts", MapAccess::Write)?,
            stats: maps.open("stats", MapAccess::Write)?,
            texts: RuleTexts::new(maps.open("rules", MapAccess::Write)?),
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    /// Replaces all rules; remaining ports keep connections and counters. On failure, the old rules stay.
    pub fn replace(&mut self, rules: &[Rule]) -> Result<()> {
        let compiled = compile(rules, find_port)?;
        self.turn.take()?;
        let done = self.replace_alone(rules, &compiled);
        self.turn.end().and(done)
    }

    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn replace_alone(&mut self, rules: &[Rule], compiled: &Compiled) -> Result<()> {
        let now = generation_of(&self.active)?;
        let next = generation::after(now);
        self.clear_all_but(now).context("cannot clear what is not in use")?;
        self.write(next, compiled)?;
        let index = |rule: &Rule| rule.port().map_or(Ok(0), |name| find_port(name).map(|index| index.0));
        let texts = rules.iter().map(|rule| Ok((index(rule)?, rule.to_string())));
        self.texts.write(next, texts.collect::<Result<Vec<_>>>()?)?;
        self.active.set(0, u64::from(next), 0).context("cannot put the rules in force")?;
        generation::wait_for_packets();
        self.clear_all_but(next).context("the rules are in force, but the old ones cannot be cleared")?;
        self.forget_counts(compiled).context("the rules are in force, but counts of others cannot be cleared")
    }

    fn write(&mut self, generation: u32, compiled: &Compiled) -> Result<()> {
        self.timeouts.set(generation & 1, compiled.timeouts, 0).context("cannot write the timeouts")?;
        // Every port has a share, and share 0 is for connections begun at ports without rules.
        let share = PLACES / (compiled.ports.len() as u32 + 1);
        for ((index, port), number) in compiled.ports.iter().zip(1..) {
            self.write_port(generation, *index, port, [number * share, share])
                .with_context(|| format!("cannot write port {}", index.0))?;
        }
        for ((index, direction, prefix), number) in &compiled.peers {
            let (version, address, length) = match *prefix {
                Prefix::V4(address, length) => (4_u16, IpAddr::V4(address), MAPPED_BITS + length),
                Prefix::V6(address, length) => (6, IpAddr::V6(address), length),
            };
            let [a, b] = u16::from(*direction == Direction::In).to_ne_bytes();
            let [c, d] = version.to_ne_bytes();
            let way = u32::from_ne_bytes([a, b, c, d]);
            let [e, f, g, h] = to_words(address);
            let key = Key::new(BITS_BEFORE_ADDRESS + length, [generation, index.0, way, e, f, g, h]);
            self.peers.insert(&key, *number, 0).with_context(|| format!("cannot write prefix {prefix}"))?;
        }
        for (number, service) in &compiled.services {
            let key = [generation, *number, service.to_word()];
            self.services.insert(key, 1, 0).context("cannot write a rule's service")?;
        }
        Ok(())
    }

    fn write_port(&mut self, generation: u32, index: PortIndex, port: &Port, places: [u32; 2]) -> Result<()> {
        let Port { mac, addresses } = port;
        let checks =
            if mac.is_some() { CHECK_MAC } else { 0 } | if addresses.is_empty() { 0 } else { CHECK_ADDRESS };
        let [a, b, c, d, e, f] = mac.map_or([0; 6], |mac| mac.0);
        let [g, h] = checks.to_ne_bytes();
        let [first, second] = [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes);
        let [place, share] = places;
        self.ports.insert([generation, index.0], [first, second, place, share], 0)?;
        for address in addresses {
            let [a, b, c, d] = to_words(*address);
            self.addresses.insert([generation, index.0, a, b, c, d], 1, 0)?;
        }
        match self.stats.get(&index.0, 0) {
            Err(MapError::KeyNotFound) => {
                let none = PerCpuValues::try_from(vec![[0; 12]; nr_cpus().map_err(|(_, error)| error)?])?;
                self.stats.insert(index.0, none, 0)?;
            }
            found => drop(found?),
        }
        Ok(())
    }

    fn clear_all_but(&mut self, generation: u32) -> Result<(), MapError> {
        clear_table(&mut self.ports, |key| key[0] != generation)?;
        clear_table(&mut self.addresses, |key| key[0] != generation)?;
        clear_table(&mut self.services, |key| key[0] != generation)?;
        clear_trie(&mut self.peers, |key| key[0] != generation)?;
        self.texts.clear_all_but(generation)
    }

    fn forget_counts(&mut self, compiled: &Compiled) -> Result<(), MapError> {
        let keys = self.stats.keys().collect::<Result<Vec<_>, _>>()?;
        let gone = keys.iter().filter(|index| !compiled.ports.contains_key(&PortIndex(**index)));
        gone.copied().try_for_each(|index| self.stats.remove(&index))
    }
}
