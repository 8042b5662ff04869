use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use bpfman_client::MapAccess;
use bpfman_examples::source::MapSource;

use crate::features::frame_senders;
use crate::host::{Host, InterfaceIndex};

const KERNEL: u16 = 1;
const USER: u16 = 2;

type RawInterface = [u8; 8];

/// Writes the map. `told` has the user's statements that peers take frames (true), or that the kernel's
/// report applies (false). They hold until the next statement, or until the interface is gone.
pub fn write(maps: &MapSource, host: &Host, told: &BTreeMap<InterfaceIndex, bool>) -> Result<()> {
    let mut map = open(maps, MapAccess::Write)?;
    let mut known = read(&map)?;
    let senders = frame_senders()?.unwrap_or_default();
    for interface in host.interfaces() {
        let old = known.remove(&interface.index);
        let before = old.is_some_and(|old| says(old) == USER);
        let by_user = told.get(&interface.index).copied().unwrap_or(before);
        let who = match (by_user, senders.contains(&interface.index)) {
            (true, _) => USER,
            (false, true) => KERNEL,
            (false, false) => 0,
        };
        let mut value = RawInterface::default();
        value[..6].copy_from_slice(&interface.mac.0);
        value[6..].copy_from_slice(&who.to_ne_bytes());
        if old != Some(value) {
            map.insert(interface.index.0, value, 0).context("cannot write down the host's interfaces")?;
        }
    }
    for gone in known.keys() {
        map.remove(&gone.0).context("cannot forget an interface that is gone")?;
    }
    Ok(())
}

pub fn taking_frames(maps: &MapSource) -> Result<BTreeSet<InterfaceIndex>> {
    let known = read(&open(maps, MapAccess::Read)?)?;
    let written = |who: &[u16]| {
        let said = known.iter().filter(|(_, value)| who.contains(&says(**value)));
        said.map(|(index, _)| *index).collect::<BTreeSet<_>>()
    };
    Ok(match frame_senders()? {
        Some(senders) => &senders | &written(&[USER]),
        None => written(&[KERNEL, USER]),
    })
}

fn open(maps: &MapSource, access: MapAccess) -> Result<HashMap<MapData, u32, RawInterface>> {
    maps.open("interfaces", access)
}

fn read(map: &HashMap<MapData, u32, RawInterface>) -> Result<BTreeMap<InterfaceIndex, RawInterface>> {
    map.iter()
        .map(|entry| entry.map(|(index, value)| (InterfaceIndex(index), value)))
        .collect::<Result<_, _>>()
        .context("cannot read what is known of interfaces")
}

const fn says([.., low, high]: RawInterface) -> u16 {
    u16::from_ne_bytes([low, high])
}
