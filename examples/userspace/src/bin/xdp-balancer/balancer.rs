//! The balancer's maps: what packets meet now, and the generation that is filled next.

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

/// Places of `backends`.
pub const MAX_BACKENDS: u32 = 1024;

struct Generation {
    services: HashMap<MapData, [u8; 20], u32>,
    tables: Array<MapData, u32>,
    members: HashMap<MapData, [u32; 2], u32>,
}

/// The maps for who writes.
pub struct Balancer {
    active: Array<MapData, u32>,
    generations: [Generation; 2],
    settings: Array<MapData, [u8; 36]>,
    backends: Array<MapData, [u8; 24]>,
    service_counts: PerCpuArray<MapData, RawCount>,
    backend_counts: PerCpuArray<MapData, RawCount>,
    turn: Turn,
}

/// What is in force: numbers are places in maps.
pub struct InForce {
    pub settings: Settings,
    /// In the order of their numbers, each with the weights of its backends by their numbers.
    pub services: BTreeMap<u32, (Service, BTreeMap<u32, u32>)>,
    /// Those that a service names.
    pub backends: BTreeMap<u32, Backend>,
}

impl InForce {
    /// Backends that did not answer: no file says that.
    fn down(&self) -> HashSet<IpAddr> {
        let down = self.backends.values().filter(|backend| backend.state == State::Down);
        down.map(|backend| backend.address).collect()
    }

    /// As a file would say it.
    fn config(&self) -> Config {
        let member = |(number, weight): (&u32, &u32)| {
            let backend = self.backends[number];
            Member { address: backend.address, weight: *weight, draining: backend.state == State::Draining }
        };
        let services = self.services.values();
        Config {
            settings: self.settings,
            services: services
                .map(|(service, members)| (*service, members.iter().map(member).collect()))
                .collect(),
        }
    }
}

/// What packets meet now; by descriptors that cannot write.
///
/// # Errors
/// A map cannot be had or read.
pub fn in_force(maps: &MapSource) -> Result<InForce> {
    let now = read_active(&maps.open("active", MapAccess::Read)?)?;
    read(
        now,
        &maps.open(&format!("services_{now}"), MapAccess::Read)?,
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
    services: &HashMap<MapData, [u8; 20], u32>,
    members: &HashMap<MapData, [u32; 2], u32>,
    settings: &Array<MapData, [u8; 36]>,
    backends: &Array<MapData, [u8; 24]>,
) -> Result<InForce> {
    let mut found = BTreeMap::new();
    for entry in services.iter() {
        let (service, number) = entry.context("cannot read the services")?;
        found.insert(number, (Service::from_bytes(&service)?, BTreeMap::new()));
    }
    let mut used = BTreeMap::new();
    for entry in members.iter() {
        let ([service, number], weight) = entry.context("cannot read the backends of services")?;
        let backend = backends.get(&number, 0).with_context(|| format!("cannot read backend {number}"))?;
        used.insert(number, Backend::from_bytes(&backend)?);
        if let Some((_, members)) = found.get_mut(&service) {
            members.insert(number, weight);
        }
    }
    let bytes = settings.get(&now, 0).context("cannot read the settings")?;
    Ok(InForce { settings: settings_of(&bytes), services: found, backends: used })
}

fn settings_of(bytes: &[u8; 36]) -> Settings {
    let v4 = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
    let mut v6 = [0; 16];
    v6.copy_from_slice(&bytes[16..32]);
    let v6 = Ipv6Addr::from(v6);
    Settings {
        source_v4: (!v4.is_unspecified()).then_some(v4.into()),
        source_v6: (!v6.is_unspecified()).then_some(v6.into()),
        mtu: u32::from_ne_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]),
    }
}

fn settings_bytes(settings: Settings) -> [u8; 36] {
    let mut bytes = [0; 36];
    for (at, source) in [(0, settings.source_v4), (16, settings.source_v6)] {
        if let Some(address) = source {
            bytes[at..at + 16].copy_from_slice(&address_bytes(address));
        }
    }
    bytes[32..].copy_from_slice(&settings.mtu.to_ne_bytes());
    bytes
}

impl Balancer {
    /// # Errors
    /// A map cannot be had.
    pub fn open(maps: &MapSource) -> Result<Self> {
        let generation = |number: usize| -> Result<Generation> {
            let name = |map: &str| format!("{map}_{number}");
            Ok(Generation {
                services: maps.open(&name("services"), MapAccess::Write)?,
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

    /// What packets meet now.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn in_force(&self) -> Result<InForce> {
        let now = read_active(&self.active)?;
        let generation = &self.generations[now as usize];
        read(now, &generation.services, &generation.members, &self.settings, &self.backends)
    }

    /// Puts a configuration in force, as a whole. Connections stay where they are, but for those to backends that are gone.
    ///
    /// # Errors
    /// Somebody else is writing; a map cannot be written: packets meet the old configuration then.
    pub fn apply(&mut self, config: &Config) -> Result<()> {
        self.write(|now| Ok(Some((config.clone(), now.down()))))
    }

    /// Gives backends another state: `change` says which, of those that are in force. Nothing happens if it changes none.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply), and those of `change`.
    pub fn change(&mut self, change: impl FnOnce(&mut BTreeMap<u32, Backend>) -> Result<()>) -> Result<()> {
        self.write(|mut now| {
            let before = now.backends.clone();
            change(&mut now.backends)?;
            Ok((now.backends != before).then(|| (now.config(), now.down())))
        })
    }

    /// Lets others write after somebody was killed over it.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn unlock(&mut self) -> Result<()> {
        self.turn.end()
    }

    fn write(
        &mut self,
        make: impl FnOnce(InForce) -> Result<Option<(Config, HashSet<IpAddr>)>>,
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
        // A packet that met the generation before the present one may still be on its way through it.
        wait_for_packets();
        let next = (now ^ 1) as usize;
        let backends = self.place_backends(config, &old, down)?;
        let services = self.place_services(config, &old)?;
        let generation = &mut self.generations[next];
        clear_table(&mut generation.services, |_| true).context("cannot clear the services")?;
        clear_table(&mut generation.members, |_| true).context("cannot clear the backends of services")?;
        for (service, members) in &config.services {
            let number = services[service];
            let mut candidates = Vec::new();
            for member in members {
                let (place, state) = backends[&member.address];
                generation
                    .members
                    .insert([number, place], member.weight, 0)
                    .context("cannot write a backend")?;
                if state == State::Up {
                    let Member { address, weight, .. } = *member;
                    candidates.push(Candidate { number: place, address, weight });
                }
            }
            for (slot, backend) in (number * TABLE_SIZE..).zip(maglev::table(candidates)) {
                generation.tables.set(slot, backend, 0).context("cannot write a table")?;
            }
            generation.services.insert(service.to_bytes(), number, 0).context("cannot write a service")?;
        }
        self.settings
            .set(next as u32, settings_bytes(config.settings), 0)
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

    /// A place for each backend, with its state: the one that it has, or one that nobody uses now.
    fn place_backends(
        &mut self,
        config: &Config,
        old: &InForce,
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

    /// A number for each service: the one that it has, or one that nobody uses now.
    fn place_services(&mut self, config: &Config, old: &InForce) -> Result<Table<Service, u32>> {
        let known: Table<Service, u32> =
            old.services.iter().map(|(number, (service, _))| (*service, *number)).collect();
        let mut taken: HashSet<u32> =
            config.services.iter().filter_map(|(service, _)| known.get(service).copied()).collect();
        let mut places = Table::new();
        for (service, _) in &config.services {
            let number = match known.get(service) {
                Some(number) => *number,
                None => {
                    let number = (0..).find(|number| !taken.contains(number)).unwrap_or_default();
                    self.service_counts.set(number, no_count()?, 0).context("cannot clear a counter")?;
                    number
                }
            };
            taken.insert(number);
            places.insert(*service, number);
        }
        Ok(places)
    }
}

fn no_count() -> Result<PerCpuValues<RawCount>> {
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::Error::from(error).context(what))?;
    PerCpuValues::try_from(vec![[0, 0]; cpus]).context("cannot clear a counter")
}
