//! Simulated disk in memory for redb: it can lose power, tear writes, and fail.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bpfmand_store::{RedbEngine, StorageEngine, StorageError};
use redb::StorageBackend;

use crate::fixture::Chance;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platters>>);

#[derive(Debug, Default)]
struct Platters {
    synced: Vec<u8>,
    seen: Vec<u8>,
    pending: Vec<Pending>,
    fails_after: Option<usize>,
    fails_for: usize,
    syncs: usize,
}

#[derive(Debug)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    pub fn engine(&self) -> Result<Box<dyn StorageEngine>, StorageError> {
        Ok(Box::new(RedbEngine::on_backend(Path::new("a disk in memory"), self.clone())?))
    }

    /// Operations fail without effect, starting with the `after`th write, sync or resize.
    pub fn fail(&self, after: usize, times: usize) {
        let mut disk = self.0.lock().unwrap();
        (disk.fails_after, disk.fails_for) = (Some(after), times);
    }

    pub fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    /// Any unsynced write may be there, in part, sector by sector.
    pub fn after_power_loss(&self, chance: &mut Chance) -> Disk {
        let disk = self.0.lock().unwrap();
        let mut found = disk.synced.clone();
        let kept_of_ten = chance.below(11);
        for pending in &disk.pending {
            match pending {
                Pending::Length(length) if chance.below(10) < kept_of_ten => found.resize(*length, 0),
                Pending::Length(_) => {}
                Pending::Write(at, data) => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if chance.below(10) < kept_of_ten {
                            let at = at + n * SECTOR;
                            found.resize(found.len().max(at + sector.len()), 0);
                            found[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        Disk(Arc::new(Mutex::new(Platters { seen: found.clone(), synced: found, ..Platters::default() })))
    }

    fn changing(&self, change: impl FnOnce(&mut Platters)) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        match disk.fails_after {
            Some(0) if disk.fails_for > 0 => {
                disk.fails_for -= 1;
                return Err(io::Error::from_raw_os_error(5));
            }
            Some(left) => disk.fails_after = Some(left.saturating_sub(1)),
            None => {}
        }
        change(&mut disk);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let at = offset as usize;
        let data = disk.seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changing(|disk| {
            disk.seen.resize(len as usize, 0);
            disk.pending.push(Pending::Length(len as usize));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.changing(|disk| {
            disk.synced.clone_from(&disk.seen);
            disk.pending.clear();
            disk.syncs += 1;
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changing(|disk| {
            let at = offset as usize;
            let end = disk.seen.len().max(at + data.len());
            disk.seen.resize(end, 0);
            disk.seen[at..at + data.len()].copy_from_slice(data);
            disk.pending.push(Pending::Write(at, data.to_vec()));
        })
    }
}
