//! All entries of a map: read, and copied into another.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attr::{self, Command};
use super::map_access::DataMap;
use super::sys;
use crate::map_access::check_copy;
use crate::{KernelError, MapEntry};

/// Bytes that a batch may take.
const BATCH_BYTES: usize = 1 << 20;
/// Entries of the first batch. Hash tables want room for a whole bucket, and say so.
const BATCH: usize = 256;
/// ENOTSUPP, which has no number for programs: the kernel's answer where a map has no batches.
const NOT_SUPPORTED: i32 = 524;

/// Keys and values of a batch, one behind the other.
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    count: usize,
}

/// Reads at most `most` entries.
pub fn entries(fd: &OwnedFd, most: usize) -> Result<Vec<MapEntry>, KernelError> {
    let map = DataMap::open("read", fd)?;
    let mut found = Vec::new();
    let (key, value) = (map.facts.key_size as usize, map.value_bytes);
    let read = each_batch(&map, |batch| {
        let keys = batch.keys.chunks_exact(key).zip(batch.values.chunks_exact(value)).take(batch.count);
        found.extend(keys.map(|(key, value)| MapEntry { key: key.to_vec(), value: value.to_vec() }));
        Ok(found.len() < most)
    });
    read.map_err(map.fail("read"))?;
    found.truncate(most);
    Ok(found)
}

/// Copies all entries; tells how many.
pub fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<usize, KernelError> {
    const ACTION: &str = "copy";
    let (from, to) = (DataMap::open(ACTION, from)?, DataMap::open("copy to", to)?);
    check_copy(&from.facts, from.family, &to.facts, to.family)?;
    let mut copied = 0;
    let mut refused = None;
    let read = each_batch(&from, |batch| {
        match write(&to, batch) {
            Ok(()) => copied += batch.count,
            Err(error) => refused = Some(error),
        }
        Ok(refused.is_none())
    });
    if let Some(error) = refused {
        return Err(to.fail("copy to")(error));
    }
    read.map_err(from.fail(ACTION))?;
    Ok(copied)
}

/// Hands all entries to `take`, in batches where the kernel has them, until it answers false.
fn each_batch(map: &DataMap<'_>, mut take: impl FnMut(&Batch) -> io::Result<bool>) -> io::Result<()> {
    let (key, value) = (map.facts.key_size as usize, map.value_bytes);
    let bound = (BATCH_BYTES / (key + value)).clamp(1, map.facts.max_entries.max(1) as usize);
    let mut room = BATCH.min(bound);
    // Where to go on, as the kernel wants to hear it: a number or a key.
    let mut place = vec![0_u8; key.max(8)];
    let mut begun = false;
    loop {
        let mut batch = Batch { keys: vec![0; key * room], values: vec![0; value * room], count: 0 };
        let mut next = vec![0_u8; place.len()];
        let mut request = attr::MapBatch {
            in_batch: if begun { place.as_ptr() as u64 } else { 0 },
            out_batch: next.as_mut_ptr() as u64,
            keys: batch.keys.as_mut_ptr() as u64,
            values: batch.values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: map.fd.as_raw_fd(),
            ..Default::default()
        };
        let end = match sys::bpf(Command::MapLookupBatch, &mut request) {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                // The last batch.
                Some(libc::ENOENT) => true,
                // A bucket with more entries than there is room for.
                Some(libc::ENOSPC) if room < map.facts.max_entries as usize => {
                    room *= 2;
                    continue;
                }
                Some(libc::EINVAL | libc::EOPNOTSUPP | NOT_SUPPORTED) if !begun => {
                    return one_by_one(map, &mut take);
                }
                _ => return Err(error),
            },
        };
        batch.count = (request.count as usize).min(room);
        if (batch.count > 0 && !take(&batch)?) || end {
            return Ok(());
        }
        (place, begun, room) = (next, true, room.max(bound.min(room * 2)));
    }
}

/// Before Linux 5.6, and per-CPU arrays before 5.13.
fn one_by_one(map: &DataMap<'_>, take: &mut impl FnMut(&Batch) -> io::Result<bool>) -> io::Result<()> {
    let mut key = map.next_key(None)?;
    // More than all entries are seen only where programs add and remove them faster than they are read.
    for _ in 0..map.facts.max_entries {
        let Some(at) = key else { break };
        key = map.next_key(Some(&at))?;
        match map.lookup(&at) {
            Ok(values) => {
                if !take(&Batch { keys: at, values, count: 1 })? {
                    break;
                }
            }
            // A program removed it meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a batch, entry by entry where the kernel takes no batches.
fn write(map: &DataMap<'_>, batch: &Batch) -> io::Result<()> {
    let mut request = attr::MapBatch {
        keys: batch.keys.as_ptr() as u64,
        values: batch.values.as_ptr() as u64,
        count: batch.count as u32,
        map_fd: map.fd.as_raw_fd(),
        ..Default::default()
    };
    match sys::bpf(Command::MapUpdateBatch, &mut request) {
        Ok(_) => return Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOPNOTSUPP | NOT_SUPPORTED) => {}
            _ => return Err(error),
        },
    }
    let keys = batch.keys.chunks_exact(map.facts.key_size as usize);
    for (key, value) in keys.zip(batch.values.chunks_exact(map.value_bytes)).take(batch.count) {
        let mut request = attr::MapElement {
            map_fd: map.fd.as_raw_fd(),
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            ..Default::default()
        };
        sys::bpf(Command::MapUpdateElem, &mut request)?;
    }
    Ok(())
}
