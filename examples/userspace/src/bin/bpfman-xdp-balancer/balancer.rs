use std::collections::{BTreeMap, HashMap as Table, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use bpfman_client::MapAccess;
use bpfman_examples::count::RawCount;
use bpfman_examples::failure::Failure;
use bpfman_examples::generation::{clear_table, wait_for_packets};
use bpfman_examples::source::MapSource;
use bpfman_examples::turn::Turn;

use crate::config::{Config, Member, Settings};
use crate::maglev::{self, Candidate, TABLE_SIZE};
use crate::service::{Backend, Service, State, address_bytes};
use crate::slots::{Placed, Slots};

pub const MAX_BACKENDS: u32 = 1024;

type RawSettings = [u8; 44];

struct Generation {
    slots: Slots,
    tables: Array<MapData, u32>,
    members: HashMap<MapData, [u32; 2], u32>,
}

pub struct Balancer {
    active: Array<MapData, u32>,
    generations: [Generation; 2],
    settings: Array<MapData, RawSettings>,
    backends: Array<MapData, [u8; 24]>,
    service_counts: PerCpuArray<MapData, RawCount>,
    backend_counts: PerCpuArray<MapData, RawCount>,
    turn: Turn,
}

pub struct ActiveConfig {
    pub settings: Settings,
    pub identities: u32,
    pub services: BTreeMap<u32, Serving>,
    pub backends: BTreeMap<u32, Backend>,
}

pub struct Serving {
    pub service: Service,
    pub identity: u32,
    pub weights: BTreeMap<u32, u32>,
}

impl ActiveConfig {
    fn down(&self) -> HashSet<IpAddr> {
        let down = self.backends.values().filter(|backend| backend.state == State::Down);
        down.map(|backend| backend.address).collect()
    }

    fn config(&self) -> Config {
        let member = |(number, weight): (&u32, &u32)| {
            let backend = self.backends[number];
            Member { address: backend.address, weight: *weight, draining: backend.state == State::Draining }
        };
        let services = self.services.values();
        Config {
            settings: self.settings,
            services: services
                .map(|serving| (serving.service, serving.weights.iter().map(member).collect()))
                .collect(),
        }
    }
}

pub fn in_force(maps: &MapSource) -> Result<ActiveConfig> {
    let now = read_active(&maps.open("active", MapAccess::Read)?)?;
    read(
        now,
        &Slots::new(maps.open(&format!("slots_{now}"), MapAccess::Read)?),
        &maps.open(&format!("members_{now}"), MapAccess::Read)?,
        &maps.open("settings", MapAccess::Read)?,
        &maps.open("backends", MapAccess::Read)?,
    )
}

fn read_active(active: &Array<MapData, u32>) -> Result<u32> {
    Ok(active.get(&0, 0).context("cannot read which generation is active")? & 1)
}

fn read(
    now: u32,
    slots: &Slots,
    members: &HashMap<MapData, [u32; 2], u32>,
    settings: &Array<MapData, RawSettings>,
    backends: &Array<MapData, [u8; 24]>,
) -> Result<ActiveConfig> {
    let mut found = BTreeMap::new();
    for (service, Placed { number, identity }) in slots.read()? {
        found.insert(number, Serving { service, identity, weights: BTreeMap::new() });
    }
    let mut used = BTreeMap::new();
    for entry in members.iter() {
        let ([service, number], weight) = entry.context("cannot read the backends of services")?;
        let backend = backends.get(&number, 0).with_context(|| format!("cannot read backend {number}"))?;
        used.insert(number, Backend::from_bytes(&backend)?);
        if let Some(serving) = found.get_mut(&service) {
            serving.weights.insert(number, weight);
        }
    }
    let bytes = settings.get(&now, 0).context("cannot read the settings")?;
    let (settings, identities) = settings_of(&bytes);
    Ok(ActiveConfig { settings, identities, services: found, backends: used })
}

fn settings_of(bytes: &RawSettings) -> (Settings, u32) {
    let v4 = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
    let mut v6 = [0; 16];
    v6.copy_from_slice(&bytes[16..32]);
    let v6 = Ipv6Addr::from(v6);
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let settings = Settings {
        source_v4: (!v4.is_unspecified()).then_some(v4.into()),
        source_v6: (!v6.is_unspecified()).then_some(v6.into()),
        mtu: word(32),
    };
    (settings, word(40))
}

fn settings_bytes(settings: Settings, seed: u32, identities: u32) -> RawSettings {
    let mut bytes = [0; _];
    for (at, source) in [(0, settings.source_v4), (16, settings.source_v6)] {
        if let Some(address) = source {
            bytes[at..at + 16].copy_from_slice(&address_bytes(address));
        }
    }
    for (at, word) in [(32, settings.mtu), (36, seed), (40, identities)] {
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

impl Balancer {
    pub fn open(maps: &MapSource) -> Result<Self> {
        let generation = |number: usize| -> Result<Generation> {
            let name = |map: &str| format!("{map}_{number}");
            Ok(Generation {
                slots: Slots::new(maps.open(&name("slots"), MapAccess::Write)?),
                tables: maps.open(&name("tables"), MapAccess::Write)?,
                members: maps.open(&name("members"), MapAccess::Write)?,
            })
        };
        Ok(Self {
            active: maps.open("active", MapAccess::Write)?,
            generations: [generation(0)?, generation(1)?],
            settings: maps.open("settings", MapAccess::Write)?,
            backends: maps.open("backends", MapAccess::Write)?,
            service_counts: maps.open("service_counts", MapAccess::Write)?,
            backend_counts: maps.open("backend_counts", MapAccess::Write)?,
            turn: Turn::new(maps.open("writer", MapAccess::Write)?),
        })
    }

    pub fn in_force(&self) -> Result<ActiveConfig> {
        let now = read_active(&self.active)?;
        let generation = &self.generations[now as usize];
        read(now, &generation.slots, &generation.members, &self.settings, &self.backends)
    }

    /// Connections stay, except those to removed backends. On failure, the old configuration stays in force.
    pub fn apply(&mut self, config: &Config) -> Result<()> {
        self.write(|now| Ok(Some((config.clone(), now.down()))))
    }

    pub fn change(&mut self, change: impl FnOnce(&mut BTreeMap<u32, Backend>) -> Result<()>) -> Result<()> {
        self.write(|mut now| {
            let before = now.backends.clone();
            change(&mut now.backends)?;
            Ok((now.backends != before).then(|| (now.config(), now.down())))
        })
    }

    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn write(
        &mut self,
        make: impl FnOnce(ActiveConfig) -> Result<Option<(Config, HashSet<IpAddr>)>>,
    ) -> Result<()> {
        self.turn.take()?;
        let result = self.in_force().and_then(make).and_then(|made| match made {
            Some((config, down)) => self.fill(&config, &down),
            None => Ok(()),
        });
        let ended = self.turn.end();
        result.and(ended)
    }

    fn fill(&mut self, config: &Config, down: &HashSet<IpAddr>) -> Result<()> {
        let old = self.in_force()?;
        let now = read_active(&self.active)?;
        // A packet that read the previous generation may still be processed.
        wait_for_packets();
        let next = (now ^ 1) as usize;
        let backends = self.place_backends(config, &old, down)?;
        let (services, identities) = self.place_services(config, &old)?;
        let generation = &mut self.generations[next];
        clear_table(&mut generation.members, |_| true).context("cannot clear the backends of services")?;
        for ((_, members), (_, Placed { number, .. })) in config.services.iter().zip(&services) {
            let mut candidates = Vec::new();
            for member in members {
                let (place, state) = backends[&member.address];
                generation
                    .members
                    .insert([*number, place], member.weight, 0)
                    .context("cannot write a backend")?;
                if state == State::Up {
                    let Member { address, weight, .. } = *member;
                    candidates.push(Candidate { number: place, address, weight });
                }
            }
            for (slot, backend) in (number * TABLE_SIZE..).zip(maglev::table(candidates)) {
                generation.tables.set(slot, backend, 0).context("cannot write a table")?;
            }
        }
        let seed = generation.slots.write(&services)?;
        self.settings
            .set(next as u32, settings_bytes(config.settings, seed, identities), 0)
            .context("cannot write the settings")?;
        self.active.set(0, next as u32, 0).context("cannot put it in force")?;
        for (number, backend) in old.backends {
            if !backends.contains_key(&backend.address) {
                self.backends
                    .set(number, Backend { state: State::Gone, ..backend }.to_bytes(), 0)
                    .context("cannot end a backend")?;
            }
        }
        Ok(())
    }

    fn place_backends(
        &mut self,
        config: &Config,
        old: &ActiveConfig,
        down: &HashSet<IpAddr>,
    ) -> Result<Table<IpAddr, (u32, State)>> {
        let mut places = Table::new();
        let known: Table<IpAddr, u32> =
            old.backends.iter().map(|(number, backend)| (backend.address, *number)).collect();
        let mut free = (0..MAX_BACKENDS).filter(|number| !old.backends.contains_key(number));
        let draining: HashSet<IpAddr> = config
            .services
            .iter()
            .flat_map(|(_, members)| members)
            .filter(|member| member.draining)
            .map(|member| member.address)
            .collect();
        for member in config.services.iter().flat_map(|(_, members)| members) {
            let address = member.address;
            if places.contains_key(&address) {
                continue;
            }
            let state = match () {
                () if draining.contains(&address) => State::Draining,
                () if down.contains(&address) => State::Down,
                () => State::Up,
            };
            let (number, epoch) = match known.get(&address) {
                Some(number) => (*number, old.backends[number].epoch),
                None => {
                    let number = free.next().ok_or_else(|| {
                        Failure::conflict(
                            format!("there is no room for backend {address}"),
                            "first apply a file without the backends that are to go",
                        )
                    })?;
                    let before = self.backends.get(&number, 0).context("cannot read a backend")?;
                    self.backend_counts.set(number, no_count()?, 0).context("cannot clear a counter")?;
                    (number, Backend::from_bytes(&before)?.epoch.wrapping_add(1))
                }
            };
            self.backends
                .set(number, Backend { address, state, epoch }.to_bytes(), 0)
                .context("cannot write a backend")?;
            places.insert(address, (number, state));
        }
        Ok(places)
    }

    /// Gives services entries, in the configuration's order: a known one keeps its own, others get new ones.
    fn place_services(
        &mut self,
        config: &Config,
        old: &ActiveConfig,
    ) -> Result<(Vec<(Service, Placed)>, u32)> {
        let known: Table<Service, Placed> = old
            .services
            .iter()
            .map(|(number, serving)| {
                (serving.service, Placed { number: *number, identity: serving.identity })
            })
            .collect();
        let mut taken: HashSet<u32> = config
            .services
            .iter()
            .filter_map(|(service, _)| known.get(service).map(|placed| placed.number))
            .collect();
        let mut identities = old.identities;
        let mut places = Vec::new();
        for (service, _) in &config.services {
            let placed = match known.get(service) {
                Some(placed) => *placed,
                None => {
                    let number = (0..).find(|number| !taken.contains(number)).unwrap_or_default();
                    self.service_counts.set(number, no_count()?, 0).context("cannot clear a counter")?;
                    identities = identities.wrapping_add(1);
                    Placed { number, identity: identities }
                }
            };
            taken.insert(placed.number);
            places.push((*service, placed));
        }
        Ok((places, identities))
    }
}

fn no_count() -> Result<PerCpuValues<RawCount>> {
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::Error::from(error).context(what))?;
    PerCpuValues::try_from(vec![[0, 0]; cpus]).context("cannot clear a counter")
}
