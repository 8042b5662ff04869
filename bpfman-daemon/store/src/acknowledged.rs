//! Number of the last acknowledged commit, outside the database: it reveals that an engine fell back to an
//! older, consistent state. It is written after the commit is durable and before it is acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::engine::{StorageError, create_building};

const MAGIC: &[u8; 8] = b"bpfmack1";
/// Two slots, a disk sector apart: a torn write can damage only the one being written.
const SLOT: u64 = 512;
const SLOTS: u64 = 2;
const LENGTH: usize = 20;

#[derive(Debug)]
pub(crate) struct AcknowledgedFile {
    file: File,
    path: PathBuf,
    synced: bool,
}

impl AcknowledgedFile {
    pub(crate) fn path(folder: &Path) -> PathBuf {
        folder.join("acknowledged")
    }

    pub(crate) fn open(folder: &Path, synced: bool) -> Result<Option<(AcknowledgedFile, u64)>, StorageError> {
        let path = Self::path(folder);
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StorageError::io("opening", &path))?,
        };
        let mut bytes = Vec::new();
        (&mut file).take(SLOT * SLOTS).read_to_end(&mut bytes).map_err(StorageError::io("reading", &path))?;
        let number = bytes.chunks(SLOT as usize).filter_map(from_slot).max();
        match number {
            Some(number) => Ok(Some((AcknowledgedFile { file, path, synced }, number))),
            None => Err(StorageError::Damaged {
                path,
                why: "neither copy of the last acknowledged number can be read".into(),
            }),
        }
    }

    /// Creates the file, complete and synced before it gets its name.
    pub(crate) fn create(folder: &Path, number: u64, synced: bool) -> Result<AcknowledgedFile, StorageError> {
        let path = Self::path(folder);
        let building = folder.join("acknowledged.new");
        let file = create_building(&building)?;
        let mut bytes = vec![0; (SLOT * SLOTS) as usize];
        for slot in bytes.chunks_mut(SLOT as usize) {
            slot[..LENGTH].copy_from_slice(&to_slot(number));
        }
        file.write_all_at(&bytes, 0)
            .and_then(|()| file.sync_all())
            .map_err(StorageError::io("writing", &building))?;
        durable::rename(&building, &path)?;
        Ok(AcknowledgedFile { file, path, synced })
    }

    /// Records the number of a commit. Call it before the commit is acknowledged.
    pub(crate) fn record(&self, number: u64) -> Result<(), StorageError> {
        self.file
            .write_all_at(&to_slot(number), number % SLOTS * SLOT)
            .and_then(|()| if self.synced { self.file.sync_data() } else { Ok(()) })
            .map_err(StorageError::io("writing", &self.path))
    }
}

fn to_slot(number: u64) -> [u8; LENGTH] {
    let mut slot = [0; LENGTH];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&slot[..16]);
    slot[16..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn from_slot(bytes: &[u8]) -> Option<u64> {
    let (number, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let sum = rest.first_chunk::<4>()?;
    (crc32fast::hash(&bytes[..16]) == u32::from_le_bytes(*sum)).then(|| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spoiled_slot_leaves_a_number_one_below() {
        let folder = tempfile::tempdir().unwrap();
        let acknowledged = AcknowledgedFile::create(folder.path(), 0, false).unwrap();
        (1..=9).for_each(|number| acknowledged.record(number).unwrap());
        let (_, number) = AcknowledgedFile::open(folder.path(), false).unwrap().unwrap();
        assert_eq!(number, 9);
        acknowledged.file.write_all_at(b"x", 9 % SLOTS * SLOT + 9).unwrap();
        let (_, number) = AcknowledgedFile::open(folder.path(), false).unwrap().unwrap();
        assert_eq!(number, 8);
        acknowledged.file.set_len(4).unwrap();
        let refused = AcknowledgedFile::open(folder.path(), false).unwrap_err();
        assert!(refused.to_string().contains("acknowledged is damaged"), "{refused}");
    }
}
