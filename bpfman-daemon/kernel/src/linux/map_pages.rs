use std::io;
use std::os::fd::AsRawFd;

use super::attr::{self, Command};
use super::map_access::DataMap;
use super::sys::{self, ENOTSUPP};
use crate::map_access::{Family, MapPage, MapPlace};

/// Bytes per page, unless one bucket of a hash table is larger.
const PAGE_BYTES: usize = 1 << 20;
/// Entries of a first batch. Hash tables need space for a whole bucket, and report if there is too little.
const BATCH: usize = 256;

pub fn read(map: &DataMap<'_>, from: &MapPlace, batches: bool) -> io::Result<MapPage> {
    let without = !batches || map.family.maps || from.by_keys;
    let page = if without { None } else { batch(map, from)? };
    let by_keys = page.is_none();
    let mut page = match page {
        Some(page) => page,
        None => one_by_one(map, from)?,
    };
    page.end_where_it_begins_again(&map.facts, walks_by_keys(map.family, by_keys), from);
    Ok(page)
}

fn batch(map: &DataMap<'_>, from: &MapPlace) -> io::Result<Option<MapPage>> {
    let (key, value) = (map.facts.key_size as usize, map.value_bytes);
    let bound = (PAGE_BYTES / (key + value)).clamp(1, map.facts.max_entries.max(1) as usize);
    let mut room = if from.room == 0 { BATCH.min(bound) } else { from.room };
    loop {
        let mut page =
            MapPage { keys: vec![0; key * room], values: vec![0; value * room], ..MapPage::default() };
        let mut next = vec![0_u8; key.max(8)];
        let mut request = attr::MapBatch {
            in_batch: from.at.as_ref().map_or(0, |at| at.as_ptr() as u64),
            out_batch: next.as_mut_ptr() as u64,
            keys: page.keys.as_mut_ptr() as u64,
            values: page.values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: map.fd.as_raw_fd(),
            ..Default::default()
        };
        let is_last = match sys::bpf(Command::MapLookupBatch, &mut request) {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                Some(libc::ENOSPC) if room < map.facts.max_entries as usize => {
                    room *= 2;
                    continue;
                }
                // Batches are unsupported before Linux 5.6, and for per-CPU arrays before 5.13.
                Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP) if from.at.is_none() => {
                    return Ok(None);
                }
                _ => return Err(error),
            },
        };
        page.count = (request.count as usize).min(room);
        page.keys.truncate(key * page.count);
        page.values.truncate(value * page.count);
        let room = room.max(bound.min(room * 2));
        page.next = (!is_last).then(|| from.after(&page, Some(next), room, false));
        return Ok(Some(page));
    }
}

fn one_by_one(map: &DataMap<'_>, from: &MapPlace) -> io::Result<MapPage> {
    let (key_bytes, value_bytes) = (map.facts.key_size as usize, map.value_bytes);
    let most = (PAGE_BYTES / (key_bytes + value_bytes).max(1)).max(1);
    let mut page = MapPage::default();
    let mut key = map.next_key(from.at.as_deref())?;
    let mut last = None;
    for _ in 0..most {
        let Some(at) = key else { return Ok(page) };
        match map.lookup(&at) {
            Ok(value) => {
                page.keys.extend_from_slice(&at);
                page.values.extend_from_slice(&value);
                page.count += 1;
            }
            // A program removed it meanwhile, or the slot is empty.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
        key = map.next_key(Some(&at))?;
        last = Some(at);
    }
    if key.is_some() {
        page.next = Some(from.after(&page, last, 0, true));
    }
    Ok(page)
}

/// Returns whether the kernel walks by keys: if the last key is gone, it restarts at the first.
const fn walks_by_keys(family: Family, by_keys: bool) -> bool {
    !family.array && (by_keys || family.prefixes)
}
