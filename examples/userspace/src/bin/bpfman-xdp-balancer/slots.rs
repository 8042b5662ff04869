//! Table in which packets look up their service. Its seed is chosen so that no two services share a slot.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aya::maps::{Array, MapData};

use crate::service::Service;

/// `SLOTS` of the program, a power of two: even with all services, one seed in eight gives each a slot of its own.
const SLOTS: u32 = 1024;

type RawSlot = [u8; 28];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placed {
    pub number: u32,
    /// Number by which connections refer to the service. It is never reused in these maps.
    pub identity: u32,
}

pub struct Slots(Array<MapData, RawSlot>);

impl Slots {
    pub fn new(map: Array<MapData, RawSlot>) -> Self {
        Self(map)
    }

    pub fn read(&self) -> Result<Vec<(Service, Placed)>> {
        let mut found = Vec::new();
        for slot in 0..SLOTS {
            let raw = self.0.get(&slot, 0).context("cannot read the services")?;
            found.extend(from_bytes(&raw)?);
        }
        Ok(found)
    }

    pub fn write(&mut self, services: &[(Service, Placed)]) -> Result<u32> {
        let seed = seed_for(services.iter().map(|(service, _)| service))?;
        let mut table = vec![[0; _]; SLOTS as usize];
        for (service, placed) in services {
            table[slot_of(service, seed) as usize] = to_bytes(service, *placed);
        }
        for (slot, raw) in (0..).zip(table) {
            if self.0.get(&slot, 0).context("cannot read the services")? != raw {
                self.0.set(slot, raw, 0).context("cannot write a service")?;
            }
        }
        Ok(seed)
    }
}

fn seed_for<'a>(services: impl Iterator<Item = &'a Service> + Clone) -> Result<u32> {
    let is_good = |seed: &u32| {
        let mut taken = HashSet::new();
        services.clone().all(|service| taken.insert(slot_of(service, *seed)))
    };
    (0..=u32::MAX).find(is_good).context("no seed gives each service a slot of its own")
}

const FACTOR: u64 = 0xff51_afd7_ed55_8ccd;

/// Returns the slot, like the program's `find_service`: the sum of all words, each with its own factor.
fn slot_of(service: &Service, seed: u32) -> u32 {
    let bytes = service.to_bytes();
    let (words, _) = bytes.as_chunks();
    let mut factor = FACTOR;
    let mut sum = 0_u64;
    for word in words {
        sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word) ^ seed).wrapping_mul(factor));
        factor = factor.wrapping_mul(FACTOR);
    }
    (sum >> 32) as u32 % SLOTS
}

fn to_bytes(service: &Service, placed: Placed) -> RawSlot {
    let mut raw = [0; _];
    let words = [placed.number, placed.identity].map(u32::to_ne_bytes);
    let bytes = service.to_bytes().into_iter().chain(words.into_iter().flatten());
    raw.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    raw
}

fn from_bytes(raw: &RawSlot) -> Result<Option<(Service, Placed)>> {
    let (service, words) = raw.split_first_chunk::<20>().context("a slot begins with a service")?;
    if *service == [0; 20] {
        return Ok(None);
    }
    let (words, _) = words.as_chunks();
    let [number, identity] = [0, 1].map(|word: usize| u32::from_ne_bytes(words[word]));
    Ok(Some((Service::from_bytes(service)?, Placed { number, identity })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Protocol;

    fn service(number: u16) -> Service {
        let address = [198, 51, 100, number as u8].into();
        Service { address, protocol: Protocol::Tcp, port: 443 + number / 8 }
    }

    #[test]
    fn a_slot_is_read_as_it_was_written() {
        let placed = Placed { number: 7, identity: 70_000 };
        let raw = to_bytes(&service(1), placed);
        assert_eq!(from_bytes(&raw).unwrap(), Some((service(1), placed)));
        assert_eq!(from_bytes(&[0; 28]).unwrap(), None);
        assert!(from_bytes(&[9; 28]).is_err());
    }

    #[test]
    fn as_many_services_as_there_can_be_have_slots_of_their_own() {
        let services: Vec<Service> = (0..64).map(service).collect();
        let seed = seed_for(services.iter()).unwrap();
        let slots: HashSet<u32> = services.iter().map(|service| slot_of(service, seed)).collect();
        assert_eq!(slots.len(), services.len());
        assert!(slots.iter().all(|slot| *slot < SLOTS));
    }
}
