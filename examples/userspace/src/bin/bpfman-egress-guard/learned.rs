use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, MapData, MapError};
use bpfman_client::MapAccess;
use bpfman_examples::address::from_words;
use bpfman_examples::source::MapSource;
use rustix::time::{ClockId, clock_gettime};

use crate::guard::ActiveRules;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Learned {
    pub name: String,
    pub address: IpAddr,
    pub seconds: u64,
}

pub fn learned(maps: &MapSource) -> Result<Vec<Learned>> {
    let rules = ActiveRules::read(maps)?.unwrap_or_default();
    let learnt: HashMap<MapData, [u32; 4], [u64; 4]> = maps.open("learnt", MapAccess::Read)?;
    // Same clock as `bpf_ktime_get_boot_ns`.
    let now = u64::try_from(clock_gettime(ClockId::Boottime).tv_sec)?;
    let mut found = Vec::new();
    for key in learnt.keys() {
        let key = key.context("cannot read what was learnt")?;
        let slots = match learnt.get(&key, 0) {
            Ok(slots) => slots,
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error).context("cannot read what was learnt"),
        };
        let address = from_words(key);
        for slot in slots.into_iter().filter(|slot| slot >> 32 > now) {
            let named = rules.classes.iter().find(|(_, class)| class.0 == slot as u32);
            if let Some((pattern, _)) = named {
                found.push(Learned { name: pattern.to_string(), address, seconds: (slot >> 32) - now });
            }
        }
    }
    found.sort();
    // If the map changes during the iteration, an address may appear twice.
    found.dedup();
    Ok(found)
}
