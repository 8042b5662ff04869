use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::attr::{self, Command};
use super::map_access::DataMap;
use super::map_pages;
use super::sys::{self, ENOTSUPP};
use crate::map_access::{MapPage, MapPlace, check_copy};
use crate::{KernelError, MapEntry};

pub fn entries(fd: &OwnedFd, most: usize, batches: bool) -> Result<Vec<MapEntry>, KernelError> {
    let map = DataMap::open("read", fd)?;
    let mut found = Vec::new();
    let (key, value) = (map.facts.key_size as usize, map.value_bytes);
    let read = each_page(&map, batches, |batch| {
        let keys = batch.keys.chunks_exact(key).zip(batch.values.chunks_exact(value)).take(batch.count);
        found.extend(keys.map(|(key, value)| MapEntry { key: key.to_vec(), value: value.to_vec() }));
        Ok(found.len() < most)
    });
    read.map_err(map.fail("read"))?;
    found.truncate(most);
    Ok(found)
}

pub fn copy(from: &OwnedFd, to: &OwnedFd, batches: bool) -> Result<usize, KernelError> {
    const ACTION: &str = "copy";
    let (from, to) = (DataMap::open(ACTION, from)?, DataMap::open("copy to", to)?);
    check_copy(&from.facts, from.family, &to.facts, to.family)?;
    for _ in 0..WALKS {
        let mut copied = 0;
        let mut refused = None;
        let read = each_page(&from, batches, |batch| {
            match write(&to, batch, batches) {
                Ok(()) => copied += batch.count,
                Err(error) => refused = Some(error),
            }
            Ok(refused.is_none())
        });
        if let Some(error) = refused {
            return Err(to.fail("copy to")(error));
        }
        if read.map_err(from.fail(ACTION))? {
            return Ok(copied);
        }
    }
    let why = "programs took out entries all the time while they were copied: try again when it changes less";
    Err(from.fail(ACTION)(io::Error::other(why)))
}

const WALKS: usize = 16;

/// Passes each page to `take`. Returns `false` if entries are missing because programs changed the map.
fn each_page(
    map: &DataMap<'_>,
    batches: bool,
    mut take: impl FnMut(&MapPage) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut place = Some(MapPlace::default());
    while let Some(at) = place {
        let page = map_pages::read(map, &at, batches)?;
        if page.count > 0 && !take(&page)? {
            return Ok(true);
        }
        if page.cut_short {
            return Ok(false);
        }
        place = page.next;
    }
    Ok(true)
}

fn write(map: &DataMap<'_>, batch: &MapPage, batches: bool) -> io::Result<()> {
    let mut request = attr::MapBatch {
        keys: batch.keys.as_ptr() as u64,
        values: batch.values.as_ptr() as u64,
        count: batch.count as u32,
        map_fd: map.fd.as_raw_fd(),
        ..Default::default()
    };
    if batches {
        match sys::bpf(Command::MapUpdateBatch, &mut request) {
            Ok(_) => return Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP) => {}
                _ => return Err(error),
            },
        }
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
